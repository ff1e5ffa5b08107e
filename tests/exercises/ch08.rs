//! Chapter 8.

use crate::support::watched;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::runtime::metrics;
use waken::time::{Sleep, sleep, sleep_until, timeout};
use waken::{JoinSet, block_on};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A sleep that has its timer already.
async fn waiting(until: Instant) -> Sleep {
    let mut sleep = sleep_until(until);
    assert!(timeout(Duration::ZERO, &mut sleep).await.is_err());
    sleep
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(1), future).await.expect("the timer fires, once its time has come")
}

#[test]
fn ex08_who_is_due_is_woken_once_and_leaves_no_timer() {
    watched(5, || {
        block_on(async {
            let (begin, seen) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
            let mut sleeps = JoinSet::new();
            for n in [15, 5, 10] {
                let seen = seen.clone();
                sleeps.spawn(async move {
                    sleep_until(begin + ms(n)).await;
                    assert!(begin.elapsed() >= ms(n), "never early");
                    seen.borrow_mut().push(n);
                });
            }
            soon(async { while sleeps.join_next().await.is_some_and(|it| it.is_ok()) {} }).await;
            assert_eq!(*seen.borrow(), [5, 10, 15]);
            assert_eq!((metrics().timers_fired, metrics().timers_alive), (3, 0));
            // The first is where the timer of `soon` was, the second where one that fired was.
            let again = Instant::now() + ms(5);
            let others = [waiting(again).await, waiting(again).await];
            for other in others {
                soon(other).await;
            }
        });
    });
}

#[test]
fn ex08_a_timer_that_was_moved_is_entered_anew_and_wakes_nobody_before() {
    watched(5, || {
        block_on(async {
            let begin = Instant::now();
            let mut moved = waiting(begin + ms(20)).await;
            moved.reset(begin + ms(250));
            let asked = metrics().epoll_waits;
            sleep(ms(40)).await; // The time of its first entry has come.
            assert_eq!((metrics().timers_fired, metrics().timers_alive), (1, 1));
            soon(moved).await;
            assert!(begin.elapsed() >= ms(250), "never early");
            assert_eq!((metrics().timers_fired, metrics().timers_alive), (2, 0));
            assert!(metrics().epoll_waits - asked < 20, "nobody is asked all the time");
        });
    });
}

#[test]
fn ex08_of_equal_deadlines_the_one_that_was_set_first_comes_first_and_moving_is_setting() {
    watched(5, || {
        block_on(async {
            let (begin, seen) = (Instant::now(), Rc::new(RefCell::new(String::new())));
            let mut moved = waiting(begin + ms(20)).await;
            let stays = waiting(begin + ms(200)).await;
            moved.reset(begin + ms(200));
            let mut sleeps = JoinSet::new();
            for (sleep, name) in [(moved, "moved "), (stays, "stays ")] {
                let seen = seen.clone();
                sleeps.spawn(async move {
                    sleep.await;
                    seen.borrow_mut().push_str(name);
                });
            }
            soon(async { while sleeps.join_next().await.is_some() {} }).await;
            assert_eq!(*seen.borrow(), "stays moved ");
        });
    });
}
