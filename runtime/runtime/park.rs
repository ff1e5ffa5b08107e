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
    /// longer than until `next`, the time of the first timer before all that, or for `at_most`.
    #[inline(always)] // Into the loop.
    pub(super) fn park(
        &self,
        busy: bool,
        next: Option<Instant>,
        at_most: Option<Duration>,
    ) -> io::Result<()> {
        assert!(
            self.process == sys::process(),
            "a runtime goes on in the parent of a fork: leave the child by `exec` or `_exit`"
        );
        if !busy {
            let left = match next.map(until) {
                Some(left) => Some(at_most.map_or(left, |most| most.min(left))),
                None => at_most,
            };
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
        if let Some(next) = next {
            let now = Instant::now();
            if next <= now {
                current::timers(|timers| timers.fire(now)).into_iter().for_each(wake_contained);
            }
        }
        let clock = sys::coarse_clock();
        current::executor(|executor| executor.clock = clock);
        Ok(())
    }

    /// Until something happens, or for `left`.
    #[inline(always)] // Into the loop, once more for `look_and_sleep`.
    fn sleep(&self, left: Option<Duration>) -> io::Result<()> {
        // From `park` on a letter wakes us; one that has come already keeps us awake.
        match left {
            None if self.mailbox.park() => self.reactor.wait(None),
            Some(left) if !left.is_zero() && self.mailbox.park() => self.reactor.wait_at_most(left),
            _ => self.reactor.wait_at_most(Duration::ZERO),
        }
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
            return self.sleep(left);
        }
        let limit = left.map_or(limit, |left| left.min(limit));
        let begin = Instant::now();
        let (mut now, mut away) = (begin, false);
        if !limit.is_zero() {
            self.mailbox.stay_awake();
        }
        while now - begin < limit && !away {
            let last = now;
            match self.reactor.sources() > 0 {
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
        self.sleep(left.map(|left| left.saturating_sub(looked)))?;
        // Whom a timer wakes would not have slept shorter by looking.
        if self.reactor.seen.get() != seen {
            self.patience.slept(now.elapsed());
        }
        Ok(())
    }
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn deliver(letters: Letters) {
    trace!(Letters { wakes: letters.wakes.len(), jobs: letters.jobs.len() });
    current::talks();
    letters.wakes.into_iter().for_each(Number::wake);
    letters.jobs.into_iter().for_each(contain);
}
