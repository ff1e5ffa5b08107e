//! The handles that abort: from where, for how long, and whom not.
mod support;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::{Drops, Held, cancelled, watched};
use waken::task::{AbortHandle, yield_now};
use waken::time::sleep;
use waken::{JoinHandle, Runtime, spawn};

/// T02.
#[test]
fn abort_on_drop_aborts_unless_it_is_detached_or_was_awaited() {
    watched(10, || {
        waken::block_on(async {
            let drops = Drops::default();
            let task = |held: Held| {
                spawn(async move {
                    let held = held;
                    sleep(Duration::from_millis(5)).await;
                    held.0.get()
                })
            };
            let guarded = task(drops.held()).abort_on_drop();
            yield_now().await;
            drop(guarded);
            assert_eq!(drops.count(), 0);
            yield_now().await;
            assert_eq!(drops.count(), 1, "dropped: aborted");

            let awaited = task(drops.held()).abort_on_drop();
            assert_eq!(awaited.await.unwrap(), 1, "awaited: its output");

            let handle = task(drops.held()).abort_on_drop().detach();
            assert_eq!(handle.await.unwrap(), 2, "detached and joined");

            drop(task(drops.held()).abort_on_drop().detach());
            sleep(Duration::from_millis(20)).await;
            assert_eq!(drops.count(), 4, "detached and left alone: it ran to its end");
        });
    });
}

/// T17. The places of ended tasks are used again at once, for others.
#[test]
fn handles_that_outlive_their_task_hit_nobody_else() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let old: Vec<AbortHandle> = runtime.block_on(async {
            let tasks: Vec<JoinHandle<()>> = (0..100).map(|_| spawn(async {})).collect();
            let mut handles = Vec::new();
            for task in tasks {
                let handle = task.abort_handle();
                handles.extend([handle.clone(), handle]);
                task.await.unwrap();
            }
            handles
        });
        runtime.block_on(async {
            let fresh: Vec<JoinHandle<u32>> = (0..100)
                .map(|n| {
                    spawn(async move {
                        yield_now().await;
                        yield_now().await;
                        n
                    })
                })
                .collect();
            for _ in 0..2 {
                old.iter().for_each(AbortHandle::abort);
                yield_now().await;
            }
            for (n, task) in fresh.into_iter().enumerate() {
                assert_eq!(task.await.unwrap() as usize, n);
            }
        });
        drop(runtime);
        let next = Runtime::new().unwrap();
        next.block_on(async {
            let task = spawn(async { 5 });
            old.iter().for_each(AbortHandle::abort);
            assert!(old.iter().all(AbortHandle::is_finished));
            assert_eq!(task.await.unwrap(), 5);
        });
    });
}

/// T01, T03, T04. By letter: the future is dropped on the thread that made it.
#[test]
fn an_abort_and_a_drop_from_another_thread_take_effect_at_home() {
    struct Home(thread::ThreadId, Rc<Cell<u32>>);
    impl Drop for Home {
        fn drop(&mut self) {
            assert_eq!(
                self.0,
                thread::current().id(),
                "a future that is not `Send` dropped elsewhere"
            );
            self.1.set(self.1.get() + 1);
        }
    }
    watched(10, || {
        waken::block_on(async {
            let drops = Rc::new(Cell::new(0));
            let spawn_one = || {
                let home = Home(thread::current().id(), drops.clone());
                spawn(async move {
                    let _home = home;
                    pending::<()>().await;
                })
            };
            let (joined, dropped, guarded) = (spawn_one(), spawn_one(), spawn_one());
            yield_now().await;
            let (remote, last) = (joined.abort_handle(), dropped.abort_handle());
            let guarded = guarded.abort_on_drop();
            thread::spawn(move || {
                remote.abort();
                drop((dropped, guarded));
            });
            cancelled(joined).await;
            while drops.get() < 2 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(!last.is_finished(), "dropping a plain handle detaches, from anywhere");
            thread::spawn(move || last.abort()).join().unwrap();
            while drops.get() < 3 {
                sleep(Duration::from_millis(1)).await;
            }
        });
    });
}

#[test]
fn outside_of_any_task_no_task_is_the_one_that_runs() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let ended = runtime.spawn(async {});
        runtime.block_on(sleep(Duration::from_millis(1)));
        assert!(ended.is_finished());
        let _current = runtime.enter();
        assert_eq!(waken::task::try_id(), None);
    });
}
