//! Tells of a time by an event, as all else is told: so who waits for events need not look at the clock.
//!
//! A sleep with a timeout asks the clock before and after, and the kernel for a timer of its own. For a timer that comes next, that
//! is right. But a server has timers that are far away and events all the while: an idle timeout of a minute is slept for a
//! million times before it is over. So **a timer that is slept for a second time gets the alarm**, and until that rings nobody looks at
//! the timers. And a loop of somebody else's, which sleeps on our descriptor alone, is told so of every timer
//! ([`self_waking_fd`](crate::runtime::Builder::self_waking_fd)).
//!
//! A timer that is due before it is looked for as ever. It rings for nothing, once, when its timer was given up or moved.

use crate::slab::{Key, NONE};
use crate::sys::TimerFd;
use std::cell::Cell;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

pub(crate) struct Alarm {
    /// `None`: there could be none.
    timer: Option<TimerFd>,
    /// When it rings, if it has not.
    at: Cell<Option<Instant>>,
    /// Until when the loop slept last that had to ask the clock.
    slept_until: Cell<Option<Instant>>,
}

/// The datum of its event: a key that no source can have.
pub(crate) const RINGS: Key = Key { index: NONE, stamp: 1 };

/// To set it is a system call. A timer that is nearer is slept for as often as it takes.
const FAR: Duration = Duration::from_millis(10);

impl Alarm {
    pub(crate) fn new(timer: Option<TimerFd>) -> Alarm {
        Alarm { timer, at: Cell::new(None), slept_until: Cell::new(None) }
    }

    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.timer.as_ref().map(TimerFd::fd)
    }

    /// Whether it rings at `deadline` or before: until then there is nothing to look for.
    #[inline(always)]
    pub(crate) fn rings_by(&self, deadline: Instant) -> bool {
        self.at.get().is_some_and(|at| at <= deadline)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.at.get().is_some()
    }

    /// It has rung, or nobody can say: it is set no more.
    pub(crate) fn rang(&self) {
        self.at.set(None);
    }

    /// The loop is about to sleep until `deadline`, which is `left` from now. Whether the alarm ends that sleep, so that it
    /// needs no timeout.
    pub(crate) fn ends_sleep(&self, deadline: Instant, left: Duration) -> bool {
        let again = self.slept_until.replace(Some(deadline)) == Some(deadline);
        again && left >= FAR && self.set(Some(deadline), Some(left))
    }

    /// For whoever sleeps on the runtime's descriptor: it rings at `deadline`, with `None` never.
    #[cold]
    #[inline(never)]
    pub(crate) fn announce(&self, deadline: Option<Instant>) {
        if self.at.get() != deadline {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            self.set(deadline, left);
        }
    }

    fn set(&self, deadline: Option<Instant>, left: Option<Duration>) -> bool {
        // That it fails for a time that no clock can hold does not happen: there is no such `Instant`.
        let set = self.timer.as_ref().is_some_and(|timer| timer.set(left).is_ok());
        if set {
            self.at.set(deadline);
        }
        set
    }
}
