//! `Runtime::turn`: a runtime that is driven a turn at a time, by a loop that is not its own.
#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::{millis, std_pair};
use std::cell::RefCell;
use std::future::pending;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{cpu, eventually, sleeps, watched};
use waken::runtime::Next;
use waken::task::yield_now;
use waken::time::{sleep, sleep_until};
use waken::{AsyncTcpStream, Builder, Runtime, block_on};

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);
const LONG: Duration = Duration::from_secs(100);

/// A runtime as it is, and one whose descriptor wakes itself: a turn is the same for both.
fn both() -> [Runtime; 2] {
    [false, true].map(|yes| Builder::new().self_waking_fd(yes).build().unwrap())
}

/// Turns without a limit until `done`. Returns how many turns that took.
fn turns_until(runtime: &Runtime, mut done: impl FnMut() -> bool) -> u32 {
    let mut turns = 0;
    while !done() {
        runtime.turn(None).unwrap();
        turns += 1;
    }
    turns
}

// ---- what a turn does -------------------------------------------------------------------------

/// Its second wake stands in the queue when it has ended.
#[test]
fn where_every_task_has_ended_nothing_is_to_be_done() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        drop(runtime.spawn(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::Ready(())
        })));
        assert_eq!(runtime.turn(Some(Duration::ZERO)).unwrap(), Next::Idle);
    });
}

#[test]
fn a_turn_polls_what_is_ready_once_each_and_in_order() {
    watched(10, || {
        for runtime in both() {
            let log = Rc::new(RefCell::new(String::new()));
            for (name, yields) in [('a', 2), ('b', 0), ('c', 1)] {
                let log = log.clone();
                runtime.spawn(async move {
                    for _ in 0..yields {
                        log.borrow_mut().push(name);
                        yield_now().await;
                    }
                    log.borrow_mut().push(name);
                });
            }
            assert_eq!(*log.borrow(), "", "nothing runs outside of a turn");
            for (expected, next) in [("abc", Next::Now), ("ac", Next::Now), ("a", Next::Idle)] {
                log.borrow_mut().clear();
                assert_eq!(runtime.turn(NO_WAIT).unwrap(), next, "after {expected}");
                assert_eq!(*log.borrow(), expected);
            }
            assert_eq!(runtime.metrics().turns, 3);
        }
    });
}

#[test]
fn next_turn_says_for_what_the_next_one_would_wait() {
    watched(10, || {
        for runtime in both() {
            assert_eq!(runtime.next_turn(), Next::Idle);
            let waits = runtime.spawn(pending::<()>());
            assert_eq!(runtime.next_turn(), Next::Now, "a task that has not begun");
            assert_eq!(runtime.turn(NO_WAIT).unwrap(), Next::Event);
            assert_eq!(runtime.next_turn(), Next::Event);

            let deadline = Instant::now() + millis(20);
            let sleeps = runtime.spawn(sleep_until(deadline));
            runtime.spawn(sleep(millis(5_000)));
            assert_eq!(runtime.turn(NO_WAIT).unwrap(), Next::At(deadline), "the earliest");
            thread::sleep(millis(25));
            assert_eq!(runtime.next_turn(), Next::Now, "it is due");
            assert!(matches!(runtime.turn(NO_WAIT).unwrap(), Next::At(_)), "the other one");
            assert!(sleeps.is_finished());

            runtime.remote().wake();
            assert_eq!(runtime.next_turn(), Next::Now, "a letter");
            runtime.turn(NO_WAIT).unwrap();
            waits.abort();
            assert_eq!(runtime.next_turn(), Next::Now, "a task to be dropped");
            assert!(matches!(runtime.turn(NO_WAIT).unwrap(), Next::At(_)));
        }
    });
}

/// E17: events that had no room are for the next turn, which need not wait.
#[test]
fn events_that_had_no_room_are_for_the_next_turn_at_once() {
    watched(10, || {
        let runtime = Builder::new().events_per_poll(1).build().unwrap();
        let read = Rc::new(RefCell::new(0));
        let mut peers = Vec::new();
        for _ in 0..5 {
            let (ours, peer) = std_pair();
            let count = read.clone();
            drop(runtime.spawn(async move {
                let ours = AsyncTcpStream::try_from(ours).unwrap();
                ours.read_exact(&mut [0]).await.unwrap();
                *count.borrow_mut() += 1;
            }));
            peers.push(peer);
        }
        // The events that each new socket has.
        while runtime.turn(NO_WAIT).unwrap() == Next::Now {}
        peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap());
        for _ in 0..100 {
            let next = runtime.turn(NO_WAIT).unwrap();
            if *read.borrow() == 5 {
                return;
            }
            assert_eq!(next, Next::Now, "{read:?} of 5");
        }
        panic!("{read:?} of 5 in a hundred turns");
    });
}

/// Also when a letter keeps it from sleeping: the kernel is asked in every turn.
#[test]
fn what_is_woken_by_the_kernel_the_clock_and_a_letter_is_polled_in_the_same_turn() {
    watched(10, || {
        for (max_wait, timer) in
            [(NO_WAIT, true), (NO_WAIT, false), (Some(LONG), false), (None, false)]
        {
            for runtime in both() {
                let (ours, mut peer) = std_pair();
                let reader = runtime.spawn(async move {
                    let ours = AsyncTcpStream::try_from(ours).unwrap();
                    ours.read_exact(&mut [0]).await
                });
                runtime.turn(NO_WAIT).unwrap();
                runtime.turn(NO_WAIT).unwrap();
                if timer {
                    runtime.spawn(sleep(millis(1)));
                    runtime.turn(NO_WAIT).unwrap();
                }
                peer.write_all(b"x").unwrap();
                thread::sleep(millis(5));
                let spawned = runtime.remote().spawn(|| async {}).unwrap();
                assert_eq!(runtime.turn(max_wait).unwrap(), Next::Idle, "{max_wait:?}, {timer}");
                assert!(reader.is_finished());
                block_on(spawned).unwrap();
            }
        }
    });
}

// ---- how long it waits ------------------------------------------------------------------------

#[test]
fn a_turn_without_a_limit_sleeps_until_a_timer_is_due() {
    watched(10, || {
        for runtime in both() {
            let start = Instant::now();
            let task = runtime.spawn(sleep(millis(30)));
            let turns = turns_until(&runtime, || task.is_finished());
            assert!(start.elapsed() >= millis(30));
            assert!(turns <= 4, "{turns} turns");
        }
    });
}

#[test]
fn a_turn_without_a_limit_sleeps_until_a_descriptor_is_ready() {
    watched(10, || {
        for runtime in both() {
            let (ours, mut peer) = std_pair();
            let task = runtime.spawn(async move {
                let ours = AsyncTcpStream::try_from(ours).unwrap();
                ours.read_exact(&mut [0; 3]).await
            });
            let writer = thread::spawn(move || {
                for byte in *b"abc" {
                    thread::sleep(millis(10));
                    peer.write_all(&[byte]).unwrap();
                }
                peer
            });
            let turns = turns_until(&runtime, || task.is_finished());
            assert!(turns <= 8, "{turns} turns for three bytes");
            writer.join().unwrap();
        }
    });
}

#[test]
fn a_turn_without_a_limit_sleeps_until_another_thread_wants_something() {
    watched(10, || {
        for runtime in both() {
            let (spawner, waker) = (runtime.remote(), runtime.remote());
            let done = Arc::new(AtomicBool::new(false));
            let theirs = done.clone();
            let thread = thread::spawn(move || {
                thread::sleep(millis(20));
                let task = spawner.spawn(move || async move { theirs.store(true, SeqCst) });
                task.unwrap().join().unwrap();
            });
            let turns = turns_until(&runtime, || done.load(SeqCst));
            assert!(turns <= 4, "{turns} turns");
            eventually("the thread has joined the task", || {
                runtime.turn(NO_WAIT).unwrap();
                thread.is_finished()
            });

            let woken = thread::spawn(move || {
                thread::sleep(millis(20));
                waker.wake();
            });
            runtime.turn(None).unwrap();
            woken.join().unwrap();
        }
    });
}

#[test]
fn max_wait_bounds_the_wait_and_an_event_ends_it_earlier() {
    watched(20, || {
        for runtime in both() {
            let far = Instant::now() + Duration::from_secs(3600);
            runtime.spawn(sleep_until(far));
            assert_eq!(runtime.turn(None).unwrap(), Next::At(far), "there was something to do");
            // What the spawn has announced is looked at once, and is gone.
            runtime.turn(NO_WAIT).unwrap();
            let start = Instant::now();
            assert_eq!(runtime.turn(Some(millis(30))).unwrap(), Next::At(far));
            let took = start.elapsed();
            assert!(took >= millis(30) && took < Duration::from_secs(5), "{took:?}");

            let near = runtime.spawn(sleep(millis(10)));
            runtime.turn(NO_WAIT).unwrap();
            runtime.turn(NO_WAIT).unwrap();
            let start = Instant::now();
            while !near.is_finished() {
                runtime.turn(Some(Duration::from_secs(9))).unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    });
}

#[test]
fn a_turn_that_may_not_wait_never_sleeps() {
    watched(20, || {
        for runtime in both() {
            let (ours, _peer) = std_pair();
            runtime.spawn(async move {
                let ours = AsyncTcpStream::try_from(ours).unwrap();
                ours.read_exact(&mut [0]).await
            });
            runtime.spawn(sleep(Duration::from_secs(3600)));
            for _ in 0..3 {
                runtime.turn(NO_WAIT).unwrap();
            }
            let (slept, before) = (sleeps(), cpu());
            for _ in 0..10_000 {
                runtime.turn(NO_WAIT).unwrap();
            }
            let (slept, used) = (sleeps() - slept, cpu() - before);
            assert!(slept < 10, "{slept} sleeps in 10,000 turns");
            assert!(used < Duration::from_secs(5), "{used:?} of CPU for 10,000 turns");
            assert_eq!(runtime.metrics().tasks_alive, 2);
        }
    });
}

/// E17: a wait that had no room for more events leaves it open whether there are any. The next turn looks, and does not sleep.
#[test]
fn the_documented_loop_ends_also_when_the_last_wait_was_full() {
    watched(10, || {
        let runtime = Builder::new().events_per_poll(1).build().unwrap();
        let (ours, mut peer) = std_pair();
        let task = runtime.spawn(async move {
            let ours = AsyncTcpStream::try_from(ours).unwrap();
            ours.read_exact(&mut [0]).await.unwrap();
        });
        runtime.turn(NO_WAIT).unwrap();
        runtime.turn(NO_WAIT).unwrap();
        peer.write_all(b"x").unwrap();
        // It has one event, which ends the only task.
        while runtime.turn(None).unwrap() != Next::Idle {}
        assert!(task.is_finished());
    });
}

/// D07: nothing here waits for the end of a runtime, so there is no limit for that. Whatever else takes a limit takes any.
#[test]
fn no_duration_is_too_long() {
    watched(20, || {
        for longest in [
            Duration::MAX,
            Duration::MAX - Duration::from_nanos(1),
            Duration::from_secs(u64::MAX >> 1),
        ] {
            let builder =
                Builder::new().spin(longest).on_long_poll(longest, |_, _| panic!("so long"));
            let runtime = builder.self_waking_fd(true).build().unwrap();
            runtime.spawn(sleep(longest));
            runtime.spawn(sleep(Duration::from_millis(2)));
            // Until a timer is due, and until another thread wants something.
            while runtime.metrics().timers_fired == 0 {
                runtime.turn(Some(longest)).unwrap();
            }
            let (remote, told) = (runtime.remote(), Arc::new(AtomicBool::new(false)));
            let telling = told.clone();
            let thread = thread::spawn(move || {
                thread::sleep(Duration::from_millis(2));
                drop(remote.spawn(move || async move { telling.store(true, SeqCst) }));
            });
            while !told.load(SeqCst) {
                runtime.turn(Some(longest)).unwrap();
            }
            thread.join().unwrap();
            let start = Instant::now();
            drop(runtime);
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        }
    });
}
