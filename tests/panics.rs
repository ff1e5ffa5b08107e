//! Panics: each goes to whom it concerns, and nobody else notices.
mod support;
use support::{guard, keep, panic_message};

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::future::{Ready, pending};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use waken::task::yield_now;
use waken::{JoinError, JoinSet, Runtime, block_on, spawn};

/// Panics when it is dropped, and counts that.
struct Bomb(Rc<Cell<u32>>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        panic!("a bomb");
    }
}

/// The same, for where a value has to be `Send`.
struct SendBomb;

impl Drop for SendBomb {
    fn drop(&mut self) {
        panic!("a bomb");
    }
}

/// Is ready with its number, pending, or panics; and panics when it is dropped.
struct Explosive {
    polled: fn() -> Poll<u32>,
    _bomb: Bomb,
}

impl Future for Explosive {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
        (self.polled)()
    }
}

/// The runtime works as ever.
fn works(runtime: &Runtime) {
    let task = runtime.spawn(async {
        yield_now().await;
        5
    });
    assert_eq!(runtime.block_on(task).unwrap(), 5);
    assert_eq!(runtime.metrics().tasks_alive, 0);
}

/// T06.
#[test]
fn a_panic_is_the_join_error_of_its_task() {
    guard(10).panics().run(|| {
        block_on(async {
            let error = spawn(async { panic!("in {}", "words") }).await.unwrap_err();
            assert!(error.is_panic() && !error.is_cancelled());
            assert!(error.to_string().contains("panicked: in words"), "{error}");
            assert!(format!("{error:?}").contains("in words"));
            assert_eq!(panic_message(error.into_panic()), "in words");

            let task = spawn(async { panic_any(42_u8) });
            let id = task.id();
            let error = task.await.unwrap_err();
            assert_eq!(error.id(), id);
            assert!(error.to_string().ends_with("panicked"), "{error}");
            let payload: Box<dyn Any + Send> = error.try_into_panic().unwrap();
            assert_eq!(*payload.downcast::<u8>().unwrap(), 42);

            let error: io::Error = spawn(async { panic!("tea") }).await.unwrap_err().into();
            let source = error.get_ref().and_then(|error| error.downcast_ref::<JoinError>());
            assert!(source.unwrap().is_panic() && error.to_string().contains("tea"));

            let task = spawn(pending::<()>());
            task.abort();
            let error = task.await.unwrap_err();
            assert!(error.is_cancelled() && !error.is_panic());
            let error = error.try_into_panic().unwrap_err();
            assert!(error.to_string().contains("cancelled") && error.source().is_none());
            let asked = catch_unwind(AssertUnwindSafe(|| error.into_panic())).unwrap_err();
            assert!(panic_message(asked).contains("is_panic"));
        });
    });
}

/// T06.
#[test]
fn each_third_of_a_thousand_tasks_may_panic() {
    guard(20).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let tasks: Vec<_> = (0..1_000)
            .map(|n| {
                runtime.spawn(async move {
                    yield_now().await;
                    assert!(n % 3 != 0, "number {n}");
                    n
                })
            })
            .collect();
        runtime.block_on(async {
            for (n, task) in tasks.into_iter().enumerate() {
                match task.await {
                    Ok(output) => assert_eq!((output, n % 3 != 0), (n, true)),
                    Err(error) => {
                        assert_eq!(panic_message(error.into_panic()), format!("number {n}"))
                    }
                }
            }
        });
        assert_eq!(runtime.metrics().tasks_panicked, 334);
        works(&runtime);
    });
}

/// T07, T05: in every state in which a future can be dropped by the runtime.
#[test]
fn a_panic_in_the_drop_of_a_future_changes_nothing_else() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let drops = Rc::new(Cell::new(0));
        let explosive = |polled| Explosive { polled, _bomb: Bomb(drops.clone()) };
        runtime.block_on(async {
            let ready = spawn(explosive(|| Poll::Ready(3)));
            assert_eq!(ready.await.unwrap(), 3, "the output is there all the same");
            assert_eq!(drops.get(), 1);

            let both = spawn(explosive(|| panic!("in poll"))).await.unwrap_err();
            assert_eq!(panic_message(both.into_panic()), "in poll", "the first one counts");
            assert_eq!(drops.get(), 2);

            let aborted = spawn(explosive(|| Poll::Pending));
            yield_now().await;
            aborted.abort();
            assert_eq!(drops.get(), 2, "never inside `abort`");
            assert!(aborted.await.unwrap_err().is_cancelled());
            let never_polled = spawn(explosive(|| Poll::Pending));
            never_polled.abort();
            assert!(never_polled.await.unwrap_err().is_cancelled());
            assert_eq!(drops.get(), 4);

            for polled in [|| Poll::Ready(1), || Poll::Pending, || panic!("in poll")] {
                let detached = spawn(explosive(polled));
                let abort = detached.abort_handle();
                drop(detached);
                yield_now().await;
                abort.abort();
                yield_now().await;
            }
            assert_eq!(drops.get(), 7);
        });
        assert_eq!(runtime.metrics().tasks_panicked, 2, "a destructor is not the task");
        works(&runtime);
    });
}

/// T07.
#[test]
fn panics_in_drops_do_not_stop_the_end_of_a_runtime() {
    guard(10).panics().run(|| {
        let (runtime, drops) = (Runtime::new().unwrap(), Rc::new(Cell::new(0)));
        let mut handles = Vec::new();
        for _ in 0..10 {
            let bomb = || Bomb(drops.clone());
            runtime.spawn(Explosive { polled: || Poll::Pending, _bomb: bomb() });
            let output = bomb();
            handles.push(runtime.spawn(async move { output }));
        }
        runtime.block_on(yield_now());
        runtime.spawn(Explosive { polled: || Poll::Pending, _bomb: Bomb(drops.clone()) });
        assert_eq!(drops.get(), 0);
        drop(runtime);
        assert_eq!(drops.get(), 21);
        drop(handles);
    });
}

/// T02.
#[test]
fn a_panic_in_the_drop_of_an_output_is_contained_when_nobody_joins() {
    guard(10).panics().run(|| {
        let (runtime, drops) = (Runtime::new().unwrap(), Rc::new(Cell::new(0)));
        runtime.block_on(async {
            let output = Bomb(drops.clone());
            drop(spawn(async move { output }));
            yield_now().await;
            assert_eq!(drops.get(), 1);
        });
        assert_eq!(runtime.metrics().tasks_panicked, 0);
        works(&runtime);
    });
}

/// T02.
#[test]
fn a_panic_in_an_output_that_drop_of_the_handle_drops_is_the_callers() {
    guard(10).panics().run(|| {
        let (runtime, drops) = (Runtime::new().unwrap(), Rc::new(Cell::new(0)));
        let output = Bomb(drops.clone());
        let task = runtime.spawn(async move { output });
        let inside = Bomb(drops.clone());
        runtime.block_on(async {
            let task = spawn(async move { inside });
            yield_now().await;
            let panic = catch_unwind(AssertUnwindSafe(|| drop(task))).unwrap_err();
            assert_eq!((panic_message(panic).as_str(), drops.get()), ("a bomb", 1));
        });
        let panic = catch_unwind(AssertUnwindSafe(|| drop(task))).unwrap_err();
        assert_eq!((panic_message(panic).as_str(), drops.get()), ("a bomb", 2));
        works(&runtime);
    });
}

/// T02, T03: the output is dropped at home, where nobody waits for its panic.
#[test]
fn a_handle_with_an_explosive_output_may_be_dropped_elsewhere() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let task = spawn(async { SendBomb });
            yield_now().await;
            thread::spawn(move || drop(task)).join().unwrap();
            yield_now().await;
        });
        works(&runtime);
    });
}

/// T08.
#[test]
fn a_payload_that_panics_in_drop_is_contained() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            drop(spawn(async { panic_any(SendBomb) }));
            yield_now().await;
            // Joined, it is the joiner's own.
            let error = spawn(async { panic_any(SendBomb) }).await.unwrap_err();
            let panic = catch_unwind(AssertUnwindSafe(|| drop(error))).unwrap_err();
            assert_eq!(panic_message(panic), "a bomb");
            // A destructor whose panic has such a payload.
            struct Twice;
            impl Drop for Twice {
                fn drop(&mut self) {
                    panic_any(SendBomb);
                }
            }
            let task = spawn(async {
                let _twice = Twice;
                pending::<()>().await
            });
            yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        let kept = runtime.spawn(async { panic_any(SendBomb) });
        runtime.block_on(yield_now());
        assert_eq!(runtime.metrics().tasks_panicked, 3);
        works(&runtime);
        drop(runtime);
        drop(kept);
    });
}

/// T08, R07: what is still in the mailbox at the end is dropped piece by piece.
#[test]
fn remote_spawns_that_were_never_begun_may_panic_when_they_are_dropped() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let remote = runtime.remote();
        let tasks = [0; 3].map(|_| {
            let bomb = SendBomb;
            remote.spawn(move || async move { drop(bomb) }).unwrap()
        });
        drop(runtime);
        for task in tasks {
            assert!(task.join_elsewhere().is_cancelled());
        }
    });
}

trait JoinElsewhere {
    fn join_elsewhere(self) -> JoinError;
}

impl JoinElsewhere for waken::runtime::RemoteJoinHandle<()> {
    fn join_elsewhere(self) -> JoinError {
        thread::spawn(move || self.join()).join().unwrap().unwrap_err()
    }
}

/// U14: what panics before its task is there leaves no part of one behind.
#[test]
fn a_panic_on_the_way_to_a_task_leaves_no_half_of_one() {
    struct Unready(#[allow(dead_code)] Rc<()>);
    impl IntoFuture for Unready {
        type Output = ();
        type IntoFuture = std::future::Ready<()>;
        fn into_future(self) -> Self::IntoFuture {
            panic!("into a future");
        }
    }
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let all = Rc::new(());
        runtime.block_on(async {
            let before = runtime.metrics();
            for _ in 0..100 {
                let timed = || waken::time::timeout(Duration::from_secs(9), Unready(all.clone()));
                assert!(catch_unwind(AssertUnwindSafe(timed)).is_err());
                let mut set = JoinSet::new();
                let fill = || {
                    for n in 0..3 {
                        assert!(n < 2, "in the iterator");
                        set.spawn(keep(all.clone()));
                    }
                };
                assert!(catch_unwind(AssertUnwindSafe(fill)).is_err());
                assert_eq!(set.len(), 2, "those that came before");
                set.shutdown().await;
                // What is to make the future panics in the task, whose end it is.
                let task =
                    runtime.remote().spawn(|| -> Ready<()> { panic!("instead of a future") });
                assert!(task.unwrap().await.unwrap_err().is_panic());
            }
            let after = runtime.metrics();
            assert_eq!((after.tasks_alive, after.timers_alive), (0, before.timers_alive));
            assert_eq!(Rc::strong_count(&all), 1);
        });
        works(&runtime);
    });
}
