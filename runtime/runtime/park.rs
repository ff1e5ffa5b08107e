//! How the loop waits. It asks the kernel and the clock, and wakes whom they name; when there is nothing to do it
//! looks again for a moment, if that has paid of late ([`Patience`](crate::patience::Patience)), and then it sleeps.

use crate::current;
use crate::home::Parts;
use crate::mailbox::Letters;
use crate::number::Number;
use crate::spawned::contain;
use crate::sys;
use crate::waker::wake_contained;
use std::hint;
use std::io;
use std::time::{Duration, Instant};

impl Parts {
    /// Asks the kernel and the clock, and wakes whom they name. Sleeps unless something is ready (`busy`), and not
    /// longer than until `next`, the time of the first timer before all that.
    #[inline(never)]
    pub(super) fn park(&self, busy: bool, next: Instant) -> io::Result<()> {
        self.refuse_in_child(); // Before the alarm is set, which is the parent's.
        self.ask_apart(busy, if busy { None } else { self.left_until(next) })?;
        fire(next);
        Ok(())
    }

    /// How long to sleep for the first timer, at most: until something happens, if the alarm is what happens then.
    fn left_until(&self, next: Instant) -> Option<Duration> {
        let left = until(next);
        if self.reactor.alarm.ends_sleep(next, left) { None } else { Some(left) }
    }

    /// Asks the kernel, and other threads. Sleeps unless `busy`, and not longer than `left`.
    #[inline(always)] // Into the loop, where mostly there is no timer to look for.
    pub(super) fn ask(&self, busy: bool, left: Option<Duration>) -> io::Result<()> {
        self.refuse_in_child();
        if !busy {
            match self.patience.is_none() {
                true => self.sleep(left)?,
                false => self.look_and_sleep(left)?,
            }
        } else if self.reactor.sources() > 0 {
            self.reactor.wait_at_most(Duration::ZERO)?;
        }
        if let Some(letters) = self.mailbox.take() {
            deliver(letters);
        }
        let clock = sys::coarse_clock();
        current::executor(|executor| executor.clock = clock);
        Ok(())
    }

    /// `ask`, compiled a second time.
    #[inline(never)]
    pub(super) fn ask_apart(&self, busy: bool, left: Option<Duration>) -> io::Result<()> {
        self.ask(busy, left)
    }

    #[inline(always)]
    fn refuse_in_child(&self) {
        assert!(
            self.process == sys::process(),
            "a runtime goes on in the parent of a fork: leave the child by `exec` or `_exit`"
        );
    }

    /// Until something happens, or for `left`.
    #[inline(always)] // Into the loop, by way of `ask`.
    fn sleep(&self, left: Option<Duration>) -> io::Result<()> {
        // From `park` on a letter wakes us; one that has come already keeps us awake.
        match left {
            None if self.mailbox.park() => self.reactor.wait(None),
            Some(left) if !left.is_zero() && self.mailbox.park() => self.reactor.wait_at_most(left),
            _ => self.reactor.wait_at_most(Duration::ZERO),
        }
    }

    /// `sleep`, compiled a second time.
    #[inline(never)]
    fn sleep_apart(&self, left: Option<Duration>) -> io::Result<()> {
        self.sleep(left)
    }

    /// The same, but looks first, where an answer is expected and patience has it. While it looks, a letter costs its sender no call.
    #[inline(never)]
    fn look_and_sleep(&self, left: Option<Duration>) -> io::Result<()> {
        let seen = self.reactor.seen.get();
        // Who may not sleep has nothing to learn, and leaves the answer to be expected by who may.
        let may_sleep = left != Some(Duration::ZERO);
        let expects = self.patience.expects(may_sleep && current::has_talked(), seen)
            && self.patience.hastens(self.reactor.crowd());
        let limit = self.patience.limit();
        if !expects || limit.is_zero() && !self.patience.is_to_time() {
            return self.sleep_apart(left);
        }
        let limit = left.map_or(limit, |left| left.min(limit));
        let begin = Instant::now();
        let (mut now, mut away) = (begin, false);
        if !limit.is_zero() {
            self.mailbox.stay_awake();
        }
        while now - begin < limit && !away {
            let last = now;
            match self.reactor.sources() > 0 || self.reactor.alarm.is_set() {
                true => self.reactor.wait_at_most(Duration::ZERO)?,
                false => hint::spin_loop(),
            }
            now = Instant::now();
            away = self.patience.was_away(now - last);
            if self.reactor.seen.get() != seen || self.mailbox.has_letters() {
                // What the first look finds, `epoll_wait` would have found before it fell asleep.
                if last != begin && !away {
                    self.patience.found(now - begin);
                    self.looks.set(self.looks.get() + 1);
                }
                return Ok(());
            }
        }
        let looked = now - begin;
        if !away {
            self.patience.in_vain(looked);
        }
        self.sleep_apart(left.map(|left| left.saturating_sub(looked)))?;
        // Whom a timer wakes would not have slept shorter by looking.
        if self.reactor.seen.get() != seen {
            self.patience.slept(now.elapsed());
        }
        Ok(())
    }
}

pub(super) fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Wakes whose time has come, if it is past `next`.
pub(super) fn fire(next: Instant) {
    let now = Instant::now();
    if next <= now {
        current::timers(|timers| timers.fire(now)).into_iter().for_each(wake_contained);
    }
}

fn deliver(letters: Letters) {
    trace!(Letters { wakes: letters.wakes.len(), jobs: letters.jobs.len() });
    current::talks();
    letters.wakes.into_iter().for_each(Number::wake);
    letters.jobs.into_iter().for_each(contain);
}
