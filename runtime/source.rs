//! What the reactor keeps for one descriptor: which directions are ready, and who waits for them.
//!
//! A source is plain numbers in relaxed atomics, so a socket can hold it and be `Send + Sync`, although
//! only the runtime's own thread ever writes to it. Per direction it has room for one waiter: the
//! *number* of a waker (see `waker.rs`), so waiting costs two stores and no reference count. A second
//! waiter, or one with a foreign waker, goes to a list aside, which most sources never have.
//!
//! No edge can slip between a call that returns `WouldBlock` and the waiter that is then stored: edges
//! are read in `Reactor::wait` alone, on this thread, and this thread is here.

use crate::current;
use crate::forgotten;
use crate::number::Number;
use crate::slab::Key;
use crate::sys::{AtomicLocation, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use crate::waker::drop_contained;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Reading or writing. A type, so that the compiler knows which, wherever we do.
pub(crate) trait Direction: 'static {
    const IS_READ: bool;
    const READY: u32;
    fn waiting(source: &Source) -> &Waiting;
}

pub(crate) enum Read {}
pub(crate) enum Write {}

impl Direction for Read {
    const IS_READ: bool = true;
    const READY: u32 = READ_READY;

    #[inline]
    fn waiting(source: &Source) -> &Waiting {
        &source.read
    }
}

impl Direction for Write {
    const IS_READ: bool = false;
    const READY: u32 = WRITE_READY;

    #[inline]
    fn waiting(source: &Source) -> &Waiting {
        &source.write
    }
}

/// The line that waits. `None` through the poll traits, where it is in other people's code.
pub(crate) type At = Option<&'static Location<'static>>;

pub(crate) struct Source {
    /// The bits of the last event (they fit into 14), and what we remember, from `READ_READY` on.
    state: AtomicU32,
    fd: RawFd,
    read: Waiting,
    write: Waiting,
    key: Key,
    /// The newest ticket given out.
    tickets: AtomicU32,
    runtime: u32,
    /// Waiters that found the place taken, or whose waker is not a number.
    others: Mutex<Others>,
}

/// The first waiter of one direction.
#[derive(Default)]
pub(crate) struct Waiting {
    number: AtomicU64,
    /// Whose place it is: 0 when it is free.
    ticket: AtomicU32,
    /// How many more are in the list.
    others: AtomicU32,
    at: AtomicLocation,
}

/// Behind a box, since most sources have none, and all would pay for the room.
#[allow(clippy::box_collection)]
type Others = Option<Box<Vec<Other>>>;

struct Other {
    is_read: bool,
    ticket: u32,
    waker: Waker,
    at: At,
}

/// Foreign wakers that a dispatch has found, to be woken when no borrow is held.
pub(crate) type Foreign = Vec<Waker>;

/// One pending future's claim to be woken. Taken when it first waits, given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Ticket(u32);

impl Ticket {
    /// The claim of the poll traits, where no future is there to be dropped: the last one who polled has it.
    pub(crate) const POLL: Ticket = Ticket(1);

    pub(crate) fn is_taken(&self) -> bool {
        self.0 != 0
    }
}

const READ_READY: u32 = 1 << 16;
const WRITE_READY: u32 = 1 << 17;
const PRIORITY_READY: u32 = 1 << 18;
/// The peer has sent urgent data at least once.
const WAS_URGENT: u32 = 1 << 19;
const LAST_EVENT: u32 = READ_READY - 1;

/// Bits of an event that mean that a read may have something to say. HUP and ERR come unasked.
const READS: i32 = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
/// Who waits for urgent data learns as well that none will come any more.
const URGES: i32 = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
const WRITES: i32 = EPOLLOUT | EPOLLHUP | EPOLLERR;
/// Bits after which a short read does not prove that the socket is empty: behind the bytes is an
/// end of file, an error, or the rest of the stream beyond an urgent byte. No further edge comes for it.
const MORE_BEHIND: u32 = (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI) as u32 | WAS_URGENT;

impl Source {
    pub(crate) fn new(runtime: u32, key: Key, fd: RawFd) -> Source {
        Source {
            state: AtomicU32::new(READ_READY | WRITE_READY),
            fd,
            read: Waiting::default(),
            write: Waiting::default(),
            key,
            tickets: AtomicU32::new(0),
            runtime,
            others: Mutex::new(None),
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    #[inline]
    pub(crate) fn runtime(&self) -> u32 {
        self.runtime
    }

    // ---- readiness ----------------------------------------------------------------------------

    #[inline]
    pub(crate) fn is_ready<D: Direction>(&self) -> bool {
        self.state.load(Relaxed) & D::READY != 0
    }

    /// A call has said `WouldBlock`: whatever was reported before, the next try waits for an edge.
    #[inline]
    pub(crate) fn clear_ready<D: Direction>(&self) {
        self.state.store(self.state.load(Relaxed) & !D::READY, Relaxed);
    }

    pub(crate) fn is_priority(&self) -> bool {
        self.state.load(Relaxed) & PRIORITY_READY != 0
    }

    pub(crate) fn clear_priority(&self) {
        self.state.store(self.state.load(Relaxed) & !PRIORITY_READY, Relaxed);
    }

    /// A plain TCP stream gave fewer bytes than were asked for: that was all, unless the last event
    /// said that something else is behind them. Saves one `EAGAIN` read a request.
    #[inline]
    pub(crate) fn short_read(&self) {
        let state = self.state.load(Relaxed);
        if state & MORE_BEHIND == 0 {
            self.state.store(state & !READ_READY, Relaxed);
        }
    }

    /// The bits of the last event.
    pub(crate) fn last_event(&self) -> i32 {
        (self.state.load(Relaxed) & LAST_EVENT) as i32
    }

    /// Remembers an event and wakes everybody whom it concerns; `false` when that was nobody.
    #[inline(always)]
    pub(crate) fn dispatch(&self, bits: i32, foreign: &mut Foreign) -> bool {
        let mut state = self.state.load(Relaxed) & !LAST_EVENT | bits as u32 & LAST_EVENT;
        let mut woken = false;
        if bits & URGES != 0 {
            state |= urgency(bits);
        }
        if bits & READS != 0 {
            state |= READ_READY;
            woken |= self.wake::<Read>(foreign);
        }
        if bits & WRITES != 0 {
            state |= WRITE_READY;
            woken |= self.wake::<Write>(foreign);
        }
        // A wake only schedules: nobody looks before the turn goes on.
        self.state.store(state, Relaxed);
        woken
    }

    #[inline(always)]
    fn wake<D: Direction>(&self, foreign: &mut Foreign) -> bool {
        let waiting = D::waiting(self);
        let first = waiting.ticket.load(Relaxed) != 0;
        if first {
            waiting.ticket.store(0, Relaxed);
            Number::from_bits(waiting.number.load(Relaxed)).wake();
        }
        let others = waiting.others.load(Relaxed) != 0;
        if others {
            self.wake_others::<D>(foreign);
        }
        first || others
    }

    #[cold]
    fn wake_others<D: Direction>(&self, foreign: &mut Foreign) {
        D::waiting(self).others.store(0, Relaxed);
        if let Some(others) = &mut *self.others() {
            let (ours, rest) =
                others.drain(..).partition(|other: &Other| other.is_read == D::IS_READ);
            **others = rest;
            foreign.extend(Vec::into_iter(ours).map(|other: Other| other.waker));
        }
    }

    // ---- waiters ------------------------------------------------------------------------------

    /// The next event of this direction wakes `waker`. Called at every poll that stays pending.
    #[inline]
    pub(crate) fn wait<D: Direction>(&self, ticket: &mut Ticket, waker: &Waker, at: At) {
        let waiting = D::waiting(self);
        let holder = waiting.ticket.load(Relaxed);
        let free = holder == 0 && waiting.others.load(Relaxed) == 0;
        match Number::behind(waker) {
            Some(number) if free || holder != 0 && holder == ticket.0 => {
                if !ticket.is_taken() {
                    ticket.0 = self.next_ticket();
                }
                waiting.number.store(number.to_bits(), Relaxed);
                waiting.ticket.store(ticket.0, Relaxed);
                waiting.at.set(at);
                if cfg!(debug_assertions) {
                    current::leave_number();
                    if number.runtime() != self.runtime as u16 {
                        forgotten::count(number, true);
                    }
                }
            }
            _ => self.wait_aside::<D>(ticket, waker, at),
        }
    }

    #[cold]
    fn wait_aside<D: Direction>(&self, ticket: &mut Ticket, waker: &Waker, at: At) {
        if !ticket.is_taken() {
            ticket.0 = self.next_ticket();
        }
        // A waker's clone and drop may be the user's code: never under the lock.
        let waker = waker.clone();
        let old = self.take_other::<D>(ticket.0);
        let waiting = D::waiting(self);
        if waiting.ticket.load(Relaxed) == ticket.0 {
            waiting.ticket.store(0, Relaxed);
        }
        let other = Other { is_read: D::IS_READ, ticket: ticket.0, waker, at };
        self.others().get_or_insert_default().push(other);
        waiting.others.store(waiting.others.load(Relaxed) + 1, Relaxed);
        old.into_iter().for_each(drop_contained);
    }

    /// A pending future is dropped, or done: it leaves no waker behind.
    #[inline]
    pub(crate) fn stop_waiting<D: Direction>(&self, ticket: &mut Ticket) {
        let waiting = D::waiting(self);
        if waiting.ticket.load(Relaxed) == ticket.0 {
            waiting.ticket.store(0, Relaxed);
        } else if waiting.others.load(Relaxed) != 0 {
            self.take_other::<D>(ticket.0).into_iter().for_each(drop_contained);
        }
        ticket.0 = 0;
    }

    #[cold]
    fn take_other<D: Direction>(&self, ticket: u32) -> Option<Waker> {
        let mut list = self.others();
        let others = list.as_mut()?;
        let found = others
            .iter()
            .position(|other| other.ticket == ticket && other.is_read == D::IS_READ)?;
        let waiting = D::waiting(self);
        waiting.others.store(waiting.others.load(Relaxed) - 1, Relaxed);
        Some(others.remove(found).waker)
    }

    #[inline]
    fn next_ticket(&self) -> u32 {
        // Never 0, which is "no ticket", nor 1, which is `Ticket::POLL`: every one has the second bit.
        let next = self.tickets.load(Relaxed).wrapping_add(1) | 2;
        self.tickets.store(next, Relaxed);
        next
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows everybody who waits here: whether to read (or to write), and where.
    pub(crate) fn for_each(&self, mut show: impl FnMut(Option<Number>, bool, At)) {
        for (waiting, is_read) in [(&self.read, true), (&self.write, false)] {
            if waiting.ticket.load(Relaxed) != 0 {
                let number = Number::from_bits(waiting.number.load(Relaxed));
                show(Some(number), is_read, waiting.at.get());
            }
        }
        for other in self.others().iter().flat_map(|others| others.iter()) {
            show(Number::behind(&other.waker), other.is_read, other.at);
        }
    }
}

/// What an event with any of `URGES` adds to the state.
#[cold]
fn urgency(bits: i32) -> u32 {
    if bits & EPOLLPRI != 0 { PRIORITY_READY | WAS_URGENT } else { PRIORITY_READY }
}

impl Drop for Source {
    fn drop(&mut self) {
        let others = self.others().take();
        others.into_iter().flat_map(|others| *others).for_each(|other| drop_contained(other.waker));
    }
}
