//! `sleep`, `timeout`, `interval`: the clock, as futures.
//!
//! The clock is `CLOCK_MONOTONIC`: it is never set, and stands still while the machine is suspended. No timer is early. From Linux 5.11 on it
//! is waited for in nanoseconds, and usually less than 0.1 ms late; before, in milliseconds, rounded up. Timers are looked at once a turn, so a
//! poll that takes long makes them late. All of these futures are cancel safe: what is dropped is cancelled, and nothing else happens.
//!
//! A timer here is a deadline and, once it waits, a key: plain data, so these futures are `Send + Sync`. They
//! register with the runtime that first polls them, and are taken out when they are dropped.

mod interval;

pub use interval::{Interval, MissedTickBehavior, interval, interval_at};

use crate::current;
use crate::home::{at_home, under};
use crate::slab::Key;
use crate::sys;
use crate::waker::{drop_contained, wake_contained};
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// The runtime's clock: `CLOCK_MONOTONIC`, as [`Instant`] is.
///
/// ```
/// assert!(waken::time::now() <= std::time::Instant::now());
/// ```
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for `duration`, counted from this call. Cancel safe. `Duration::MAX`, and whatever else no `Instant` can hold, is never.
///
/// ```
/// use std::time::{Duration, Instant};
/// waken::block_on(async {
///     let start = Instant::now();
///     waken::time::sleep(Duration::from_millis(5)).await;
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// });
/// ```
#[doc(alias = "Timer")]
#[doc(alias = "delay_for")]
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(Instant::now().checked_add(duration))
}

/// Waits until `deadline`. Ready at its first poll when that has passed. Cancel safe.
///
/// ```
/// waken::block_on(waken::time::sleep_until(std::time::Instant::now()));
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(Some(deadline))
}

/// For who waits on somebody's behalf: at that one's line.
pub(crate) fn sleep_at(deadline: Instant, at: &'static Location<'static>) -> Sleep {
    Sleep { at, ..Sleep::new(Some(deadline)) }
}

/// See [`sleep`] and [`sleep_until`].
///
/// Never ready before its deadline; sleeps with one deadline are ready in the order in which they were first
/// polled. Dropping it cancels it. It may be reset, and awaited again, also after it was ready: then it is ready at
/// once until it is reset.
///
/// # Panics
/// When it has to wait and is polled outside of a runtime.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    /// `None`: never.
    deadline: Option<Instant>,
    timer: Option<Timer>,
    at: &'static Location<'static>,
}

/// Where a waiting sleep is registered.
#[derive(Clone, Copy)]
struct Timer {
    runtime: u32,
    key: Key,
}

impl Sleep {
    #[track_caller]
    fn new(deadline: Option<Instant>) -> Sleep {
        Sleep { deadline, timer: None, at: Location::caller() }
    }

    /// When it will be ready; `None` for never.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the deadline has passed.
    pub fn is_elapsed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Moves the deadline, and keeps who waits. Moving it later costs next to nothing, so an idle timeout can do
    /// it at every request. (A new [`timeout`] around each costs about two and a half times as much.)
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// waken::block_on(async {
    ///     let mut sleep = waken::time::sleep(Duration::MAX);
    ///     sleep.reset(Instant::now() + Duration::from_millis(1));
    ///     sleep.await;
    /// });
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        let Some(Timer { runtime, key }) = self.timer else { return };
        if current::runtime() != runtime || !current::timers(|timers| timers.reset(key, deadline)) {
            self.reset_elsewhere(deadline);
        }
    }

    /// The same where the timer is not of the current runtime, or has fired.
    #[cold]
    fn reset_elsewhere(&mut self, deadline: Instant) {
        let Some(Timer { runtime, key }) = self.timer else { return };
        // Under it: its descriptor may have to tell of another time now.
        match under(runtime, || current::timers(|timers| timers.reset(key, deadline))) {
            Some(true) => {}
            // It has fired already: the next poll sees the new deadline and registers again.
            Some(false) => self.timer = None,
            // A letter might arrive after a later reset at home. So it only tells who waits to look
            // again: the next poll registers with whatever deadline it finds.
            None => {
                self.timer = None;
                cancel_at_home(runtime, key, wake_contained);
            }
        }
    }

    /// `poll`, free of budget.
    #[inline]
    pub(crate) fn poll_elapsed(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(Timer { runtime, key }) = self.timer {
            if current::runtime() != runtime {
                self.cancel();
            } else {
                match current::timers(|timers| timers.has(key, cx.waker())) {
                    // Most polls find it as they have left it.
                    Some(true) => return Poll::Pending,
                    Some(false) => self.keep(key, cx.waker().clone()),
                    None => self.timer = None,
                }
            }
        }
        if self.timer.is_some() { Poll::Pending } else { self.poll_anew(cx) }
    }

    /// Another one polls it than has before. To have cloned that waker, and to drop the other, may be somebody's code.
    #[cold]
    fn keep(&mut self, key: Key, waker: Waker) {
        let (waits, waker) = current::timers(|timers| timers.keep(key, waker));
        self.timer = self.timer.filter(|_| waits);
        drop_contained(waker);
    }

    /// No timer waits, or any more.
    #[inline(never)]
    fn poll_anew(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if has_passed(deadline) {
            return Poll::Ready(());
        }
        let (runtime, waker) = (current::runtime(), cx.waker().clone());
        let key = current::executor(|executor| match runtime != 0 && executor.runtime == runtime {
            true => Ok(executor.timers.insert(deadline, waker, self.at)),
            false => Err(waker),
        });
        match key {
            Ok(key) => self.timer = Some(Timer { runtime, key }),
            Err(_) => panic!(
                "the sleep made at {} has to wait, but there is no runtime: await it inside `waken::block_on(async {{ … }})`",
                self.at
            ),
        }
        Poll::Pending
    }

    fn cancel(&mut self) {
        let Some(Timer { runtime, key }) = self.timer.take() else { return };
        if current::runtime() != runtime {
            return cancel_at_home(runtime, key, drop_contained);
        }
        let waker = current::timers(|timers| timers.remove(key));
        waker.into_iter().for_each(drop_contained);
    }
}

thread_local! {
    /// What the coarse clock said when the clock was read last, and what was far away then.
    static SEEN: Cell<(u32, Option<Instant>)> = const { Cell::new((0, None)) };
}

/// More than the coarse clock stands still, which is a tick, and 10 ms at most; unless the whole machine does.
const FAR: Duration = Duration::from_millis(100);

/// Whether it is now, or was. To read the clock takes as long as all else that a timeout does, the coarse clock an eighth of
/// that; and while that one stands still, what was far away cannot have come. (If it should stand still for longer, the timer is
/// set, and found due at the end of the turn.)
fn has_passed(deadline: Instant) -> bool {
    let (coarse, (then, far)) = (sys::coarse_clock(), SEEN.get());
    if coarse == then && far.is_some_and(|far| deadline >= far) {
        return false;
    }
    let now = Instant::now();
    SEEN.set((coarse, now.checked_add(FAR)));
    deadline <= now
}

#[cold]
fn cancel_at_home(runtime: u32, key: Key, then: fn(Waker)) {
    at_home(runtime, move |_| current::timers(|it| it.remove(key)).into_iter().for_each(then));
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(current::poll_budget(cx));
        ready!(self.poll_elapsed(cx));
        current::spend();
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Gives `future` at most `duration`. Cancel safe if `future` is.
///
/// The future is polled first: one that is ready wins, also at zero. Then the deadline is looked at, whatever
/// is left of the task's budget. When the time is up the future is still there, in the [`Timeout`], and
/// is dropped with that.
///
/// # Errors
/// [`Elapsed`], when the time is up.
///
/// ```
/// use std::time::Duration;
/// waken::block_on(async {
///     let never = std::future::pending::<()>();
///     assert!(waken::time::timeout(Duration::from_millis(1), never).await.is_err());
///     assert_eq!(waken::time::timeout(Duration::ZERO, async { 1 }).await, Ok(1));
/// });
/// ```
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), sleep: sleep(duration), yielded: false }
}

/// Gives `future` until `deadline`. Cancel safe if `future` is. See [`timeout`].
///
/// ```
/// use std::time::{Duration, Instant};
/// use waken::time::{Elapsed, sleep, timeout_at};
/// waken::block_on(async {
///     // One deadline for several steps.
///     let deadline = Instant::now() + Duration::from_millis(100);
///     timeout_at(deadline, sleep(Duration::from_millis(1))).await?;
///     assert!(timeout_at(deadline, sleep(Duration::from_secs(60))).await.is_err());
///     Ok::<(), Elapsed>(())
/// }).unwrap();
/// ```
#[track_caller]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), sleep: sleep_until(deadline), yielded: false }
}

pin_project! {
    /// See [`timeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
        yielded: bool,
    }
}

impl<F> Timeout<F> {
    /// The future, and no time limit any more.
    #[must_use = "dropping it gives the future up"]
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let used_up = current::is_used_up();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        ready!(this.sleep.poll_elapsed(cx));
        // The deadline counts also when the future has used up the budget. Only a poll that began
        // without any yields, once: a loop of timeouts that are over must let the others go on.
        if used_up && !mem::replace(this.yielded, true) {
            ready!(current::poll_budget(cx));
        }
        current::spend();
        Poll::Ready(Err(Elapsed(())))
    }
}

/// The time was up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up before the future was ready")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
