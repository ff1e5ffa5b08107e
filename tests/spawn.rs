//! Spawning: a task runs by itself, in its turn, and its handle gives what came of it.
mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use support::{cpu, guard, on_drop, panic_message, poll_once, watched};
use waken::task::{self, AbortHandle, yield_now};
use waken::time::timeout;
use waken::{JoinHandle, Runtime, spawn};

/// Counts how often it is dropped.
struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_spawned_task_runs_and_its_output_reaches_the_joiner() {
    watched(10, || {
        waken::block_on(async {
            assert_eq!(spawn(async { 7 }).await.unwrap(), 7);
        });
    });
}

#[test]
fn tasks_run_in_the_order_of_their_spawning_and_not_before_their_turn() {
    watched(10, || {
        waken::block_on(async {
            let order = Rc::new(RefCell::new(Vec::new()));
            for n in 0..3 {
                let order = order.clone();
                spawn(async move {
                    let later = order.clone();
                    spawn(async move { later.borrow_mut().push(10 + n) });
                    order.borrow_mut().push(n);
                });
            }
            assert!(order.borrow().is_empty(), "`spawn` polls nothing");
            yield_now().await;
            assert_eq!(*order.borrow(), [0, 1, 2], "what they spawned waits for the next turn");
            yield_now().await;
            assert_eq!(*order.borrow(), [0, 1, 2, 10, 11, 12]);
        });
    });
}

#[test]
fn tasks_spawn_tasks_a_thousand_deep() {
    fn nest(depth: u32) -> Pin<Box<dyn Future<Output = u32>>> {
        Box::pin(async move {
            match depth {
                0 => 0,
                _ => 1 + spawn(nest(depth - 1)).await.unwrap(),
            }
        })
    }
    watched(10, || assert_eq!(waken::block_on(nest(1000)), 1000));
}

#[test]
fn futures_and_outputs_need_no_send() {
    watched(10, || {
        waken::block_on(async {
            let shared = Rc::new(Cell::new(1));
            let theirs = shared.clone();
            let task = spawn(async move {
                theirs.set(2);
                yield_now().await;
                theirs
            });
            assert!(Rc::ptr_eq(&shared, &task.await.unwrap()));
            assert_eq!((shared.get(), Rc::strong_count(&shared)), (2, 1));
        });
    });
}

/// N03, P06, T02: a dropped handle detaches.
#[test]
fn a_task_whose_handle_is_dropped_runs_on() {
    watched(10, || {
        waken::block_on(async {
            for turns_before_the_drop in 0..4 {
                let (steps, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let (inside, output) = (steps.clone(), Counted(dropped.clone()));
                let handle = spawn(async move {
                    inside.set(1);
                    yield_now().await;
                    inside.set(2);
                    output
                });
                for _ in 0..turns_before_the_drop {
                    yield_now().await;
                }
                drop(handle);
                for _ in 0..4 {
                    yield_now().await;
                }
                assert_eq!((steps.get(), dropped.get()), (2, 1), "{turns_before_the_drop}");
            }
        });
    });
}

/// T02, T07.
#[test]
fn an_output_that_panics_in_its_destructor_harms_only_who_drops_it() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the bomb");
        }
    }
    guard(10).panics().run(|| {
        waken::block_on(async {
            drop(spawn(async { Bomb }));
            let kept = spawn(async { Bomb });
            yield_now().await;
            yield_now().await;
            assert!(kept.is_finished());
            let caught = catch_unwind(AssertUnwindSafe(|| drop(kept))).unwrap_err();
            assert_eq!(panic_message(caught), "the bomb");
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1, "everything else goes on");
        });
    });
}

/// R01: what a task has left is dropped while nothing is borrowed.
#[test]
fn an_output_may_use_the_runtime_when_its_handle_is_dropped() {
    watched(10, || {
        waken::block_on(async {
            let done = Rc::new(Cell::new(0));
            let count = done.clone();
            let task = spawn(async move {
                on_drop(move || {
                    spawn(async {}).abort();
                    task::try_id();
                    count.set(1);
                })
            });
            yield_now().await;
            drop(task);
            assert_eq!(done.get(), 1);
        });
    });
}

/// T05, T06: also after a panic nobody learns of the end before the future is dropped.
#[test]
fn a_task_that_has_panicked_is_not_finished_in_its_destructor() {
    guard(10).panics().run(|| {
        waken::block_on(async {
            let handle = Rc::new(RefCell::new(None::<AbortHandle>));
            let seen = Rc::new(Cell::new(None));
            let (own, inside) = (handle.clone(), seen.clone());
            let asks = on_drop(move || {
                inside.set(own.borrow().as_ref().map(AbortHandle::is_finished));
            });
            // Captured, and not a local of the poll, which the panic itself would drop.
            let task = spawn(poll_fn(move |_| -> Poll<()> {
                let _kept = &asks;
                panic!("in poll");
            }));
            *handle.borrow_mut() = Some(task.abort_handle());
            assert!(task.await.unwrap_err().is_panic());
            assert_eq!(seen.get(), Some(false));
        });
    });
}

/// N05, W14.
#[test]
fn a_join_can_be_given_up_and_taken_up_again() {
    watched(10, || {
        waken::block_on(async {
            let go = Rc::new(Cell::new(false));
            let gone = go.clone();
            let mut handle = spawn(async move {
                while !gone.get() {
                    yield_now().await;
                }
                "output"
            });
            for _ in 0..3 {
                assert!(timeout(Duration::from_millis(1), &mut handle).await.is_err());
            }
            go.set(true);
            assert_eq!((&mut handle).await.unwrap(), "output");
        });
    });
}

/// T10.
#[test]
fn a_join_that_was_ready_and_is_polled_again_panics_with_a_sentence() {
    guard(10).panics().run(|| {
        waken::block_on(async {
            let mut plain = spawn(async {});
            assert!((&mut plain).await.is_ok());
            let mut guarded = spawn(async {}).abort_on_drop();
            assert!((&mut guarded).await.is_ok());
            let again = [
                catch_unwind(AssertUnwindSafe(|| poll_once(&mut plain).is_ready())),
                catch_unwind(AssertUnwindSafe(|| poll_once(&mut guarded).is_ready())),
            ];
            for again in again {
                let message = panic_message(again.unwrap_err());
                assert!(message.contains("polled again after it was ready"), "{message}");
            }
        });
    });
}

#[test]
fn is_finished_turns_true_when_the_task_has_ended_and_can_be_asked_anywhere_at_home() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (quick, slow) = (runtime.spawn(async { 1 }), runtime.spawn(pending::<()>()));
        assert!(!quick.is_finished(), "it has not run yet");
        runtime.block_on(async {
            assert!(!quick.is_finished(), "it still has not");
            yield_now().await;
            assert!(quick.is_finished() && !slow.is_finished());
        });
        assert!(quick.is_finished() && !slow.is_finished(), "outside of `block_on` as well");
        assert_eq!(runtime.block_on(quick).unwrap(), 1);
        drop(runtime);
        assert!(slow.is_finished(), "it has ended with its runtime");
    });
}

/// T05.
#[test]
fn the_future_is_dropped_before_anybody_learns_that_it_has_ended() {
    guard(10).panics().run(|| {
        waken::block_on(async {
            for (name, panics) in [("ready", false), ("panicking", true)] {
                let dropped = Rc::new(Cell::new(0));
                let held = Counted(dropped.clone());
                let handle = spawn(async move {
                    let mut pinned_by_the_future = Some(held);
                    poll_fn(|_| {
                        assert!(pinned_by_the_future.as_mut().is_some() && !panics, "as asked");
                        Poll::Ready(())
                    })
                    .await;
                });
                assert_eq!(handle.await.is_err(), panics);
                assert_eq!(dropped.get(), 1, "{name}");
            }
        });
    });
}

/// T06.
#[test]
fn every_third_of_a_thousand_tasks_may_panic_without_harm_to_the_others() {
    guard(20).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let spawn_one = |n: u32| {
                spawn(async move {
                    yield_now().await;
                    assert!(n % 3 != 0, "number {n}");
                    n
                })
            };
            let tasks: Vec<JoinHandle<u32>> = (0..1000).map(spawn_one).collect();
            for (n, task) in tasks.into_iter().enumerate() {
                match task.await {
                    Ok(output) => assert!(output as usize == n && n % 3 != 0),
                    Err(error) => {
                        assert!(error.is_panic() && n % 3 == 0);
                        assert_eq!(panic_message(error.into_panic()), format!("number {n}"));
                    }
                }
            }
        });
        assert_eq!(runtime.metrics().tasks_panicked, 334);
        assert_eq!(runtime.metrics().tasks_alive, 0);
    });
}

/// T11.
#[test]
fn a_join_keeps_the_last_waker_only_and_no_longer_than_it_waits() {
    struct Foreign;
    impl Wake for Foreign {
        fn wake(self: Arc<Self>) {}
    }
    watched(10, || {
        waken::block_on(async {
            let (first, second) = (Arc::new(Foreign), Arc::new(Foreign));
            let mut handle = spawn(pending::<()>());
            for waker in [&first, &second] {
                let waker = Waker::from(waker.clone());
                let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
            }
            assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
            drop(handle);
            assert_eq!(Arc::strong_count(&second), 1, "given back with the handle");
        });
    });
}

/// T11, W04: both runtimes have a task with the same index.
#[test]
fn a_join_that_is_polled_by_a_task_of_another_runtime_wakes_that_one() {
    watched(10, || {
        let home = Rc::new(Runtime::new().unwrap());
        let mut task = home.spawn(async {
            yield_now().await;
            7
        });
        waken::block_on(async {
            let turned = home.clone();
            let turns = spawn(async move {
                loop {
                    yield_now().await;
                    turned.turn(Some(Duration::ZERO)).unwrap();
                }
            });
            let joined = spawn(poll_fn(move |cx| {
                let _home = home.enter();
                Pin::new(&mut task).poll(cx)
            }));
            assert_eq!(joined.await.unwrap().unwrap(), 7);
            turns.abort();
        });
    });
}

/// T09, T12.
#[test]
fn tasks_that_wait_for_each_other_rest_and_are_dropped_with_the_runtime() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let dropped = Rc::new(Cell::new(0));
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (held, slot) = (Counted(dropped.clone()), own.clone());
        let narcissus = runtime.spawn(async move {
            let _held = held;
            let _own_waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let own = slot.borrow_mut().take().unwrap();
            let _cancelled = own.await;
        });
        *own.borrow_mut() = Some(narcissus);
        let (to_second, held) =
            (Rc::<RefCell<Option<JoinHandle<()>>>>::default(), Counted(dropped.clone()));
        let slot = to_second.clone();
        let first = runtime.spawn(async move {
            let _held = held;
            let second = slot.borrow_mut().take().unwrap();
            let _cancelled = second.await;
        });
        let held = Counted(dropped.clone());
        *to_second.borrow_mut() = Some(runtime.spawn(async move {
            let _held = held;
            let _cancelled = first.await;
        }));
        let before = cpu();
        runtime.block_on(waken::time::sleep(Duration::from_millis(100)));
        let used = cpu() - before;
        assert!(used < Duration::from_millis(50), "{used:?} of 100 ms to wait for nothing");
        assert_eq!((dropped.get(), runtime.metrics().tasks_alive), (0, 3));
        drop(runtime);
        assert_eq!(dropped.get(), 3);
    });
}

#[test]
fn tasks_keep_between_two_block_ons_and_before_the_first() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let steps = Rc::new(Cell::new(0));
        let inside = steps.clone();
        let task = runtime.spawn(async move {
            loop {
                inside.set(inside.get() + 1);
                yield_now().await;
            }
        });
        assert_eq!(steps.get(), 0);
        for round in 1..4 {
            // Polled twice, before and after the tasks.
            runtime.block_on(yield_now());
            assert_eq!(steps.get(), round, "one turn a round, and none in between");
        }
        assert!(!task.is_finished());
    });
}

#[test]
fn there_are_three_ways_to_spawn_and_one_gives_a_name() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.spawn(pending::<()>());
        runtime.block_on(async {
            spawn(pending::<()>());
            task::Builder::new().name("fixed").spawn(pending::<()>());
            task::Builder::new().name(format!("conn {}", 4)).spawn(pending::<()>());
            task::Builder::new().spawn(pending::<()>());
        });
        let tasks = runtime.tasks();
        let names: Vec<Option<&str>> = tasks.iter().map(|task| task.name.as_deref()).collect();
        assert_eq!(names, [None, None, Some("fixed"), Some("conn 4"), None]);
        for task in tasks {
            assert!(task.spawned_at.file().ends_with("spawn.rs"), "{task}");
            assert!(task.future.contains("Pending"), "{}", task.future);
        }
    });
}

#[test]
fn a_task_knows_its_id_and_the_root_has_none() {
    watched(10, || {
        assert_eq!(task::try_id(), None);
        waken::block_on(async {
            assert_eq!(task::try_id(), None);
            let outer = spawn(async {
                let inner = spawn(async { task::id() });
                let before = task::id();
                assert_eq!(inner.id(), inner.await.unwrap());
                assert_eq!(task::try_id(), Some(before));
                before
            });
            let (abort, id) = (outer.abort_handle(), outer.id());
            assert_eq!(outer.await.unwrap(), id);
            assert_eq!(abort.id(), id);
        });
    });
}

/// T17.
#[test]
fn an_id_is_never_used_again_nor_by_another_runtime() {
    watched(10, || {
        let mut seen = HashSet::new();
        let living = Runtime::new().unwrap();
        for _ in 0..3 {
            let runtime = Runtime::new().unwrap();
            for _ in 0..1000 {
                let ours = runtime.spawn(async {});
                assert!(seen.insert(ours.id()), "an id came twice");
                runtime.block_on(ours).unwrap();
                assert!(seen.insert(living.spawn(async {}).id()), "an id came twice");
            }
        }
    });
}
