//! Aborting: whatever the task is doing, its future is dropped once, at home, never inside `abort`, and
//! before the next turn ends.
mod support;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use support::{Drops, cancelled, guard, on_drop, panic_message, watched};
use waken::task::{AbortHandle, yield_now};
use waken::time::sleep;
use waken::{Runtime, block_on, spawn};

/// A place for a handle that the task itself is to find.
type Place = Rc<RefCell<Option<AbortHandle>>>;

fn abort_at(place: &Place) {
    place.borrow().as_ref().unwrap().abort();
}

/// T04.
#[test]
fn a_task_aborted_before_its_first_poll_never_runs() {
    watched(10, || {
        waken::block_on(async {
            let (drops, ran) = (Drops::default(), Rc::new(Cell::new(false)));
            let (held, inside) = (drops.held(), ran.clone());
            let task = spawn(async move {
                let _held = held;
                inside.set(true);
            });
            task.abort();
            assert_eq!(drops.count(), 0, "not inside `abort`");
            yield_now().await;
            assert_eq!(drops.count(), 1, "but before the next turn ends");
            assert!(task.is_finished());
            cancelled(task).await;
            assert_eq!((drops.count(), ran.get()), (1, false));
        });
    });
}

/// T04.
#[test]
fn a_waiting_task_is_dropped_once_however_often_and_whoever_aborts_it() {
    watched(10, || {
        waken::block_on(async {
            for aborters in 1..4 {
                let drops = Drops::default();
                let held = drops.held();
                let task = spawn(async move {
                    let _held = held;
                    sleep(Duration::MAX).await;
                });
                yield_now().await;
                for _ in 0..aborters {
                    task.abort();
                    let other = task.abort_handle();
                    spawn(async move { other.abort() });
                }
                assert_eq!(drops.count(), 0);
                yield_now().await;
                assert_eq!(drops.count(), 1);
                task.abort();
                cancelled(task).await;
                assert_eq!(drops.count(), 1);
            }
        });
    });
}

/// T04.
#[test]
fn a_queued_task_is_dropped_in_its_turn_and_not_polled_again() {
    watched(10, || {
        waken::block_on(async {
            let (drops, polls) = (Drops::default(), Rc::new(Cell::new(0)));
            let (held, inside) = (drops.held(), polls.clone());
            let task = spawn(async move {
                let _held = held;
                loop {
                    inside.set(inside.get() + 1);
                    yield_now().await;
                }
            });
            yield_now().await;
            task.abort();
            yield_now().await;
            assert_eq!((polls.get(), drops.count()), (1, 1));
            cancelled(task).await;
        });
    });
}

/// T04.
#[test]
fn a_task_that_aborts_itself_runs_up_to_its_next_wait() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        // It waits for something, or for nothing but its own wake.
        for wakes_itself in [false, true] {
            let (drops, place, steps) = (Drops::default(), Place::default(), Rc::new(Cell::new(0)));
            let (held, own, inside) = (drops.held(), place.clone(), steps.clone());
            let task = runtime.spawn(async move {
                let held = held;
                abort_at(&own);
                assert_eq!(held.0.get(), 0, "never while it is polled");
                inside.set(1);
                if wakes_itself {
                    yield_now().await;
                } else {
                    pending::<()>().await;
                }
                inside.set(2);
            });
            *place.borrow_mut() = Some(task.abort_handle());
            runtime.block_on(cancelled(task));
            assert_eq!((steps.get(), drops.count()), (1, 1), "{wakes_itself}");
        }
    });
}

/// T04, T06.
#[test]
fn a_task_that_ends_in_the_poll_that_aborts_it_has_ended_as_it_did() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let place = Place::default();
        let own = place.clone();
        let task = runtime.spawn(async move {
            abort_at(&own);
            "finished"
        });
        *place.borrow_mut() = Some(task.abort_handle());
        assert_eq!(runtime.block_on(task).unwrap(), "finished");

        let own = place.clone();
        let task = runtime.spawn(async move {
            abort_at(&own);
            panic!("a panic is an end, too");
        });
        *place.borrow_mut() = Some(task.abort_handle());
        let error = runtime.block_on(async { task.await.unwrap_err() });
        assert_eq!(panic_message(error.into_panic()), "a panic is an end, too");
    });
}

/// T04, R01.
#[test]
fn a_destructor_may_abort_its_own_task_and_another() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        for aborted in [false, true] {
            let (own, other, drops) = (Place::default(), Place::default(), Drops::default());
            let held = drops.held();
            let victim = runtime.spawn(async move {
                let _held = held;
                pending::<()>().await;
            });
            *other.borrow_mut() = Some(victim.abort_handle());
            let (own_inside, other_inside, seen) = (own.clone(), other.clone(), drops.clone());
            let bomb = on_drop(move || {
                abort_at(&own_inside);
                abort_at(&other_inside);
                assert_eq!(seen.count(), 0, "the other is not dropped inside");
            });
            let task = runtime.spawn(async move {
                let _bomb = bomb;
                if aborted {
                    pending::<()>().await;
                }
                "finished"
            });
            *own.borrow_mut() = Some(task.abort_handle());
            runtime.block_on(async {
                yield_now().await;
                if aborted {
                    task.abort();
                }
                match task.await {
                    Ok(output) => assert!(output == "finished" && !aborted),
                    Err(error) => assert!(error.is_cancelled() && aborted),
                }
                cancelled(victim).await;
            });
            assert_eq!(drops.count(), 1);
        }
    });
}

/// T04.
/// P06: an abort may come too late.
/// So that the queue has an entry of it when it is gone.
#[test]
fn a_destructor_may_wake_the_task_that_is_aborted_and_nobody_is_polled_for_it() {
    struct Wakes(Option<Waker>);
    impl Drop for Wakes {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(|waker| waker.wake());
        }
    }
    watched(10, || {
        block_on(async {
            let mut wakes = Wakes(None);
            let task = spawn(poll_fn(move |cx| {
                wakes.0.replace(cx.waker().clone());
                Poll::<()>::Pending
            }));
            yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            let polls = Rc::new(Cell::new(0));
            let counts = polls.clone();
            drop(spawn(poll_fn(move |_| {
                counts.set(counts.get() + 1);
                Poll::<()>::Pending
            })));
            yield_now().await;
            yield_now().await;
            assert_eq!(polls.get(), 1);
        });
    });
}

#[test]
fn aborting_a_task_that_has_ended_changes_nothing() {
    watched(10, || {
        waken::block_on(async {
            let task = spawn(async { "output" });
            yield_now().await;
            assert!(task.is_finished());
            task.abort();
            task.abort_handle().abort();
            yield_now().await;
            assert_eq!(task.await.unwrap(), "output");
        });
    });
}

/// T04.
#[test]
fn a_task_is_aborted_although_its_handle_is_dropped_right_after() {
    watched(10, || {
        waken::block_on(async {
            let drops = Drops::default();
            let held = drops.held();
            let task = spawn(async move {
                let _held = held;
                pending::<()>().await;
            });
            yield_now().await;
            task.abort();
            drop(task);
            assert_eq!(drops.count(), 0);
            yield_now().await;
            assert_eq!(drops.count(), 1);
        });
    });
}

/// T04.
#[test]
fn a_task_that_another_aborts_is_gone_one_turn_later() {
    watched(10, || {
        waken::block_on(async {
            let drops = Drops::default();
            let held = drops.held();
            let victim = spawn(async move {
                let _held = held;
                pending::<()>().await;
            });
            let (stop, seen) = (victim.abort_handle(), drops.clone());
            let aborter = spawn(async move {
                yield_now().await;
                stop.abort();
                let inside = seen.count();
                yield_now().await;
                (inside, seen.count(), stop.is_finished())
            });
            assert_eq!(aborter.await.unwrap(), (0, 1, true));
            cancelled(victim).await;
        });
    });
}

/// T05.
#[test]
fn is_finished_only_when_the_destructor_is_through() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (place, seen) = (Place::default(), Rc::new(Cell::new(None)));
        let (own, inside) = (place.clone(), seen.clone());
        let asks = on_drop(move || {
            inside.set(own.borrow().as_ref().map(AbortHandle::is_finished));
        });
        let task = runtime.spawn(async move {
            let _asks = asks;
            pending::<()>().await;
        });
        *place.borrow_mut() = Some(task.abort_handle());
        runtime.block_on(async {
            yield_now().await;
            task.abort();
            assert!(!task.is_finished(), "not yet");
            cancelled(task).await;
        });
        assert_eq!(seen.get(), Some(false));
    });
}

/// T07.
#[test]
fn a_destructor_that_panics_on_abort_ends_the_task_and_nothing_else() {
    guard(10).panics().run(|| {
        waken::block_on(async {
            let drops = Drops::default();
            let held = drops.held();
            let task = spawn(async move {
                let _held = held;
                let _bomb = on_drop(|| panic!("in a destructor"));
                pending::<()>().await;
            });
            yield_now().await;
            task.abort();
            cancelled(task).await;
            assert_eq!(drops.count(), 1, "what stood beside it is dropped all the same");
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
        });
    });
}

/// T04.
#[test]
fn a_runtime_that_ends_before_the_turn_drops_the_aborted_task_once() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let drops = Drops::default();
        let held = drops.held();
        let task = runtime.spawn(async move {
            let _held = held;
            poll_fn(|_| Poll::<()>::Pending).await;
        });
        runtime.block_on(yield_now());
        task.abort();
        assert_eq!(drops.count(), 0, "there is no turn outside of `block_on`");
        drop(runtime);
        assert_eq!(drops.count(), 1);
        task.abort();
        assert!(task.is_finished());
    });
}
