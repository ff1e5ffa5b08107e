//! A fork: the runtime belongs to the parent, and whatever the child drops is still the parent's.
#![allow(unsafe_code)] // `fork` and `_exit`.
#[path = "support/outer.rs"]
mod outer;
mod support;
use outer::{LONG, drain, is_readable};
use support::{guard, pair, panic_message, poll_once, watched};

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, Instant};
use waken::time::{sleep, sleep_until};
use waken::{Builder, Runtime, block_on};

/// Runs `child` in a forked process, and returns its exit status: 0 when it has not panicked.
fn in_a_fork(child: impl FnOnce()) -> i32 {
    // SAFETY: no other thread of this process holds a lock: there is libtest's main thread, which waits.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", io::Error::last_os_error());
    if pid == 0 {
        do_not_outlive_the_test();
        let code = catch_unwind(AssertUnwindSafe(child)).is_err() as i32;
        // SAFETY: ends the child here, before it returns into the parent's tests.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// A child that hangs ends itself, earlier than the guard would, so that its parent can say which one it was.
fn do_not_outlive_the_test() {
    // SAFETY: a call on numbers alone; the signal's default ends the process.
    unsafe { libc::alarm(5) };
}

/// F10, N04.
#[test]
fn a_child_cannot_enter_the_runtime_of_its_parent() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let status = in_a_fork(|| {
            let block_on = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async {})));
            let enter = catch_unwind(AssertUnwindSafe(|| drop(runtime.enter())));
            let turn = catch_unwind(AssertUnwindSafe(|| drop(runtime.turn(None))));
            for refused in [block_on, enter, turn] {
                let message = panic_message(refused.unwrap_err());
                assert!(message.contains("fork"), "{message}");
            }
            // One of its own is fine.
            assert_eq!(block_on_sleep(), 4);
        });
        assert_eq!(status, 0);
        assert_eq!(runtime.block_on(async { 1 }), 1);
    });
}

fn block_on_sleep() -> i32 {
    block_on(async {
        sleep(Duration::from_millis(1)).await;
        waken::spawn(async { 4 }).await.unwrap()
    })
}

/// F10, N04: the loop itself forks: the child may not go on with it.
#[test]
fn a_child_cannot_go_on_with_the_loop_of_its_parent() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let status = in_a_fork_from_within(&runtime);
        assert_eq!(status, 0);
    });
}

fn in_a_fork_from_within(runtime: &Runtime) -> i32 {
    let mut status = None;
    let mut nested = false;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(poll_fn(|_| {
            if !nested {
                nested = true;
                // SAFETY: as above.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    do_not_outlive_the_test();
                    return Poll::Pending;
                }
                let mut code = -1;
                // SAFETY: `code` outlives the call.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut code, 0) }, pid);
                status = Some(code);
            }
            Poll::Ready(())
        }));
    }));
    if let Err(panic) = panic {
        let code = !panic_message(panic).contains("fork") as i32;
        // SAFETY: ends the child here.
        unsafe { libc::_exit(code) };
    }
    status.unwrap()
}

/// F10, N04: the alarm of the parent is the child's as well, until it is refused to go on. It would set it to a later time.
#[test]
fn a_child_that_goes_on_with_the_loop_leaves_the_alarm_of_its_parent_alone() {
    guard(20).panics().run(|| {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ticks = in_the_background(|| {
            for _ in 0..300 {
                std::thread::sleep(Duration::from_millis(10));
                let _ = io::Write::write(&mut theirs, b"!");
            }
        });
        let ran = catch_unwind(AssertUnwindSafe(|| {
            Builder::new().spin(Duration::ZERO).build().unwrap().block_on(async {
                let stream = waken::net::AsyncUnixStream::try_from(ours).unwrap();
                let tick = async || assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
                tick().await; // And the edge that a new socket begins with.
                let mut later = sleep(Duration::from_millis(2500));
                assert!(poll_once(&mut later).is_pending());
                tick().await; // The loop has slept for it once.
                // SAFETY: as above.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    do_not_outlive_the_test();
                    std::thread::sleep(Duration::from_millis(150));
                    return std::future::pending().await;
                }
                let (begin, mut next) = (Instant::now(), sleep(Duration::from_millis(300)));
                assert!(poll_once(&mut next).is_pending());
                for _ in 0..3 {
                    tick().await; // And twice for this one, so it has the alarm.
                }
                next.await;
                (child, begin.elapsed())
            })
        }));
        // SAFETY: as above, and ends the child here.
        let (child, took) = ran.unwrap_or_else(|_| unsafe { libc::_exit(0) });
        // SAFETY: a process that was started here.
        unsafe { libc::kill(ticks, libc::SIGKILL) };
        for ended in [child, ticks] {
            // SAFETY: likewise; it gives out nothing else.
            unsafe { libc::waitpid(ended, std::ptr::null_mut(), 0) };
        }
        assert!(took < Duration::from_millis(1500), "{took:?}");
    });
}

/// A process of its own, until its parent ends it.
fn in_the_background(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: as above.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        do_not_outlive_the_test();
        child();
        // SAFETY: ends the child here.
        unsafe { libc::_exit(0) };
    }
    pid
}

/// F10, N04, k13: deregistering in the child would take the parent's registration away.
#[test]
fn what_the_child_drops_the_parent_keeps() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (stream, peer) = runtime.block_on(pair()).unwrap();
        let (owned, other) = runtime.block_on(pair()).unwrap();
        let reader = runtime.spawn(async move {
            let mut buf = [0; 3];
            owned.read_exact(&mut buf).await.map(|()| buf)
        });
        let waker = runtime.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
        runtime.block_on(waken::task::yield_now());
        let mut things = Some((runtime, stream, peer, other, reader));
        let status = in_a_fork(|| {
            let (runtime, stream, peer, other, reader) = things.take().unwrap();
            waker.wake_by_ref();
            runtime.remote().wake();
            drop(stream);
            drop(runtime);
            drop((peer, other, reader));
            waker.wake_by_ref();
        });
        assert_eq!(status, 0);
        let (runtime, stream, peer, other, reader) = things.take().unwrap();
        runtime.block_on(async {
            let task = waken::spawn(async move {
                let mut buf = [0; 3];
                stream.read_exact(&mut buf).await.map(|()| buf)
            });
            // Both wait in epoll before there is anything to read.
            sleep(Duration::from_millis(1)).await;
            peer.write_all(b"one").await.unwrap();
            other.write_all(b"two").await.unwrap();
            assert_eq!(task.await.unwrap().unwrap(), *b"one");
            assert_eq!(reader.await.unwrap().unwrap(), *b"two");
        });
    });
}

/// The eventfd is one file for both, and the box in the child is nobody's.
#[test]
fn what_the_child_wakes_does_not_make_the_parent_look_up() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let waker = runtime.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
        let remote = runtime.remote();
        drain(&runtime);
        let status = in_a_fork(|| {
            waker.wake_by_ref();
            remote.wake();
            assert!(remote.spawn(|| async {}).is_err(), "nobody would ever run it");
        });
        assert_eq!(status, 0);
        assert!(!is_readable(&runtime, Duration::from_millis(20)));
        waker.wake_by_ref();
        assert!(is_readable(&runtime, LONG));
    });
}

/// The timer that is a descriptor is one file for both.
#[test]
fn what_the_child_drops_does_not_keep_the_parents_descriptor_from_telling_of_a_timer() {
    watched(20, || {
        let runtime = Builder::new().self_waking_fd(true).build().unwrap();
        let deadline = Instant::now() + Duration::from_millis(200);
        let mut timer = sleep_until(deadline);
        let guard = runtime.enter();
        assert!(poll_once(&mut timer).is_pending());
        drop(guard);
        drain(&runtime);
        let mut things = Some((runtime, timer));
        let status = in_a_fork(|| {
            let (runtime, timer) = things.take().unwrap();
            drop(timer);
            runtime.next_turn();
            drop(runtime);
        });
        assert_eq!(status, 0);
        let (runtime, timer) = things.take().unwrap();
        assert!(is_readable(&runtime, LONG) && Instant::now() >= deadline);
        drop(timer);
    });
}
