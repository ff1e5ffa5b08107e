//! A runtime among other loops: in turns with `block_on`, inside another runtime's task, misused, dropped, and with
//! its descriptor closed.
#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::{millis, replace, std_pair};
use std::cell::Cell;
use std::fs::File;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use support::{Drops, fds, guard, keep, panic_message, watched};
use waken::runtime::Next;
use waken::task::{self, consume_budget, yield_now};
use waken::time::sleep;
use waken::{AsyncTcpStream, Builder, Runtime, block_on, spawn};

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

fn sentence<R>(misuse: impl FnOnce() -> R) -> String {
    panic_message(catch_unwind(AssertUnwindSafe(misuse)).map(drop).unwrap_err())
}

/// A runtime as it is, and one whose descriptor wakes itself: a turn is the same for both.
fn both() -> [Runtime; 2] {
    [false, true].map(|yes| Builder::new().self_waking_fd(yes).build().unwrap())
}

fn turns_until(runtime: &Runtime, mut done: impl FnMut() -> bool) {
    while !done() {
        runtime.turn(None).unwrap();
    }
}

// ---- among other loops ------------------------------------------------------------------------

#[test]
fn a_runtime_may_block_and_be_embedded_by_turns() {
    watched(10, || {
        for runtime in both() {
            let count = Rc::new(Cell::new(0));
            let inside = count.clone();
            runtime.spawn(async move {
                loop {
                    inside.set(inside.get() + 1);
                    sleep(millis(1)).await;
                }
            });
            let mut seen = 0;
            for _ in 0..5 {
                runtime.block_on(async {
                    while count.get() < seen + 3 {
                        sleep(millis(1)).await;
                    }
                });
                seen = count.get();
                turns_until(&runtime, || count.get() >= seen + 3);
                seen = count.get();
                // A letter for the one that is read by the other.
                let letter = runtime.remote().spawn(|| async { 1 }).unwrap();
                assert_eq!(runtime.block_on(letter).unwrap(), 1);
            }
            assert_eq!(runtime.block_on(async { 2 }), 2);
        }
    });
}

#[test]
fn a_turn_inside_a_task_of_another_runtime_gives_back_the_runtime_its_task_and_its_budget() {
    watched(10, || {
        for inner in both() {
            inner.spawn(async {
                loop {
                    consume_budget().await;
                }
            });
            let outer = Builder::new().budget(5).build().unwrap();
            outer.block_on(async {
                let task = spawn(async move {
                    let id = task::id();
                    let yields = || waken::runtime::metrics().budget_yields;
                    yield_now().await; // A whole budget.
                    for _ in 0..4 {
                        consume_budget().await;
                        inner.turn(NO_WAIT).unwrap();
                        assert_eq!(task::try_id(), Some(id));
                    }
                    assert_eq!(yields(), 0);
                    consume_budget().await;
                    inner.turn(NO_WAIT).unwrap();
                    assert_eq!(yields(), 0);
                    consume_budget().await;
                    assert_eq!(yields(), 1, "the budget was the task's own, and so was its end");
                    assert!(inner.metrics().budget_yields >= 5);
                    // Of the outer one.
                    assert_eq!(spawn(async { 3 }).await.unwrap(), 3);
                    sleep(millis(1)).await;
                });
                task.await.unwrap();
            });
            assert_eq!(outer.metrics().tasks_spawned, 2);
        }
    });
}

#[test]
fn a_turn_inside_of_its_own_runtime_panics_with_a_sentence_and_harms_nothing() {
    guard(10).panics().run(|| {
        for runtime in both() {
            let runtime = Rc::new(runtime);
            let inside = runtime.clone();
            let task = runtime.spawn(async move {
                let message = sentence(|| inside.turn(NO_WAIT));
                yield_now().await;
                message
            });
            turns_until(&runtime, || task.is_finished());
            let words = "inside of its own runtime";
            let message = runtime.block_on(task).unwrap();
            assert!(message.contains(words), "{message}");
            runtime.block_on(async {
                let message = sentence(|| runtime.turn(NO_WAIT));
                assert!(message.contains(words), "{message}");
            });
            let after = runtime.spawn(sleep(millis(1)));
            turns_until(&runtime, || after.is_finished());
        }
    });
}

#[test]
fn block_on_inside_a_task_that_a_turn_polls_panics_with_a_sentence_and_harms_nothing() {
    guard(10).panics().run(|| {
        for runtime in both() {
            let other = Runtime::new().unwrap();
            let task = runtime.spawn(async move {
                let free = sentence(|| block_on(async {}));
                (free, sentence(|| other.block_on(async {})))
            });
            turns_until(&runtime, || task.is_finished());
            let (free, of_another) = runtime.block_on(task).unwrap();
            for message in [free, of_another] {
                assert!(message.contains("`block_on` inside"), "{message}");
            }
            assert_eq!(block_on(async { 1 }), 1, "after the turn it may");
        }
    });
}

#[test]
fn a_panic_of_a_task_does_not_leave_the_turn() {
    guard(10).panics().run(|| {
        for runtime in both() {
            let panics = runtime.spawn(async { panic!("of a task") });
            let lives = runtime.spawn(async { 1 });
            assert_eq!(runtime.turn(NO_WAIT).unwrap(), Next::Idle);
            let error = runtime.block_on(panics).unwrap_err();
            assert_eq!(panic_message(error.into_panic()), "of a task");
            assert_eq!(runtime.block_on(lives).unwrap(), 1);
        }
    });
}

// ---- ends -------------------------------------------------------------------------------------

#[test]
fn a_runtime_that_is_dropped_between_two_turns_drops_its_tasks_and_its_descriptors() {
    watched(10, || {
        let before = fds();
        for runtime in both() {
            let (drops, remote) = (Drops::default(), runtime.remote());
            let (ours, peer) = std_pair();
            let held = drops.held();
            runtime.spawn(async move {
                let ours = AsyncTcpStream::try_from(ours).unwrap();
                keep((held, ours)).await;
            });
            let held = drops.held();
            runtime.spawn(async move {
                sleep(Duration::from_secs(3600)).await;
                drop(held);
            });
            runtime.turn(NO_WAIT).unwrap();
            runtime.spawn(keep(drops.held()));
            let letter = remote.spawn(|| async {}).unwrap();
            assert_eq!(drops.count(), 0);
            drop(runtime);
            assert_eq!(drops.count(), 3);
            assert!(block_on(letter).unwrap_err().is_cancelled());
            assert!(remote.spawn(|| async {}).is_err());
            drop(peer);
        }
        // The listener of `std_pair` stays.
        assert_eq!(fds().len(), before.len() + 1, "{before:?}\n{:?}", fds());
    });
}

#[test]
fn a_turn_whose_descriptor_was_closed_by_other_code_says_so_and_does_not_wait() {
    guard(20).panics().run(|| {
        for runtime in both() {
            let (ours, _peer) = std_pair();
            runtime.spawn(async move {
                let ours = AsyncTcpStream::try_from(ours).unwrap();
                ours.read_exact(&mut [0]).await
            });
            runtime.turn(NO_WAIT).unwrap();
            replace(&runtime, &File::open("/dev/null").unwrap());
            for max_wait in [NO_WAIT, Some(Duration::from_secs(100)), None] {
                runtime.turn(max_wait).unwrap_err();
            }
            let message = sentence(|| runtime.block_on(pending::<()>()));
            assert!(message.contains("closed by other code"), "{message}");
        }
        // Its tasks are still polled, and so end the loops that wait for them.
        let runtime = Runtime::new().unwrap();
        let task = runtime.spawn(poll_fn(|_| Poll::Ready(1)));
        replace(&runtime, &File::open("/dev/null").unwrap());
        runtime.turn(NO_WAIT).unwrap();
        assert!(task.is_finished());
    });
}
