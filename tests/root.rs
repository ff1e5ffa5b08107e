//! The future of `block_on` among the tasks; storms of tasks; other executors; and what a turn costs.
mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use support::watched;
use waken::task::{consume_budget, yield_now};
use waken::time::sleep;
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

async fn pair() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Counts the polls of `future`.
async fn counting<F: Future>(future: F, polls: &Cell<u64>) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
    .await
}

/// Q05.
#[test]
fn the_root_is_polled_when_it_was_woken_and_not_when_tasks_are() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let polls = Cell::new(0);
        runtime.block_on(counting(
            async {
                let task = spawn(async {
                    for _ in 0..100_000 {
                        yield_now().await;
                    }
                });
                task.await.unwrap();
            },
            &polls,
        ));
        assert!(runtime.metrics().wakes >= 100_000);
        assert_eq!(polls.get(), 2, "at its start, and when the task had ended");
    });
}

/// Q05.
#[test]
fn the_root_is_polled_within_one_turn_of_its_wake() {
    watched(10, || {
        waken::block_on(async {
            let (root, steps) = (Rc::new(RefCell::new(None::<Waker>)), Rc::new(Cell::new(0u32)));
            for _ in 0..100 {
                let steps = steps.clone();
                spawn(async move {
                    loop {
                        steps.set(steps.get() + 1);
                        yield_now().await;
                    }
                });
            }
            let (theirs, at_wake, inside) = (root.clone(), Rc::new(Cell::new(None)), steps.clone());
            let woken = at_wake.clone();
            spawn(async move {
                for _ in 0..10 {
                    yield_now().await;
                }
                woken.set(Some(inside.get()));
                theirs.borrow_mut().take().unwrap().wake();
            });
            poll_fn(|cx| {
                *root.borrow_mut() = Some(cx.waker().clone());
                if at_wake.get().is_some() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let polls = steps.get() - at_wake.get().unwrap();
            assert!(polls <= 100, "{polls} polls of others between the wake and the root's poll");
        });
    });
}

#[test]
fn the_root_is_no_task() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            assert_eq!(runtime.metrics().tasks_alive, 0);
            assert!(runtime.tasks().is_empty());
            yield_now().await;
            assert_eq!((runtime.metrics().polls, runtime.metrics().tasks_spawned), (0, 0));
        });
    });
}

/// Q06. Every task spawns its successor, and while there are few, a second one.
#[test]
fn a_storm_of_spawning_tasks_leaves_sockets_and_timers_their_turn() {
    struct Storm {
        alive: Cell<u32>,
        total: Cell<u32>,
        over: Cell<bool>,
    }
    fn blow(storm: Rc<Storm>) {
        storm.alive.set(storm.alive.get() + 1);
        storm.total.set(storm.total.get() + 1);
        drop(spawn(async move {
            storm.alive.set(storm.alive.get() - 1);
            if !storm.over.get() {
                blow(storm.clone());
                if storm.alive.get() < 1000 {
                    blow(storm);
                }
            }
        }));
    }
    watched(30, || {
        let runtime = Runtime::new().unwrap();
        let storm =
            Rc::new(Storm { alive: Cell::new(0), total: Cell::new(0), over: Cell::new(false) });
        runtime.block_on(async {
            blow(storm.clone());
            while storm.total.get() < 10_000 {
                yield_now().await;
            }
            let (one, other) = pair().await;
            let echo = spawn(async move {
                let mut buf = [0];
                while other.read(&mut buf).await.unwrap() == 1 {
                    other.write_all(&buf).await.unwrap();
                }
            });
            for _ in 0..10 {
                one.write_all(b"?").await.unwrap();
                one.read_exact(&mut [0]).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            drop(one);
            echo.await.unwrap();
            while storm.total.get() < 100_000 {
                yield_now().await;
            }
            storm.over.set(true);
            while storm.alive.get() > 0 {
                yield_now().await;
            }
        });
        assert_eq!(runtime.metrics().tasks_alive, 0);
    });
}

/// R03, Q03. It knows of no budget, and only a new poll of *our* task would bring a new one.
#[test]
fn another_executor_inside_a_task_does_not_hang_when_the_budget_is_used_up() {
    async fn inside() {
        let (one, other) = pair().await;
        one.write_all(&[7; 1000]).await.unwrap();
        let tasks: Vec<_> = (0..1000).map(|n| spawn(async move { n })).collect();
        yield_now().await;
        futures_lite::future::block_on(async {
            for _ in 0..1000 {
                consume_budget().await;
            }
            for _ in 0..1000 {
                sleep(Duration::ZERO).await;
            }
            for _ in 0..1000 {
                assert_eq!(other.read(&mut [0]).await.unwrap(), 1);
            }
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), n);
            }
        });
        consume_budget().await;
    }
    watched(10, || {
        waken::block_on(async {
            inside().await;
            spawn(inside()).await.unwrap();
        });
    });
}

/// Q01, Q03. What passes on wakers of its own, as every collection of futures does, starves nobody.
#[test]
fn a_combinator_with_wakers_of_its_own_still_yields() {
    struct Forward(Waker);
    impl std::task::Wake for Forward {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    watched(10, || {
        waken::block_on(async {
            let hog = spawn(async {
                let mut inner = pin!(async {
                    loop {
                        consume_budget().await;
                    }
                });
                poll_fn(|cx| {
                    let waker = Waker::from(std::sync::Arc::new(Forward(cx.waker().clone())));
                    inner.as_mut().poll(&mut std::task::Context::from_waker(&waker))
                })
                .await
            });
            sleep(Duration::from_millis(5)).await;
            for _ in 0..100 {
                yield_now().await;
            }
            drop(hog.abort_on_drop());
        });
    });
}

/// W19, Q08.
#[test]
fn tasks_that_only_wake_each_other_make_no_system_call() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let spin = |turns: u32| {
            let tasks = [(); 3].map(|()| {
                runtime.spawn(async move {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                })
            });
            runtime.block_on(async {
                for task in tasks {
                    task.await.unwrap();
                }
                for _ in 0..turns {
                    yield_now().await;
                }
            });
        };
        spin(10);
        let before = runtime.metrics();
        spin(100_000);
        let after = runtime.metrics();
        assert!(after.turns - before.turns >= 200_000);
        assert_eq!(after.epoll_waits, before.epoll_waits, "with no source, nobody to ask");
        assert_eq!(after.remote_wakes, before.remote_wakes);

        // With one, the kernel is asked each turn, and would tell of a write to the eventfd.
        let _current = runtime.enter();
        let _listener = runtime.block_on(AsyncTcpListener::bind("127.0.0.1:0")).unwrap();
        runtime.block_on(async { (yield_now().await, yield_now().await) });
        let before = runtime.metrics();
        spin(1000);
        let after = runtime.metrics();
        assert!(after.epoll_waits - before.epoll_waits >= 1000);
        assert_eq!(
            (after.epoll_events, after.remote_wakes),
            (before.epoll_events, before.remote_wakes)
        );
    });
}
