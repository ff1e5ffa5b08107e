//! The end of a runtime: everything is dropped, at home and in order, and what is left over is harmless.
mod support;
use support::{cpu, fds, guard, keep, on_drop, pair, poll_once, watched};

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use waken::task::yield_now;
use waken::time::sleep;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinHandle, Runtime, block_on, spawn};

/// D01, T01.
#[test]
fn tasks_are_dropped_on_this_thread_while_their_sockets_still_work() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let home = thread::current().id();
        let seen = Rc::new(RefCell::new(Vec::new()));
        for polled in [false, true] {
            let (a, b) = runtime.block_on(pair()).unwrap();
            let seen = seen.clone();
            runtime.spawn(keep(on_drop(move || {
                assert_eq!(thread::current().id(), home);
                let written = a.try_write(b"bye").unwrap();
                seen.borrow_mut().push((polled, written, b.try_read(&mut [0; 8]).unwrap()));
            })));
            if polled {
                runtime.block_on(yield_now());
            }
        }
        drop(runtime);
        seen.borrow_mut().sort();
        assert_eq!(*seen.borrow(), [(false, 3, 3), (true, 3, 3)]);
    });
}

/// D01: whatever a task owns is deregistered when it is dropped with its runtime, before it is closed.
#[test]
fn what_tasks_own_is_deregistered_while_the_runtime_ends() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let idle = runtime.metrics();
        let _peers = runtime.block_on(async {
            let (stream, peer) = pair().await.unwrap();
            let mut peer = Some(peer.into_std());
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let (any, other) = std::os::unix::net::UnixStream::pair().unwrap();
            let any = waken::io::AsyncFd::new(any).unwrap();
            let mut timer = sleep(Duration::from_secs(99));
            assert!(poll_once(&mut timer).is_pending());
            let owned: [Box<dyn Any>; 4] =
                [Box::new(stream), Box::new(listener), Box::new(any), Box::new(timer)];
            for owned in owned {
                let seen = seen.clone();
                drop(spawn(keep(on_drop(move || {
                    let before = waken::runtime::metrics();
                    drop(owned);
                    let after = waken::runtime::metrics();
                    seen.borrow_mut().push((
                        before.sources_alive - after.sources_alive,
                        after.epoll_ctls - before.epoll_ctls,
                        before.timers_alive - after.timers_alive,
                    ));
                }))));
            }
            yield_now().await;
            (peer.take(), other)
        });
        assert_eq!(runtime.metrics().sources_alive - idle.sources_alive, 3);
        drop(runtime);
        let mut seen = seen.take();
        seen.sort();
        assert_eq!(seen, [(0, 0, 1), (1, 1, 0), (1, 1, 0), (1, 1, 0)]);
    });
}

/// T13.
#[test]
fn what_destructors_spawn_is_dropped_as_well_100_deep() {
    struct Deep(u32, Rc<Cell<u32>>);
    impl Drop for Deep {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            if self.0 > 0 {
                drop(spawn(keep(Deep(self.0 - 1, self.1.clone()))));
            }
        }
    }
    watched(10, || {
        let (runtime, drops) = (Runtime::new().unwrap(), Rc::new(Cell::new(0)));
        runtime.spawn(keep(Deep(100, drops.clone())));
        drop(runtime);
        assert_eq!(drops.get(), 101);
    });
}

/// T13, R01.
#[test]
fn destructors_may_use_the_whole_api_while_the_runtime_ends() {
    watched(10, || {
        let before = fds();
        let runtime = Runtime::new().unwrap();
        let (drops, late) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        for _ in 0..3 {
            let (stream, _peer) = runtime.block_on(pair()).unwrap();
            let other = runtime.spawn(pending::<()>());
            let waker = runtime.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
            let remote = runtime.remote();
            let (drops, late) = (drops.clone(), late.clone());
            runtime.spawn(keep(on_drop(move || {
                waker.wake();
                remote.wake();
                other.abort();
                other.abort();
                drop(other);
                drop(stream);
                drop(AsyncTcpStream::try_from(io_pair().0).unwrap());
                assert!(poll_once(&mut pin!(AsyncTcpListener::bind("127.0.0.1:0"))).is_ready());
                let mut timer = sleep(Duration::from_secs(9));
                assert!(poll_once(&mut timer).is_pending());
                drop(remote.spawn(|| async {}));
                *late.borrow_mut() = Some(spawn(async {}));
                drops.set(drops.get() + 1);
            })));
        }
        drop(runtime);
        assert_eq!(drops.get(), 3);
        let late = late.take().unwrap();
        assert!(block_on(late).unwrap_err().is_cancelled());
        assert_eq!(fds(), before);
    });
}

fn io_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// R07: several destructors panic while a panic unwinds through the runtime.
#[test]
fn a_runtime_may_be_dropped_by_a_panic() {
    const WHY: &str = "of a panic during a panic std prints the way there, whatever is set, and keeps the tables for that";
    guard(10).panics().keeps_bytes(100 << 20, WHY).run(|| {
        let drops = Rc::new(Cell::new(0));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let runtime = Runtime::new().unwrap();
            for _ in 0..3 {
                let drops = drops.clone();
                runtime.spawn(keep(on_drop(move || {
                    drops.set(drops.get() + 1);
                    panic!("in a destructor");
                })));
            }
            runtime.block_on(async {
                yield_now().await;
                panic!("the first");
            })
        }));
        assert_eq!(support::panic_message(panic.unwrap_err()), "the first");
        assert_eq!(drops.get(), 3);
        assert_eq!(block_on(async { spawn(async { 1 }).await.unwrap() }), 1);
    });
}

/// R06, R02.
#[test]
fn a_runtime_goes_on_after_a_panic_came_out_of_it() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let task = runtime.spawn(async {
            sleep(Duration::from_millis(1)).await;
            yield_now().await;
            7
        });
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                yield_now().await;
                panic!("out of the root");
            })
        }));
        assert!(unwound.is_err());
        assert!(catch_unwind(|| spawn(async {})).is_err(), "no runtime is current");
        runtime.block_on(async {
            // A nested one is refused, and changes nothing.
            let message = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async {})));
            let message = support::panic_message(message.unwrap_err());
            assert!(message.contains("await") && message.contains("std::thread"), "{message}");
            assert_eq!(task.await.unwrap(), 7);
        });
    });
}

#[test]
fn tasks_go_on_in_the_next_block_on() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let task = runtime.spawn(async move {
            for _ in 0..3 {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        for n in 1..=3 {
            runtime.block_on(yield_now());
            assert_eq!(count.get(), n);
        }
        runtime.block_on(task).unwrap();
    });
}

/// R04: inside another one's task; that one is current again afterwards.
#[test]
fn a_runtime_may_end_inside_a_task_of_another() {
    watched(10, || {
        block_on(async {
            let outer = spawn(async {
                let id = waken::task::id();
                let inner = Runtime::new().unwrap();
                let dropped = Rc::new(Cell::new(false));
                let seen = dropped.clone();
                inner.spawn(keep(on_drop(move || {
                    drop(spawn(async {}));
                    seen.set(true);
                })));
                drop(inner);
                assert!(dropped.get());
                assert_eq!(waken::task::id(), id);
                yield_now().await;
                sleep(Duration::from_millis(1)).await;
                spawn(async { 3 }).await.unwrap()
            });
            assert_eq!(outer.await.unwrap(), 3);
        });
    });
}

/// D04.
#[test]
fn five_thousand_runtimes_leave_no_descriptor_behind() {
    watched(60, || {
        // Duplicates of two sockets: 10,000 connections would use up the ports of this machine.
        let ends = io_pair();
        let before = fds();
        for n in 0..5_000 {
            let runtime = Runtime::new().unwrap();
            let registered = |end: &std::net::TcpStream| {
                let _current = runtime.enter();
                AsyncTcpStream::try_from(end.try_clone().unwrap()).unwrap()
            };
            let (a, b) = (registered(&ends.0), registered(&ends.1));
            runtime.spawn(async move { a.read(&mut [0; 8]).await });
            runtime.spawn(sleep(Duration::from_secs(99)));
            runtime.spawn(keep(b));
            runtime.block_on(spawn_and_join(&runtime, n));
        }
        assert_eq!(fds(), before);
    });
}

async fn spawn_and_join(runtime: &Runtime, n: u32) {
    assert_eq!(runtime.spawn(async move { n }).await.unwrap(), n);
}

/// T12, T09: freed with the runtime; until then they sleep.
#[test]
fn tasks_that_hold_themselves_are_freed_at_the_end() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let probe = Rc::new(());
        let mine = Rc::new(RefCell::new(None::<JoinHandle<()>>));
        let (itself, kept) = (mine.clone(), probe.clone());
        *mine.borrow_mut() = Some(runtime.spawn(async move {
            let _kept = (kept, poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
            let task = itself.borrow_mut().take().unwrap();
            assert!(task.await.is_err());
        }));
        let start = cpu();
        let turns = runtime.metrics().turns;
        runtime.block_on(sleep(Duration::from_millis(30)));
        assert!(runtime.metrics().turns - turns < 10 && cpu() - start < Duration::from_millis(25));
        assert_eq!(Rc::strong_count(&probe), 2);
        drop(runtime);
        assert_eq!(Rc::strong_count(&probe), 1);
    });
}

type Link<T> = Pin<Box<dyn Future<Output = T>>>;

/// Tasks that own each other's handles, in the order in which they are dropped, or against it.
fn end_a_long_chain<T: 'static>(last: fn() -> Link<T>, link: fn(JoinHandle<T>) -> Link<T>) {
    const LONG: usize = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    fn spawning<T: 'static>(
        n: usize,
        last: fn() -> Link<T>,
        link: fn(JoinHandle<T>) -> Link<T>,
    ) -> Link<T> {
        match n {
            0 => last(),
            _ => Box::pin(async move { link(spawn(spawning(n - 1, last, link))).await }),
        }
    }
    for forwards in [false, true] {
        let runtime = Runtime::new().unwrap();
        let first = if forwards {
            runtime.spawn(spawning(LONG, last, link))
        } else {
            (0..LONG).fold(runtime.spawn(last()), |next, _| runtime.spawn(link(next)))
        };
        runtime.block_on(async {
            while runtime.metrics().tasks_spawned <= LONG as u64 {
                yield_now().await;
            }
            yield_now().await;
        });
        drop(runtime);
        assert!(block_on(first).err().is_some_and(|error| error.is_cancelled()));
    }
}

/// T16: waiting tasks, each of which owns the handle of the next.
#[test]
fn a_long_chain_of_waiting_tasks_ends_without_recursion() {
    guard(60).cpu_ms(3_000).run(|| {
        end_a_long_chain(
            || Box::pin(pending::<()>()),
            |next| Box::pin(async { drop(next.abort_on_drop().await) }),
        );
    });
}

/// T16: finished ones, whose outputs own the handles.
#[test]
fn a_long_chain_of_outputs_ends_without_recursion() {
    guard(60).cpu_ms(3_000).run(|| {
        end_a_long_chain(
            || Box::pin(async { Box::new(()) as Box<dyn Any> }),
            |next| Box::pin(async { Box::new(next) as Box<dyn Any> }),
        );
    });
}
