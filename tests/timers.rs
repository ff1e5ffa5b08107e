//! Timers: in order, never early, as far away as one likes; moved, cancelled and polled by others at will.
mod support;

use futures_lite::future::{or, poll_once};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use support::{Random, guard, panic_message, watched};
use waken::task::{consume_budget, yield_now};
use waken::time::{Sleep, interval, interval_at, now, sleep, sleep_until, timeout, timeout_at};
use waken::{Builder, Runtime, spawn};

const HOUR: Duration = Duration::from_secs(3600);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs `test` on a runtime of its own, and returns that.
fn on_runtime<F: Future>(test: impl FnOnce() -> F) -> Runtime {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(test());
    runtime
}

/// Ready when another thread says so, after `duration`: no timer of the runtime has part in it.
async fn by_thread(duration: Duration) {
    let (mut thread, done) = (None, Arc::new(AtomicUsize::new(0)));
    poll_fn(|cx| {
        thread.get_or_insert_with(|| {
            let (waker, done) = (cx.waker().clone(), done.clone());
            thread::spawn(move || {
                thread::sleep(duration);
                done.store(1, Relaxed);
                waker.wake();
            })
        });
        if done.load(Relaxed) == 1 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// `future` is not ready, and lets the thread sleep meanwhile.
async fn never(what: &str, future: impl Future) {
    let ready = async {
        future.await;
        true
    };
    let still_waiting = async {
        by_thread(ms(5)).await;
        false
    };
    assert!(!or(ready, still_waiting).await, "{what}");
}

// ---- order and accuracy -----------------------------------------------------------------------

/// M05.
#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_equal_ones_as_they_were_polled() {
    watched(20, || {
        on_runtime(|| async {
            let (log, start) = (Rc::new(RefCell::new(Vec::new())), now());
            let deadlines = [30, 10, 20, 10, 0, 30, 10].map(|n| start + ms(n));
            let tasks: Vec<_> = (0..deadlines.len())
                .map(|n| {
                    let (log, sleep) = (log.clone(), sleep_until(deadlines[n]));
                    spawn(async move {
                        sleep.await;
                        log.borrow_mut().push(n);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*log.borrow(), [4, 1, 3, 6, 2, 0, 5]);
        });
    });
}

/// M05.
#[test]
fn ten_thousand_timers_with_one_deadline_all_fire_in_order() {
    watched(20, || {
        let runtime = on_runtime(|| async {
            let (log, deadline) = (Rc::new(RefCell::new(Vec::new())), now() + ms(400));
            for n in 0..10_000 {
                let log = log.clone();
                spawn(async move {
                    sleep_until(deadline).await;
                    log.borrow_mut().push(n);
                });
            }
            sleep_until(deadline).await;
            while log.borrow().len() < 10_000 {
                yield_now().await;
            }
            assert!(log.borrow().is_sorted());
        });
        assert_eq!(runtime.metrics().timers_alive, 0);
        assert_eq!(runtime.metrics().timers_fired, 10_001, "the root's as well");
    });
}

/// M03, E16, N06.
#[test]
fn no_sleep_is_ever_early_and_the_usual_one_is_not_a_millisecond_late() {
    guard(20).cpu_ms(1_000).run(|| {
        on_runtime(|| async {
            let late = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = (1..=40)
                .map(|seed| {
                    let (late, mut random) = (late.clone(), Random(seed));
                    spawn(async move {
                        for _ in 0..500 {
                            let wait = Duration::from_nanos(random.below(3_000_000));
                            let sleep = sleep(wait);
                            let deadline = sleep.deadline().unwrap();
                            sleep.await;
                            let now = Instant::now();
                            assert!(now >= deadline, "{:?} early, of {wait:?}", deadline - now);
                            late.borrow_mut().push(now - deadline);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let mut late = late.take();
            late.sort();
            println!("late: median {:?}, 99 % {:?}", late[10_000], late[19_800]);
            assert!(late[10_000] < ms(1), "median {:?}", late[10_000]);
        });
    });
}

/// M04, E16.
#[test]
fn a_sleep_of_100_ms_is_one_wait_in_the_kernel_not_many() {
    watched(20, || {
        let runtime = on_runtime(|| sleep(ms(100)));
        assert!(runtime.metrics().epoll_waits <= 3, "{:?}", runtime.metrics());
    });
}

/// M12, N07.
#[test]
fn timers_fire_though_another_task_yields_for_ever() {
    watched(20, || {
        on_runtime(|| async {
            spawn(async {
                loop {
                    yield_now().await;
                }
            });
            let start = now();
            sleep(ms(20)).await;
            assert!(start.elapsed() < ms(5000), "{:?}", start.elapsed());
        });
    });
}

/// M12, N06: the clock is looked at in every turn, and no later.
#[test]
fn a_timer_that_is_due_waits_for_one_turn_of_a_thousand_busy_tasks() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        for _ in 0..1000 {
            runtime.spawn(async {
                loop {
                    yield_now().await;
                }
            });
        }
        runtime.block_on(async {
            for _ in 0..20 {
                let mut sleep = sleep(ms(1));
                assert!(poll_once(&mut sleep).await.is_none());
                thread::sleep(ms(2));
                let before = runtime.metrics().polls;
                sleep.await;
                let polls = runtime.metrics().polls - before;
                assert!(polls <= 1000, "{polls} polls of others after it was due");
            }
        });
    });
}

// ---- far, near and past -----------------------------------------------------------------------

/// M01, M02.
#[test]
fn a_wait_longer_than_any_clock_is_never_and_not_a_panic() {
    watched(20, || {
        on_runtime(|| async {
            let mut largest = now();
            for bit in (0..64).rev() {
                largest = largest.checked_add(Duration::from_secs(1 << bit)).unwrap_or(largest);
            }
            let second = Duration::from_secs(1);
            let ns = Duration::from_nanos(1);
            // What seconds, milliseconds and nanoseconds have room for in some kind of number; each, and its neighbours.
            let seconds = [u32::MAX as u64, i64::MAX as u64, u64::MAX].map(Duration::from_secs);
            let smaller =
                [ms(i32::MAX as u64), ms(u32::MAX as u64), Duration::from_nanos(u64::MAX >> 1)];
            let limits = seconds.into_iter().chain(smaller).chain([Duration::MAX, largest - now()]);
            let near = |limit: Duration| {
                [limit.saturating_sub(second), limit - ns, limit, limit.saturating_add(ns)]
            };
            for far in limits.flat_map(near) {
                let what = &format!("{far:?}");
                never(what, sleep(far)).await;
                never(what, timeout(far, pending::<()>())).await;
                assert_eq!(timeout(far, async { 1 }).await, Ok(1));
                let mut ticks = interval(far);
                ticks.tick().await;
                never(what, ticks.tick()).await;
                ticks.reset();
                never(what, ticks.tick()).await;
            }
            for deadline in [largest, largest - second, now() + HOUR * 24 * 365 * 300] {
                never("the last second", sleep_until(deadline)).await;
                never("the last second", timeout_at(deadline, pending::<()>())).await;
                never("the last second", async { interval_at(deadline, second).tick().await })
                    .await;
                let mut moved = sleep(HOUR);
                assert!(poll_once(&mut moved).await.is_none());
                moved.reset(deadline);
                never("moved there", moved).await;
            }
            assert_eq!(sleep(Duration::MAX).deadline(), None);
            assert!(!sleep(Duration::MAX).is_elapsed());
            let mut back = sleep(Duration::MAX);
            assert!(poll_once(&mut back).await.is_none());
            back.reset(now());
            back.await;
        });
    });
}

/// M10.
#[test]
fn no_time_and_past_time_are_ready_at_the_first_poll() {
    watched(20, || {
        on_runtime(|| async {
            let past = now().checked_sub(HOUR).unwrap_or_else(now);
            for mut sleep in [sleep(Duration::ZERO), sleep_until(past), sleep_until(now())] {
                assert!(sleep.is_elapsed());
                assert_eq!(poll_once(&mut sleep).await, Some(()));
                assert_eq!(poll_once(&mut sleep).await, Some(()), "and stays so until it is reset");
            }
            assert!(poll_once(timeout_at(past, pending::<()>())).await.unwrap().is_err());
            assert_eq!(poll_once(interval_at(past, HOUR).tick()).await, Some(past));
        });
    });
}

/// M10, Q03.
#[test]
fn sleeping_for_no_time_spends_budget_so_others_run() {
    watched(10, || {
        let runtime = Builder::new().budget(8).build().unwrap();
        let (turns, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (count, stopped) = (turns.clone(), stop.clone());
        runtime.spawn(async move {
            while !stopped.get() {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        runtime.block_on(async {
            for _ in 0..800 {
                sleep(Duration::ZERO).await;
            }
            stop.set(true);
        });
        assert!((99..=101).contains(&turns.get()), "{} turns", turns.get());
        assert!((99..=101).contains(&runtime.metrics().budget_yields), "{:?}", runtime.metrics());
        assert_eq!(runtime.metrics().timers_fired, 0);
    });
}

/// R03.
#[test]
fn outside_of_a_runtime_a_sleep_that_must_wait_panics_and_says_what_to_do() {
    guard(20).panics().run(|| {
        futures_lite::future::block_on(sleep(Duration::ZERO));
        let panic =
            thread::spawn(|| futures_lite::future::block_on(sleep(HOUR))).join().unwrap_err();
        assert!(panic_message(panic).contains("waken::block_on"));
    });
}

/// M10: what was far away when the clock was read last is not taken for far away later on, and what is near is none of that.
#[test]
fn a_deadline_that_passes_before_the_first_poll_is_ready_at_it_however_far_it_was() {
    guard(20).run(|| {
        on_runtime(|| async {
            let start = now();
            let near = [20, 100, 500, 2000].map(Duration::from_micros);
            for far in near.into_iter().cycle().take(40).chain([ms(101), ms(150), ms(199)]) {
                // Has the clock read, and another sleep found far away.
                assert!(poll_once(pin!(sleep(HOUR))).await.is_none());
                assert!(poll_once(pin!(sleep(far))).await.is_none());
                let mut due = pin!(sleep(far));
                thread::sleep(far);
                assert!(poll_once(&mut due).await.is_some(), "{far:?} at {:?}", start.elapsed());
                let blocks = poll_fn(|_| -> Poll<()> {
                    thread::sleep(far);
                    Poll::Pending
                });
                assert!(poll_once(pin!(timeout(far, blocks))).await.is_some_and(|it| it.is_err()));
            }
        });
    });
}

// ---- timeout ----------------------------------------------------------------------------------

/// M10, P06: who is ready in time is not timed out.
#[test]
fn a_timeout_polls_its_future_first_and_then_looks_at_the_clock() {
    watched(20, || {
        on_runtime(|| async {
            let past = now().checked_sub(HOUR).unwrap_or_else(now);
            assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
            assert_eq!(timeout_at(past, async { 2 }).await, Ok(2));
            // Both become ready in one turn: the future wins.
            let late = timeout(ms(5), sleep(ms(1)));
            let mut late = pin!(late);
            assert!(poll_once(&mut late).await.is_none());
            thread::sleep(ms(10));
            assert_eq!(late.await, Ok(()));

            let error = timeout(ms(1), pending::<()>()).await.unwrap_err();
            assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
            assert_eq!(timeout(HOUR, async { 3 }).into_inner().await, 3);
        });
    });
}

/// Q03.
#[test]
fn a_timeout_ends_a_future_that_is_always_ready_and_one_that_used_up_the_budget() {
    watched(20, || {
        on_runtime(|| async {
            let busy = async {
                loop {
                    consume_budget().await;
                }
            };
            let start = now();
            assert!(timeout(ms(30), busy).await.is_err());
            assert!((ms(30)..ms(500)).contains(&start.elapsed()), "{:?}", start.elapsed());
        });
    });
}

// ---- reset ------------------------------------------------------------------------------------

/// How often `future` was polled until it was ready, and how long that took.
async fn polls<F: Future>(future: F) -> (u32, Duration) {
    let (mut future, mut count, start) = (pin!(future), 0, now());
    poll_fn(|cx| {
        count += 1;
        future.as_mut().poll(cx)
    })
    .await;
    (count, start.elapsed())
}

type Shared = Rc<RefCell<Sleep>>;

/// Awaits a sleep that others can reset meanwhile.
async fn shared(sleep: Shared) {
    poll_fn(|cx| Pin::new(&mut *sleep.borrow_mut()).poll(cx)).await;
}

/// M07.
#[test]
fn a_reset_by_another_task_moves_the_deadline_and_keeps_who_waits() {
    watched(20, || {
        on_runtime(|| async {
            // Earlier, later, into the past, and to and fro: polled once to wait, and once when it is over.
            for (first, moves, least) in [
                (HOUR, vec![ms(5)], ms(5)),
                (ms(5), vec![ms(30)], ms(30)),
                (HOUR, vec![Duration::ZERO], ms(0)),
                (ms(20), vec![HOUR, ms(1), HOUR, ms(40), ms(25)], ms(25)),
            ] {
                let (start, sleep) = (now(), Rc::new(RefCell::new(sleep(first))));
                let waiting = spawn(polls(shared(sleep.clone())));
                yield_now().await;
                for to in moves {
                    sleep.borrow_mut().reset(start + to);
                }
                let (count, took) = waiting.await.unwrap();
                assert_eq!(count, 2, "from {first:?}");
                assert!(start.elapsed() >= least && took < Duration::from_secs(1), "{took:?}");
            }
        });
    });
}

/// M07.
#[test]
fn a_reset_by_a_task_that_another_thread_woke_shortens_the_wait_in_the_kernel() {
    watched(20, || {
        on_runtime(|| async {
            let sleep = Rc::new(RefCell::new(sleep(HOUR)));
            let waiting = spawn(polls(shared(sleep.clone())));
            by_thread(ms(10)).await;
            sleep.borrow_mut().reset(now() + ms(5));
            assert_eq!(waiting.await.unwrap().0, 2);
        });
    });
}

/// M07.
#[test]
fn a_sleep_can_be_reset_and_awaited_again_after_it_was_ready() {
    watched(20, || {
        on_runtime(|| async {
            let mut sleep = sleep(ms(1));
            for _ in 0..3 {
                (&mut sleep).await;
                let start = now();
                sleep.reset(start + ms(5));
                assert!(!sleep.is_elapsed());
                (&mut sleep).await;
                assert!(start.elapsed() >= ms(5));
            }
            // Fired, not polled since, and reset: the fired wake must not count for the new deadline.
            sleep.reset(now() + ms(1));
            assert!(poll_once(&mut sleep).await.is_none());
            waken::time::sleep(ms(10)).await;
            let start = now();
            sleep.reset(start + ms(20));
            sleep.await;
            assert!(start.elapsed() >= ms(20));
        });
    });
}
