//! Turns kernel readiness into wakes. Knows no task and no clock, and never reads or writes a byte.
//!
//! ```text
//! epoll event ──► sources[key] ──► Source: what is ready, who waits ──► the number waiting there ──► wake
//!  (key, bits)
//! ```
//!
//! A descriptor is added to epoll once, edge-triggered, and never modified. An edge
//! says "this changed", not "this is so", so it is remembered: a direction is *ready* until a call
//! returns `WouldBlock`. It starts ready, since the first try is the cheapest way to ask.
//!
//! Dispatch only schedules. No user's code runs while a batch of events is read, so no descriptor can be
//! closed and its number reused in the middle of one; an event whose key is stale belongs to a
//! duplicate of a closed descriptor, and is ignored.

use crate::alarm::{Alarm, RINGS};
use crate::slab::{Key, NONE, Slab};
use crate::source::{self, Foreign, Source};
use crate::sys::{self, Epoll, Events};
use crate::waker::{drop_contained, wake_contained};
use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(crate) struct Reactor {
    runtime: u32,
    epoll: Arc<Epoll>,
    process: u32,
    watched: RefCell<Watched>,
    pub(crate) alarm: Alarm,
    /// The number of sources, beside the borrow.
    alive: Cell<usize>,
    /// A wait had no room for all events. Taken back by whoever wants to know.
    pub(crate) more: Cell<bool>,
    pub(crate) waits: Cell<u64>,
    pub(crate) seen: Cell<u64>,
    /// How many of them the last wait found that found any, until `crowd` is asked; and what that said then.
    found: Cell<usize>,
    crowd: Cell<u32>,
    pub(crate) spurious: Cell<u64>,
    pub(crate) ctls: Cell<u64>,
}

struct Watched {
    sources: Slab<Arc<Source>>,
    events: Events,
    /// Found by a dispatch, to be woken after it.
    foreign: Foreign,
}

/// The datum of what only unparks: a key that no source can have.
pub(crate) const UNPARK: Key = Key { index: NONE, stamp: 0 };

impl Reactor {
    pub(crate) fn new(runtime: u32, epoll: Arc<Epoll>, events: usize, alarm: Alarm) -> Reactor {
        Reactor {
            runtime,
            epoll,
            process: sys::process(),
            watched: RefCell::new(Watched {
                sources: Slab::new(),
                events: Events::with_capacity(events),
                foreign: Foreign::new(),
            }),
            alarm,
            alive: Cell::new(0),
            more: Cell::new(false),
            waits: Cell::new(0),
            seen: Cell::new(0),
            found: Cell::new(0),
            crowd: Cell::new(0),
            spurious: Cell::new(0),
            ctls: Cell::new(0),
        }
    }

    /// Begins to watch `fd` for the events in `bits`, which come with `key`.
    pub(crate) fn watch(&self, fd: RawFd, bits: i32, key: Key) -> io::Result<()> {
        self.ctls.set(self.ctls.get() + 1);
        self.epoll.add(fd, bits, key.to_bits())
    }

    #[inline]
    pub(crate) fn sources(&self) -> usize {
        self.alive.get()
    }

    /// Makes a source of `fd`, which is watched for the events in `bits`. On an error nothing is left behind.
    pub(crate) fn register(&self, fd: RawFd, bits: i32) -> io::Result<Arc<Source>> {
        let sources = &mut self.watched.borrow_mut().sources;
        let key = sources.next_key();
        self.watch(fd, bits, key)?;
        trace!(Register { fd, bits, key });
        let seen = self.seen.get() as u32;
        let source = Arc::new(Source::new(self.runtime, key.index, fd, seen));
        sources.insert(source.clone());
        self.alive.set(sources.len());
        Ok(source)
    }

    /// Stops watching, before the descriptor is closed or given away.
    pub(crate) fn deregister(&self, source: &Source) {
        // In a forked child the table of the kernel is shared with the parent, and still its own.
        if self.process == sys::process() && !(source.is_lent() && self.is_anothers(source)) {
            self.ctls.set(self.ctls.get() + 1);
            // It fails when somebody has closed the descriptor behind our back: then it is done already.
            let _closed = self.epoll.remove(source.fd());
        }
        self.forget(source);
    }

    /// Whether somebody else has its number: its owner has put another descriptor into its place, which has closed it.
    fn is_anothers(&self, source: &Source) -> bool {
        let sources = &self.watched.borrow().sources;
        sources.iter().any(|(_, it, _)| it.fd() == source.fd() && !ptr::eq(&**it, source))
    }

    /// The descriptor is closed: so is its registration, unless it had a duplicate.
    pub(crate) fn forget(&self, source: &Source) {
        let mut watched = self.watched.borrow_mut();
        // After the end of the runtime it is not there.
        let there = watched.sources.at_mut(source.index);
        if there.is_some_and(|there| ptr::eq(&**there, source)) {
            trace!(Deregister { runtime: source.runtime(), source: source.index });
            watched.sources.remove_at(source.index);
            self.alive.set(watched.sources.len());
        }
        drop(watched);
        source.close().into_iter().for_each(drop_contained);
    }

    /// Asks the kernel, for at most `timeout` (`None`: until something happens), and wakes whom it names.
    ///
    /// # Errors
    /// When `epoll_wait` fails otherwise than by a signal: somebody has closed our descriptor.
    #[inline(always)] // Into the loop.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut watched = self.watched.borrow_mut();
        let Watched { sources, events, foreign } = &mut *watched;
        self.waits.set(self.waits.get() + 1);
        trace!(Sleep { timeout });
        let n = self.epoll.wait(events, timeout);
        trace!(Awake { timeout, events: n.as_ref().copied().map_err(io::Error::kind) });
        let n = match n {
            Ok(n) => n,
            // After a signal the caller works out what is left of its time, and asks again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        // Never more; but to say so spares `first` a look at its end.
        if n >= events.capacity() {
            self.more.set(true);
            self.alarm.rang(); // Maybe behind all that is left.
        }
        self.seen.set(self.seen.get() + n as u64);
        if n > 0 {
            self.found.set(n); // One that finds none leaves the buffer as it is.
        }
        for (datum, bits) in events.first(n) {
            trace!(Ready { datum, bits });
            let woken = match sources.get(Key::from_bits(datum)) {
                Some(source) => source.dispatch(bits, foreign),
                None => self.is_of_ours(datum),
            };
            if !woken {
                self.spurious.set(self.spurious.get() + 1);
            }
        }
        if !foreign.is_empty() {
            let foreign = mem::take(foreign);
            // The user's code: when no borrow is held.
            drop(watched);
            foreign.into_iter().for_each(wake_contained);
        }
        Ok(())
    }

    /// Whether this is no stale event, but one of a descriptor of our own: of the alarm, or of what only unparks.
    #[cold]
    fn is_of_ours(&self, datum: u64) -> bool {
        let rings = datum == RINGS.to_bits();
        if rings {
            self.alarm.rang();
            self.found.set(self.found.get() - 1); // It says nothing of how many descriptors take turns.
        }
        rings || datum == UNPARK.to_bits()
    }

    /// `wait`, compiled a second time: the loop has the one without a timeout inline.
    #[inline(never)]
    pub(crate) fn wait_at_most(&self, timeout: Duration) -> io::Result<()> {
        self.wait(Some(timeout))
    }

    /// How many descriptors take turns, more or less: so many events came from one event to the next of a descriptor that was
    /// found last, as far as this was asked then; and no more than there are. It touches what was found, so it is asked when
    /// that is little.
    pub(crate) fn crowd(&self) -> u32 {
        let Watched { sources, events, .. } = &*self.watched.borrow();
        let (seen, found) = (self.seen.get() as u32, self.found.take());
        if found > 0 {
            let found = events.first(found).filter_map(|(it, _)| sources.get(Key::from_bits(it)));
            let since = found.map(|it| seen.wrapping_sub(it.seen.swap(seen, Relaxed)));
            self.crowd.set(since.max().unwrap_or(0));
        }
        self.crowd.get().min(self.alive.get() as u32)
    }

    /// What a foreign loop waits for: readable when `wait` would find events.
    pub(crate) fn epoll(&self) -> &Epoll {
        &self.epoll
    }

    pub(crate) fn for_each(&self, mut show: impl FnMut(&Source)) {
        self.watched.borrow().sources.iter().for_each(|(_, source, _)| show(source));
    }

    /// The runtime ends: the wakers of all who stand aside, for the caller to drop.
    pub(crate) fn clear(&self) -> Foreign {
        self.alive.set(0);
        self.watched.borrow_mut().sources = Slab::new();
        source::close_all(self.runtime)
    }
}

#[cfg(test)]
#[path = "../tests/inner/reactor.rs"]
mod tests;
