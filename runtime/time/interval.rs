//! Time in even steps.

use super::{Sleep, sleep_until};
use futures_core::Stream;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Ticks every `period`, for the first time at once.
///
/// # Panics
/// When `period` is zero.
///
/// ```
/// use std::time::Duration;
/// waken::block_on(async {
///     let mut interval = waken::time::interval(Duration::from_millis(2));
///     let first = interval.tick().await;
///     let second = interval.tick().await;
///     assert_eq!(second - first, Duration::from_millis(2));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start`, and every `period` after it.
///
/// # Panics
/// When `period` is zero.
///
/// ```
/// use std::time::{Duration, Instant};
/// waken::block_on(async {
///     let period = Duration::from_millis(2);
///     let start = Instant::now() + period;               // not at once
///     let mut ticks = waken::time::interval_at(start, period);
///     assert_eq!(ticks.tick().await, start);
/// });
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "an interval of zero would tick for ever in one instant: use `yield_now`"
    );
    Interval { sleep: sleep_until(start), period, behavior: MissedTickBehavior::default() }
}

/// See [`interval`]. Also a [`Stream`] that never ends.
#[derive(Debug)]
#[must_use = "an interval does nothing unless it is asked for a tick"]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    behavior: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and returns when it was due. Cancel safe.
    #[track_caller]
    pub fn tick(&mut self) -> impl Future<Output = Instant> {
        self.sleep.at = Location::caller();
        poll_fn(|cx| self.poll_tick(cx))
    }

    /// [`tick`](Interval::tick), as a poll function. The last waker is woken.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let now = Instant::now();
        // Ready, so there is a deadline.
        let due = self.sleep.deadline.unwrap_or(now);
        self.set(self.behavior.next(due, now, self.period));
        Poll::Ready(due)
    }

    /// The next tick is one period from now.
    pub fn reset(&mut self) {
        self.set(Instant::now().checked_add(self.period));
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// What happens when ticks were missed.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.behavior
    }

    /// Sets what happens when ticks were missed.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use waken::time::{MissedTickBehavior, interval};
    /// waken::block_on(async {
    ///     let mut ticks = interval(Duration::from_millis(2));
    ///     ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ///     ticks.tick().await;
    ///     std::thread::sleep(Duration::from_millis(7));      // three are due
    ///     let now = Instant::now();
    ///     ticks.tick().await;                                // one of them comes, late
    ///     assert!(ticks.tick().await > now);                 // and then the next in time
    /// });
    /// ```
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.behavior = behavior;
    }

    fn set(&mut self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.sleep.reset(deadline),
            None => {
                self.sleep.cancel();
                self.sleep.deadline = None;
            }
        }
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}

/// What an [`Interval`] does when it is asked for a tick so late that more are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// All of them come, one right after the other, until the interval has caught up.
    #[default]
    Burst,
    /// The next one comes a period after the late one.
    Delay,
    /// The missed ones are left out; the next one comes when it would have come anyway.
    Skip,
}

impl MissedTickBehavior {
    fn next(self, due: Instant, now: Instant, period: Duration) -> Option<Instant> {
        match self {
            MissedTickBehavior::Burst => due.checked_add(period),
            MissedTickBehavior::Delay if now.saturating_duration_since(due) < period => {
                due.checked_add(period)
            }
            MissedTickBehavior::Delay => now.checked_add(period),
            MissedTickBehavior::Skip => {
                let missed = now.saturating_duration_since(due).as_nanos() / period.as_nanos();
                let ahead = (missed + 1).checked_mul(period.as_nanos())?;
                due.checked_add(Duration::new(
                    (ahead / 1_000_000_000).try_into().ok()?,
                    (ahead % 1_000_000_000) as u32,
                ))
            }
        }
    }
}
