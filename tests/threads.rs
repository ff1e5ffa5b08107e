//! Other threads: they wake, spawn, abort and drop, and everything is done at home.
mod support;
use support::{cpu, eventually, guard, pair, panic_message, sleeps, watched};

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use waken::task::yield_now;
use waken::time::sleep;
use waken::{AsyncTcpStream, Remote, Runtime, block_on, spawn};

/// A flag that a future waits for and any thread raises.
#[derive(Clone, Default)]
struct Signal(Arc<Mutex<(u64, Option<Waker>)>>);

impl Signal {
    fn raise(&self) {
        let waker = {
            let mut signal = self.0.lock().unwrap();
            signal.0 += 1;
            signal.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn raised(&self) {
        poll_fn(|cx| {
            let mut signal = self.0.lock().unwrap();
            if signal.0 > 0 {
                signal.0 -= 1;
                return Poll::Ready(());
            }
            signal.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn is_awaited(&self) -> bool {
        self.0.lock().unwrap().1.is_some()
    }
}

fn message_of<R>(code: impl FnOnce() -> R) -> String {
    panic_message(catch_unwind(AssertUnwindSafe(code)).err().expect("a panic"))
}

/// W10, N08: as the root and as a task, while the runtime sleeps.
#[test]
fn a_wake_from_another_thread_reaches_a_runtime_that_sleeps() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        for as_task in [false, true] {
            let signal = Signal::default();
            let (ours, theirs) = (signal.clone(), signal.clone());
            let thread = thread::spawn(move || {
                eventually("it waits", || theirs.is_awaited());
                theirs.raise();
            });
            match as_task {
                true => {
                    runtime.block_on(runtime.spawn(async move { ours.raised().await })).unwrap()
                }
                false => runtime.block_on(ours.raised()),
            }
            thread.join().unwrap();
        }
    });
}

/// W13, W18: wakes never wait for the runtime, and of one task count once until it is polled.
#[test]
fn wakes_of_a_busy_runtime_neither_block_nor_pile_up() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let polls = Rc::new(Cell::new(0));
        let before = runtime.metrics();
        runtime.block_on(async {
            let counted = polls.clone();
            let (tell, told) = mpsc::channel::<Waker>();
            let task = spawn(poll_fn(move |cx| {
                counted.set(counted.get() + 1);
                if counted.get() == 1 {
                    tell.send(cx.waker().clone()).unwrap();
                    return Poll::Pending;
                }
                Poll::Ready(())
            }));
            yield_now().await;
            let waker = told.recv().unwrap();
            // The runtime is busy, here, until the thread has done all its wakes.
            thread::spawn(move || (0..100_000).for_each(|_| waker.wake_by_ref())).join().unwrap();
            task.await.unwrap();
        });
        assert_eq!(polls.get(), 2);
        assert_eq!(runtime.metrics().remote_wakes - before.remote_wakes, 1);
    });
}

/// W13, W18: a million wakes for a thousand tasks of a runtime that does not look, all on one processor. None takes a
/// millisecond of it, and each task is polled once for all of them.
#[test]
fn a_million_wakes_of_a_runtime_that_does_not_look_take_no_millisecond_each() {
    guard(60).cpu_ms(3_000).run(|| {
        const TASKS: usize = 1000;
        one_processor();
        let runtime = Runtime::new().unwrap();
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        for _ in 0..TASKS {
            let wakers = wakers.clone();
            let mut polls = 0;
            runtime.spawn(poll_fn(move |cx| {
                polls += 1;
                if polls == 1 {
                    wakers.lock().unwrap().push(cx.waker().clone());
                }
                Poll::<()>::Pending
            }));
        }
        runtime.block_on(yield_now());
        let before = runtime.metrics();
        let wakers = std::mem::take(&mut *wakers.lock().unwrap());
        let (slow, waits) = thread::spawn(move || {
            let (mut slow, waits) = (0, sleeps());
            for n in 0..1_000_000 {
                // Of this thread alone: the others may have the processor as long as they like.
                let start = cpu();
                wakers[n % TASKS].wake_by_ref();
                slow += u32::from(cpu() - start > Duration::from_millis(1));
            }
            (slow, sleeps() - waits)
        })
        .join()
        .unwrap();
        // Its own interrupts, and what a hypervisor takes away, the kernel may have counted as this thread's.
        assert!(slow <= 100, "{slow} of a million wakes took more than a millisecond");
        assert!(waits <= 10, "{waits} of a million wakes waited");
        runtime.block_on(async { (yield_now().await, yield_now().await) });
        let after = runtime.metrics();
        assert_eq!(after.polls - before.polls, TASKS as u64);
        assert_eq!(after.remote_wakes - before.remote_wakes, TASKS as u64);
    });
}

/// Leaves this process one processor of those that it may use.
#[allow(unsafe_code)]
fn one_processor() {
    // SAFETY: all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: no preconditions.
    let here = unsafe { libc::sched_getcpu() };
    // SAFETY: the set lives, and the number of a processor has room in it.
    unsafe { libc::CPU_SET(here as usize, &mut set) };
    // SAFETY: the set lives, and has the length that is given.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// W17: the eventfd is written once for all wakes that find the runtime parked, and once more when it has looked since. It is never
/// read, so its count tells.
#[test]
fn the_eventfd_is_written_once_between_two_looks() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let info = std::fs::read_dir("/proc/self/fdinfo")
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| std::fs::read_to_string(path).is_ok_and(|it| it.contains("eventfd-count")))
            .unwrap();
        let written = || -> u64 {
            let info = std::fs::read_to_string(&info).unwrap();
            let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
            u64::from_str_radix(count.trim(), 16).unwrap()
        };
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let (tell, told) = mpsc::channel::<Waker>();
        runtime.spawn(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            tell.send(cx.waker().clone()).unwrap();
            Poll::<()>::Pending
        }));
        runtime.block_on(yield_now());
        for round in 0..100 {
            let (waker, remote, before) = (told.recv().unwrap(), runtime.remote(), written());
            let wakes = move || {
                for _ in 0..1000 {
                    waker.wake_by_ref();
                    remote.wake();
                }
            };
            thread::spawn(wakes).join().unwrap();
            assert_eq!(written() - before, 1, "round {round}");
            runtime.block_on(async { (yield_now().await, yield_now().await) });
            assert_eq!(polls.get(), round + 2);
            assert_eq!(written() - before, 1, "round {round}, after a look");
        }
    });
}

/// W18: two threads wake a task of ours as fast as they can, and it wakes them back. Echoes and timers have their turn.
#[test]
fn a_flood_of_wakes_leaves_sockets_and_timers_their_turn() {
    guard(30).cpu_ms(2_000).run(|| {
        let runtime = Runtime::new().unwrap();
        let (waker, over) = (Arc::new(Mutex::new(None::<Waker>)), Arc::new(AtomicBool::new(false)));
        let threads = [(); 2].map(|()| {
            let (waker, over, remote) = (waker.clone(), over.clone(), runtime.remote());
            thread::spawn(move || {
                while !over.load(SeqCst) {
                    let woken = waker.lock().unwrap().clone();
                    woken.into_iter().for_each(Waker::wake);
                    remote.wake();
                }
            })
        });
        runtime.block_on(async {
            let polls = Rc::new(Cell::new(0u64));
            let counted = polls.clone();
            drop(spawn(poll_fn(move |cx| {
                counted.set(counted.get() + 1);
                waker.lock().unwrap().get_or_insert_with(|| cx.waker().clone());
                Poll::<()>::Pending
            })));
            let (a, b) = pair().await.unwrap();
            for _ in 0..200 {
                a.write_all(b"x").await.unwrap();
                b.read_exact(&mut [0]).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            assert!(polls.get() > 100, "{} polls: there was no flood", polls.get());
        });
        over.store(true, SeqCst);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // And nothing has gathered: each number is in the box once.
        assert!(runtime.metrics().remote_wakes > 100);
    });
}

/// W10, W17: every one of 200,000 wakes finds a runtime that is about to sleep.
/// P01.
#[test]
fn two_runtimes_wake_each_other_200_000_times() {
    guard(120).cpu_ms(3_000).run(|| {
        let (ping, pong) = (Signal::default(), Signal::default());
        let (their_ping, their_pong) = (ping.clone(), pong.clone());
        let thread = thread::spawn(move || {
            block_on(async {
                for _ in 0..100_000 {
                    their_ping.raised().await;
                    their_pong.raise();
                }
            });
        });
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            for _ in 0..100_000 {
                ping.raise();
                pong.raised().await;
            }
        });
        thread.join().unwrap();
        assert!(runtime.metrics().remote_wakes <= 100_000);
    });
}

/// W17: what was woken once from elsewhere can be woken from there again, after it was polled.
#[test]
fn the_same_task_is_woken_from_another_thread_again_and_again() {
    watched(10, || {
        let signal = Signal::default();
        let raising = signal.clone();
        let (ask, asked) = mpsc::channel::<()>();
        let thread = thread::spawn(move || asked.iter().for_each(|()| raising.raise()));
        block_on(async {
            for _ in 0..100 {
                ask.send(()).unwrap();
                signal.raised().await;
            }
        });
        drop(ask);
        thread.join().unwrap();
    });
}

/// W18, Q01: a runtime in which there is always something to do hears of other threads.
#[test]
fn a_letter_reaches_a_runtime_that_is_always_busy() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let remote = runtime.remote();
        let said = runtime.block_on(async {
            let busy = spawn(async {
                loop {
                    yield_now().await;
                }
            });
            let said = remote.spawn(|| async { 7 }).unwrap().await;
            busy.abort();
            said
        });
        assert_eq!(said.unwrap(), 7);
    });
}

/// W10: no waits between the wakes, so they come before, during and after the runtime's going to sleep.
#[test]
fn none_of_a_stream_of_wakes_is_lost() {
    watched(60, || {
        let signal = Signal::default();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let signal = signal.clone();
                thread::spawn(move || (0..100_000).for_each(|_| signal.raise()))
            })
            .collect();
        block_on(async {
            for _ in 0..200_000 {
                signal.raised().await;
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// W11, D06.
#[test]
fn wakes_and_spawns_may_race_with_the_end_of_the_runtime() {
    guard(60).cpu_ms(15_000).run(|| {
        type Target = (Waker, Remote);
        let target: Arc<Mutex<Option<Target>>> = Arc::default();
        let (stop, hits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (target, stop, hits) = (target.clone(), stop.clone(), hits.clone());
                thread::spawn(move || {
                    while !stop.load(SeqCst) {
                        let now = target.lock().unwrap().clone();
                        let Some((waker, remote)) = now else { continue };
                        waker.wake();
                        remote.wake();
                        hits.fetch_add(remote.spawn(|| async {}).is_ok() as usize, SeqCst);
                    }
                })
            })
            .collect();
        // Who has the processor is a matter of luck where others want it: so few rounds that they are quick there, and many here.
        let (start, mut round) = (Instant::now(), 0);
        while round < 200 || (round < 2_000 && start.elapsed() < Duration::from_secs(2)) {
            round += 1;
            let runtime = Runtime::new().unwrap();
            let waker = runtime.block_on(async {
                spawn(pending::<()>());
                spawn(poll_fn(|cx| Poll::Ready(cx.waker().clone()))).await.unwrap()
            });
            *target.lock().unwrap() = Some((waker, runtime.remote()));
            // Both are at it when the runtime ends; now and then we see to it that they are.
            let before = hits.load(SeqCst);
            runtime.block_on(async {
                while round % 10 == 0 && hits.load(SeqCst) < before + 2 {
                    yield_now().await;
                }
            });
            drop(runtime);
        }
        stop.store(true, SeqCst);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(hits.load(SeqCst) >= 2 * (round / 10));
    });
}

/// W19.
#[test]
fn a_wake_on_the_same_thread_makes_no_system_call() {
    guard(20).cpu_ms(1_000).run(|| {
        let writes = || -> u64 {
            let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
            io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
        };
        let runtime = Runtime::new().unwrap();
        let (writes_before, before) = (writes(), runtime.metrics());
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                runtime.spawn(async {
                    for _ in 0..100_000 {
                        yield_now().await;
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        let after = runtime.metrics();
        assert!(after.wakes - before.wakes >= 1_000_000, "{after:?}");
        assert_eq!((after.epoll_waits, after.remote_wakes), (before.epoll_waits, 0));
        assert_eq!(writes(), writes_before);
    });
}

/// T01, T03, N08: what is dropped elsewhere leaves its place at home, and its output is dropped there.
#[test]
fn what_is_dropped_on_another_thread_is_released_at_home() {
    struct Home(thread::ThreadId, Arc<AtomicUsize>);
    impl Drop for Home {
        fn drop(&mut self) {
            assert_eq!(self.0, thread::current().id());
            self.1.fetch_add(1, SeqCst);
        }
    }
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (a, b) = pair().await.unwrap();
            let (mut timer, mut nobody) =
                (sleep(Duration::from_secs(99)), Context::from_waker(Waker::noop()));
            assert!(Pin::new(&mut timer).poll(&mut nobody).is_pending());
            let drops = Arc::new(AtomicUsize::new(0));
            let home = Home(thread::current().id(), drops.clone());
            let finished = spawn(async move { home });
            let running = spawn(pending::<()>());
            yield_now().await;
            assert!(finished.is_finished());
            let metrics = runtime.metrics();
            assert_eq!(
                (metrics.sources_alive, metrics.timers_alive, metrics.tasks_alive),
                (2, 1, 1)
            );
            running.abort_handle().abort();
            let running_elsewhere = spawn(pending::<()>());
            thread::spawn(move || {
                running_elsewhere.abort();
                drop((a, b, timer, running, running_elsewhere));
                drop(finished);
            })
            .join()
            .unwrap();
            yield_now().await;
            yield_now().await;
            let metrics = runtime.metrics();
            assert_eq!(
                (metrics.sources_alive, metrics.timers_alive, metrics.tasks_alive),
                (0, 0, 0)
            );
            assert_eq!(drops.load(SeqCst), 1);
        });
    });
}

/// T04, N08: the future is dropped at home, and a runtime that sleeps is told.
#[test]
fn a_task_can_be_aborted_from_another_thread() {
    guard(10).panics().run(|| {
        block_on(async {
            let task = spawn(pending::<()>());
            let abort = task.abort_handle();
            let waits = Signal::default();
            let (ours, theirs) = (waits.clone(), waits.clone());
            spawn(async move { ours.raised().await });
            let thread = thread::spawn(move || {
                eventually("the runtime has begun to wait", || theirs.is_awaited());
                abort.abort();
                abort.abort();
                message_of(|| abort.is_finished())
            });
            assert!(task.await.unwrap_err().is_cancelled());
            let message = thread.join().unwrap();
            assert!(message.contains("thread"), "{message}");
        });
    });
}

#[test]
fn sockets_and_handles_say_that_they_belong_to_another_thread() {
    guard(10).panics().run(|| {
        block_on(async {
            let (stream, peer) = pair().await.unwrap();
            let task = spawn(async {});
            let stream = thread::spawn(move || {
                let used = |result: io::Result<usize>| {
                    let error = result.unwrap_err().to_string();
                    assert!(error.contains("another thread"), "{error}");
                };
                used(stream.try_read(&mut [0]));
                used(block_on(stream.read(&mut [0])));
                used(futures_lite::future::block_on(stream.write(b"x")));
                let message = message_of(|| block_on(task));
                assert!(message.contains("another thread"), "{message}");
                let timer = sleep(Duration::from_secs(9));
                let message = message_of(|| futures_lite::future::block_on(timer));
                assert!(message.contains("block_on"), "{message}");
                stream
            })
            .join()
            .unwrap();
            peer.write_all(b"home").await.unwrap();
            let mut buf = [0; 4];
            stream.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"home", "and at home it works as before");
        });
    });
}

/// F03: a descriptor that leaves its runtime by way of another thread is not watched any more.
#[test]
fn a_socket_taken_out_on_another_thread_can_come_back() {
    watched(10, || {
        block_on(async {
            let (stream, peer) = pair().await.unwrap();
            let stream = thread::spawn(move || stream.into_std()).join().unwrap();
            yield_now().await;
            yield_now().await;
            let stream = AsyncTcpStream::try_from(stream).unwrap();
            peer.write_all(b"back").await.unwrap();
            let mut buf = [0; 4];
            stream.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"back");
        });
    });
}

/// A sleep waits with whichever runtime polls it.
#[test]
fn a_sleep_moves_to_the_runtime_that_polls_it() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut timer = sleep(Duration::from_millis(30));
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut timer).poll(&mut nobody).is_pending());
            thread::spawn(move || block_on(timer)).join().unwrap();
            yield_now().await;
        });
        let metrics = runtime.metrics();
        assert_eq!((metrics.timers_alive, metrics.timers_fired), (0, 0));
    });
}
