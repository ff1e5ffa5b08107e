//! What outlives its runtime, and what the end of a thread drops.
mod support;
use support::{fds, guard, keep, on_drop, pair, poll_once, watched};

use std::any::Any;
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;
use waken::task::yield_now;
use waken::time::{Sleep, sleep};
use waken::{AsyncTcpListener, Runtime, block_on, spawn};

/// D02, N09.
#[test]
fn what_outlives_its_runtime_says_so_and_is_dropped_in_silence() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (stream, peer) = runtime.block_on(pair()).unwrap();
        let listener = runtime.block_on(AsyncTcpListener::bind("127.0.0.1:0")).unwrap();
        let [task, other, finished] = [false, false, true]
            .map(|ends| runtime.spawn(async move { if ends { 1 } else { pending().await } }));
        let mut timer = sleep(Duration::from_millis(5));
        runtime.block_on(async {
            yield_now().await;
            assert!(poll_once(&mut timer).is_pending());
        });
        let remote = runtime.remote();
        assert!(finished.is_finished() && !task.is_finished());
        drop(runtime);

        assert!(task.is_finished());
        task.abort();
        block_on(async {
            assert!(task.await.unwrap_err().is_cancelled());
            assert!(finished.await.unwrap_err().is_cancelled());
            for error in [
                stream.read(&mut [0]).await.unwrap_err(),
                stream.readable().await.unwrap_err(),
                stream.try_write(&[0]).unwrap_err(),
                listener.accept().await.unwrap_err(),
            ] {
                assert!(error.to_string().contains("runtime"), "{error}");
            }
            timer.await;
            drop(listener);
        });
        assert!(remote.spawn(|| async {}).is_err());
        let mut std = stream.into_std();
        drop((peer, other, remote));
        std.set_nonblocking(false).unwrap();
        assert_eq!(
            io::Read::read(&mut std, &mut [0]).unwrap(),
            0,
            "it is open, and as good as new"
        );
    });
}

/// D03: who waits for a task is told that it will not come.
#[test]
fn the_end_of_a_runtime_wakes_whoever_awaits_its_tasks() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let mut task = runtime.spawn(pending::<()>());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        runtime.block_on(async {
            let waker = count.clone().into();
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        });
        drop(runtime);
        assert_eq!((count.0.load(SeqCst), Arc::strong_count(&count)), (1, 1));
        assert!(block_on(task).unwrap_err().is_cancelled());
    });
}

/// D05.
#[test]
fn a_runtime_that_is_leaked_harms_nobody() {
    const WHY: &str = "it is leaked: the three descriptors of a runtime, and those of one task";
    guard(10).keeps_fds(4, WHY).keeps_bytes(8_000, WHY).run(|| {
        let (waker, remote) = thread::spawn(|| {
            let runtime = Runtime::new().unwrap();
            let (stream, peer) = runtime.block_on(pair()).unwrap();
            let task = runtime.spawn(keep((peer, sleep(Duration::from_secs(9)))));
            let waker = runtime.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
            let remote = runtime.remote();
            std::mem::forget(runtime);
            waker.wake_by_ref();
            task.abort();
            drop((task, stream));
            assert_eq!(block_on(async { spawn(async { 2 }).await.unwrap() }), 2);
            (waker, remote)
        })
        .join()
        .unwrap();
        waker.wake();
        drop(remote.spawn(|| async {}));
        block_on(yield_now());
    });
}

/// R05: one of each kind in a thread-local, which is destroyed before or after the runtime's own ones.
/// P02.
#[test]
fn anything_may_be_dropped_while_its_thread_ends() {
    type Kept = (Option<Runtime>, Vec<Box<dyn Any>>);
    thread_local! {
        static KEPT: RefCell<Kept> = const { RefCell::new((None, Vec::new())) };
    }
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    watched(30, || {
        let before = fds();
        for round in 0..32 {
            let [ours_first, runtime_ends_before, backwards, runtime_first, poll] =
                [1, 2, 4, 8, 16].map(|bit| round & bit != 0);
            thread::spawn(move || {
                if ours_first {
                    KEPT.with(|_| {});
                }
                let runtime = Runtime::new().unwrap();
                let (stream, peer) = runtime.block_on(pair()).unwrap();
                let mut timer: Sleep = sleep(Duration::from_secs(99));
                let task = runtime.spawn(keep((
                    peer,
                    on_drop(|| {
                        DROPS.fetch_add(1, SeqCst);
                        drop(spawn(async {})); // a panic, when there is no place left to look for a runtime
                    }),
                )));
                let waker = runtime.block_on(async {
                    if poll {
                        assert!(poll_once(&mut timer).is_pending());
                    }
                    yield_now().await;
                    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
                });
                let done = runtime.spawn(async { 1 });
                runtime.block_on(yield_now());
                let (remote, woken) = (runtime.remote(), waker.clone());
                let last_act = on_drop(move || {
                    woken.wake();
                    drop(remote.spawn(|| async {}));
                    remote.wake();
                });
                let mut things: Vec<Box<dyn Any>> = vec![
                    Box::new(stream),
                    Box::new(timer),
                    Box::new(task.abort_on_drop()),
                    Box::new(done),
                    Box::new(waker),
                    Box::new(last_act),
                ];
                if backwards {
                    things.reverse();
                }
                let runtime = (!runtime_ends_before).then_some(runtime);
                match runtime_first {
                    true => KEPT.with_borrow_mut(|kept| *kept = (runtime, things)),
                    false => KEPT.with_borrow_mut(|kept| {
                        kept.1 = things;
                        kept.1.push(Box::new(runtime));
                    }),
                }
            })
            .join()
            .unwrap();
        }
        assert_eq!(DROPS.load(SeqCst), 32);
        assert_eq!(fds(), before);
    });
}

/// F14: whoever wakes after the end writes to nobody's file, although the number of the descriptor that it would have written
/// to is that of a file by now.
#[test]
fn wakes_after_the_end_write_into_no_other_file() {
    guard(30).cpu_ms(3_000).run(|| {
        let folder = std::env::temp_dir().join(format!("waken-late-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let gone = folder.clone();
        let _gone = on_drop(move || drop(std::fs::remove_dir_all(gone)));
        let open = |n: usize| {
            let path = folder.join(n.to_string());
            std::fs::File::options().create(true).append(true).open(path).unwrap()
        };
        let mut reused = 0;
        for round in 0..100 {
            let before = fds();
            let runtime = Runtime::new().unwrap();
            let of_runtime = fds().len() - before.len();
            let waker = runtime.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
            let task = runtime.spawn(pending::<()>());
            let stop = Arc::new(AtomicUsize::new(0));
            let (theirs, stopped) = (waker.clone(), stop.clone());
            let waking = thread::spawn(move || {
                while stopped.load(SeqCst) == 0 {
                    theirs.wake_by_ref();
                }
            });
            for _ in 0..round % 7 {
                thread::yield_now();
            }
            drop(runtime);
            // The same numbers, at once: unless a wake is in the middle of it, they are free.
            let files: Vec<_> = (0..of_runtime + 2).map(open).collect();
            reused += usize::from(fds().len() <= before.len() + files.len());
            task.abort();
            thread::yield_now();
            stop.store(1, SeqCst);
            waking.join().unwrap();
            waker.wake_by_ref();
            for file in files {
                assert_eq!(
                    file.metadata().unwrap().len(),
                    0,
                    "round {round}: somebody wrote into it"
                );
            }
            assert_eq!(fds(), before);
        }
        assert!(reused > 20, "the numbers were used again {reused} times only");
    });
}
