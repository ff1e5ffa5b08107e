//! Wakes from other threads, and the eventfd that unparks. Knows no task and no socket: a letter is
//! a number to wake or a job to run, and whoever empties the box knows what they mean.
//!
//! One atomic word says where its runtime is. Every change of it is a read-modify-write, so all threads
//! agree on their order, and none can fall between "the box is empty" and "now I sleep":
//!
//! ```text
//!   AWAKE ── park ──► PARKED          post, wake, unpark: whatever it was, now POSTED; and if it
//!     ▲                 │             was PARKED, they write the eventfd
//!     └────── take ─────┴── POSTED    take: whatever it was, now AWAKE; and if it was POSTED, the
//!                                     box is emptied
//! ```
//!
//! A runtime that nobody runs is parked: its loop may be somebody else's, which sleeps on its descriptor.

use crate::number::Number;
use crate::sorted::Sorted;
use crate::sys::{self, Epoll, EventFd};
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::*};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const POSTED: u8 = 2;

/// Something that has to be done on the runtime's own thread.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(crate) struct Letters {
    /// Each number once, however often it was woken.
    pub(crate) wakes: Vec<Number>,
    pub(crate) jobs: Vec<Job>,
    posted: Sorted<Number, ()>,
    closed: bool,
}

pub(crate) struct Mailbox {
    state: AtomicU8,
    letters: Mutex<Letters>,
    /// Owned here, not by the reactor: a wake that comes after the runtime's end must not write to
    /// a descriptor number that belongs to somebody else by then.
    event: EventFd,
    /// For a socket that is dropped elsewhere: it has to be deregistered before it is closed. Not kept open by this.
    epoll: Weak<Epoll>,
    process: u32,
    home: ThreadId,
    wakes: AtomicU64,
}

impl Mailbox {
    pub(crate) fn new(epoll: Weak<Epoll>) -> io::Result<Mailbox> {
        Ok(Mailbox {
            state: AtomicU8::new(PARKED),
            letters: Mutex::default(),
            event: EventFd::new()?,
            epoll,
            process: sys::process(),
            home: thread::current().id(),
            wakes: AtomicU64::new(0),
        })
    }

    /// What the reactor waits for beside the sockets.
    pub(crate) fn event_fd(&self) -> RawFd {
        self.event.fd()
    }

    pub(crate) fn home(&self) -> ThreadId {
        self.home
    }

    // ---- any thread ---------------------------------------------------------------------------

    /// Puts in a wake, unless the same one is there already or the runtime has ended.
    pub(crate) fn wake(&self, number: Number) {
        // In a forked child, box and eventfd are the parent's: its loop is not ours to wake.
        if self.process != sys::process() {
            return;
        }
        let mut letters = self.letters();
        if letters.closed || letters.posted.insert(number, ()).is_some() {
            return;
        }
        letters.wakes.push(number);
        trace!(Letter { eventfd: self.event.fd(), number: Some(number) });
        drop(letters);
        self.wakes.fetch_add(1, Relaxed);
        self.unpark();
    }

    /// Puts in a job, or gives it back when the runtime has ended.
    pub(crate) fn post(&self, job: Job) -> Result<(), Job> {
        if self.process != sys::process() {
            return Err(job);
        }
        let mut letters = self.letters();
        if letters.closed {
            return Err(job);
        }
        letters.jobs.push(job);
        trace!(Letter { eventfd: self.event.fd(), number: None });
        drop(letters);
        self.unpark();
        Ok(())
    }

    /// Makes a parked runtime look into the box, whatever is in it.
    pub(crate) fn unpark(&self) {
        if self.process == sys::process() {
            let parked = self.state.swap(POSTED, AcqRel) == PARKED;
            trace!(Unpark { eventfd: self.event.fd(), written: parked });
            if parked {
                self.event.signal();
            }
        }
    }

    /// Takes a descriptor out of the runtime's epoll instance.
    pub(crate) fn deregister(&self, fd: RawFd) {
        if let (true, Some(epoll)) = (self.process == sys::process(), self.epoll.upgrade()) {
            // It fails when somebody has closed the descriptor behind our back: then it is done already.
            trace!(Removed { eventfd: self.event.fd(), fd });
            let _closed = epoll.remove(fd);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.letters().closed
    }

    pub(crate) fn remote_wakes(&self) -> u64 {
        self.wakes.load(Relaxed)
    }

    // ---- the runtime's thread -----------------------------------------------------------------

    pub(crate) fn has_letters(&self) -> bool {
        self.state.load(Relaxed) == POSTED
    }

    /// Before sleeping. `false` when there are letters: then do not.
    pub(crate) fn park(&self) -> bool {
        self.state.compare_exchange(AWAKE, PARKED, AcqRel, Acquire).unwrap_or_else(|was| was)
            != POSTED
    }

    /// The loop will look into the box again and again: nobody need write the eventfd.
    pub(crate) fn stay_awake(&self) {
        let _posted = self.state.compare_exchange(PARKED, AWAKE, AcqRel, Acquire);
    }

    /// No loop runs for the moment, and whoever runs it next may sleep on our descriptor: it is made ready when
    /// there are letters, or `anyway`.
    pub(crate) fn rest(&self, anyway: bool, ran: bool) {
        // Of what was posted while nobody ran the loop the descriptor has told already.
        let posted = !self.park();
        if posted && ran || anyway && !posted {
            self.state.swap(POSTED, AcqRel);
            self.event.signal();
        }
    }

    /// After sleeping, or instead of it: the letters, if there are any.
    ///
    /// The word is set before the box is emptied. A letter that comes in between is taken now, and
    /// announced once more for nothing; the other order would lose it.
    #[inline]
    pub(crate) fn take(&self) -> Option<Letters> {
        if self.state.load(Relaxed) == AWAKE || self.state.swap(AWAKE, AcqRel) != POSTED {
            return None;
        }
        Some(self.empty())
    }

    #[cold]
    fn empty(&self) -> Letters {
        let mut letters = self.letters();
        let closed = letters.closed;
        mem::replace(&mut *letters, Letters { closed, ..Letters::default() })
    }

    /// The runtime has ended. What is still in the box is given to the caller, who may drop it.
    pub(crate) fn close(&self) -> Letters {
        mem::replace(&mut *self.letters(), Letters { closed: true, ..Letters::default() })
    }

    /// Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
