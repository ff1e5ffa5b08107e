//! Intervals: the first tick at once, every tick when it was due, and a choice of what to do about missed ones.
mod support;

use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use std::thread;
use std::time::{Duration, Instant};
use support::{guard, panic_message, watched};
use waken::block_on;
use waken::time::{Interval, MissedTickBehavior, interval, interval_at, now, sleep};

const PERIOD: Duration = Duration::from_millis(40);

#[test]
fn the_first_tick_is_at_once_and_the_others_a_period_apart() {
    watched(10, || {
        block_on(async {
            let made = now();
            let mut ticks = interval(PERIOD);
            let first = ticks.tick().await;
            assert!(first >= made && made.elapsed() < PERIOD);
            for n in 1..4 {
                assert_eq!(
                    ticks.tick().await,
                    first + n * PERIOD,
                    "when it was due, not when it came"
                );
                assert!(Instant::now() >= first + n * PERIOD);
            }
            assert_eq!(ticks.period(), PERIOD);
            assert_eq!(ticks.missed_tick_behavior(), MissedTickBehavior::Burst);
        });
    });
}

/// An interval that has ticked once, and whose loop was then blocked for two and a half periods.
async fn late(behavior: MissedTickBehavior) -> (Interval, Instant) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(behavior);
    let first = ticks.tick().await;
    thread::sleep((first + PERIOD * 5 / 2).saturating_duration_since(now()));
    (ticks, first)
}

/// M11.
#[test]
fn burst_catches_up_with_all_that_was_missed() {
    watched(10, || {
        block_on(async {
            let (mut ticks, first) = late(MissedTickBehavior::Burst).await;
            assert_eq!(poll_once(ticks.tick()).await, Some(first + PERIOD));
            assert_eq!(poll_once(ticks.tick()).await, Some(first + 2 * PERIOD));
            assert_eq!(ticks.tick().await, first + 3 * PERIOD);
        });
    });
}

/// M11.
#[test]
fn delay_waits_a_whole_period_from_the_late_tick() {
    watched(10, || {
        block_on(async {
            let (mut ticks, first) = late(MissedTickBehavior::Delay).await;
            let before = now();
            assert_eq!(poll_once(ticks.tick()).await, Some(first + PERIOD));
            let after = now();
            assert_eq!(poll_once(ticks.tick()).await, None);
            let next = ticks.tick().await;
            assert!((before + PERIOD..=after + PERIOD).contains(&next));
            assert_eq!(ticks.tick().await, next + PERIOD, "and then on time again");
        });
    });
}

/// M11.
#[test]
fn skip_leaves_out_what_was_missed_and_keeps_the_beat() {
    watched(10, || {
        block_on(async {
            let (mut ticks, first) = late(MissedTickBehavior::Skip).await;
            assert_eq!(poll_once(ticks.tick()).await, Some(first + PERIOD));
            let next = ticks.tick().await;
            let beats = (next - first).as_nanos() / PERIOD.as_nanos();
            assert_eq!((next - first).as_nanos() % PERIOD.as_nanos(), 0, "on the beat");
            assert!(beats >= 3, "beat {beats} was over already");
        });
    });
}

/// M11: a second's block of an interval of a millisecond.
#[test]
fn a_long_block_is_caught_up_within_the_budget() {
    watched(10, || {
        let runtime = waken::Builder::new().budget(16).build().unwrap();
        runtime.block_on(async {
            let mut ticks = interval(Duration::from_millis(1));
            ticks.tick().await;
            thread::sleep(Duration::from_secs(1));
            for _ in 0..1000 {
                ticks.tick().await;
            }
        });
        // 1,000 ticks were due at once: the others had their turn in between.
        assert!(runtime.metrics().budget_yields >= 60, "{:?}", runtime.metrics());
    });
}

/// M11.
#[test]
fn delay_and_skip_make_no_burst_after_a_long_block() {
    watched(10, || {
        for behavior in [MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
            block_on(async {
                let mut ticks = interval(Duration::from_millis(100));
                ticks.set_missed_tick_behavior(behavior);
                ticks.tick().await;
                thread::sleep(Duration::from_millis(1050));
                ticks.tick().await;
                assert_eq!(poll_once(ticks.tick()).await, None, "{behavior:?}");
            });
        }
    });
}

/// N05.
#[test]
fn a_reset_starts_a_new_period_and_a_dropped_tick_is_not_lost() {
    watched(10, || {
        block_on(async {
            let mut ticks = interval(PERIOD);
            let first = ticks.tick().await;
            sleep(PERIOD / 2).await;
            assert_eq!(poll_once(ticks.tick()).await, None, "given up");
            assert_eq!(ticks.tick().await, first + PERIOD);

            let reset = now();
            ticks.reset();
            assert!(ticks.tick().await >= reset + PERIOD);

            let start = now() + PERIOD;
            let mut ticks = interval_at(start, PERIOD);
            assert_eq!(poll_once(ticks.tick()).await, None);
            assert_eq!(ticks.tick().await, start);
        });
    });
}

#[test]
fn it_is_a_stream_without_an_end() {
    watched(10, || {
        block_on(async {
            let ticks = interval(Duration::from_millis(1));
            let ticks: Vec<Instant> = ticks.take(4).collect().await;
            assert!(ticks.windows(2).all(|two| two[1] - two[0] == Duration::from_millis(1)));
        });
    });
}

#[test]
fn a_period_of_zero_panics_and_says_what_to_use() {
    guard(10).panics().run(|| {
        let panic = std::panic::catch_unwind(|| interval(Duration::ZERO)).unwrap_err();
        assert!(panic_message(panic).contains("yield_now"));
        let panic = std::panic::catch_unwind(|| interval_at(now(), Duration::ZERO)).unwrap_err();
        assert!(panic_message(panic).contains("yield_now"));
    });
}
