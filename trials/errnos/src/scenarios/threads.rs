//! What needs other threads.

use super::on_a_runtime;
use crate::harness::{attempt, attempt_async, done, expect, look};
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, Workers};

const WAKES: usize = 8;

/// How often it was woken from elsewhere, and how it is.
type Bell = Arc<Mutex<(usize, Option<Waker>)>>;

/// Wakes, jobs and a look up, each while the runtime sleeps, and nothing else would end that.
pub fn remote() {
    expect(WAKES + 2);
    let runtime = attempt("new", Runtime::new);
    let (bell, remote) = (Bell::default(), runtime.remote());
    let rung = bell.clone();
    let thread = thread::spawn(move || {
        for i in 1..=WAKES {
            // Until it waits, and a moment longer, so that it sleeps.
            let waker = loop {
                if let (_, Some(waker)) = &mut *rung.lock().unwrap() {
                    break waker.clone();
                }
                thread::yield_now();
            };
            thread::sleep(Duration::from_millis(2));
            *rung.lock().unwrap() = (i, None);
            waker.wake();
        }
        thread::sleep(Duration::from_millis(2));
        let task = remote.spawn(|| async { 7 }).unwrap();
        assert_eq!(task.join().unwrap(), 7);
        done();
        thread::sleep(Duration::from_millis(2));
        *rung.lock().unwrap() = (WAKES + 1, None);
        remote.wake();
    });
    runtime.block_on(async {
        let ring = bell.clone();
        let task = waken::spawn(async move {
            for i in 1..=WAKES {
                poll_fn(|cx| {
                    let mut bell = ring.lock().unwrap();
                    if bell.0 >= i {
                        return Poll::Ready(());
                    }
                    bell.1 = Some(cx.waker().clone());
                    Poll::Pending
                })
                .await;
                done();
            }
        });
        task.await.unwrap();
        // `Remote::wake` is the root's.
        poll_fn(|_| match bell.lock().unwrap().0 > WAKES {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        done();
    });
    thread.join().unwrap();
    look(&runtime);
}

/// A name is looked up, on a thread of its own.
pub fn resolve() {
    on_a_runtime(async || {
        expect(3);
        let listener =
            attempt_async("bind", async || AsyncTcpListener::bind("127.0.0.1:0").await).await;
        let port = attempt("local_addr", || listener.local_addr()).port();
        for _ in 0..3 {
            let connect = async || AsyncTcpStream::connect(("localhost", port)).await;
            let stream = attempt_async("connect", connect).await;
            let (theirs, _) = attempt_async("accept", async || listener.accept().await).await;
            drop((stream, theirs));
            done();
        }
    });
}

/// Calls that block, on a pool of threads.
pub fn unblock() {
    on_a_runtime(async || {
        expect(3);
        for i in 0..3 {
            let there = waken::unblock(move || {
                thread::sleep(Duration::from_millis(2));
                i + 1
            });
            assert_eq!(there.await, i + 1);
            done();
        }
    });
}

pub fn workers() {
    for pin in [false, true] {
        expect(1);
        let run = || {
            let workers = match pin {
                true => Workers::per_core()?.pin(true),
                false => Workers::new(NonZeroUsize::new(2).unwrap()),
            };
            workers.run(async |worker| {
                waken::time::sleep(Duration::from_millis(1)).await;
                worker
            })
        };
        let workers = attempt("workers", run);
        assert!(workers.iter().copied().eq(0..workers.len()) && !workers.is_empty());
        done();
    }
}
