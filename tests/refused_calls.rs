//! What the runtime does when the kernel, or a filter of system calls, says no: it says so, leaves nothing behind, and
//! goes on where it can.
#[path = "support/filter.rs"]
mod filter;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use filter::{Call, OF_ONE_CLIENT, where_calls_fail};
use peer::{millis, std_pair};
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{cpu, fds, guard, panic_message, watched};
use waken::io::AsyncFd;
use waken::net::{AsyncUdpSocket, AsyncUnixStream};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Builder, Runtime, spawn};

const fn any(call: libc::c_long) -> Call {
    Call(call, None)
}

/// `epoll_ctl`, of the operation.
const fn ctl(operation: i32) -> Call {
    Call(libc::SYS_epoll_ctl, Some((1, operation as u32)))
}

/// All ways to wait: glibc has no `epoll_wait` of its own on newer machines.
fn waits() -> Vec<Call> {
    let mut waits = vec![any(libc::SYS_epoll_pwait), any(libc::SYS_epoll_pwait2)];
    #[cfg(target_arch = "x86_64")]
    waits.push(any(libc::SYS_epoll_wait));
    waits
}

fn is(errno: i32) -> impl Fn(&io::Error) -> bool {
    move |error| error.raw_os_error() == Some(errno)
}

// ---- waiting ----------------------------------------------------------------------------------

/// E16, P07: without `epoll_pwait2` a wait is rounded up to milliseconds, and never to none: nothing is early, and nothing
/// spins before its time.
#[test]
fn without_nanoseconds_no_timer_is_early_and_none_spins() {
    watched(20, || {
        where_calls_fail(&[any(libc::SYS_epoll_pwait2)], libc::ENOSYS, || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                let _watched = AsyncTcpStream::try_from(std_pair().0).unwrap();
                let before = runtime.metrics().epoll_waits;
                let mut rounds = 0;
                for micros in [1, 100, 999, 1_000, 1_001, 1_999, 7_300, 20_000] {
                    for _ in 0..5 {
                        let (time, start) = (Duration::from_micros(micros), Instant::now());
                        sleep(time).await;
                        assert!(start.elapsed() >= time, "{time:?}");
                        rounds += 1;
                    }
                }
                let waits = runtime.metrics().epoll_waits - before;
                assert!(waits <= 3 * rounds, "{waits} calls for {rounds} sleeps");
                // Longer than a wait of 2^31 ms can be.
                let month = Duration::from_secs(30 * 24 * 3600);
                for long in [month, Duration::from_secs(u64::MAX / 2), Duration::MAX] {
                    let before = runtime.metrics().epoll_waits;
                    assert!(timeout(millis(20), sleep(long)).await.is_err());
                    assert!(runtime.metrics().epoll_waits - before <= 3, "{long:?}");
                }
            });
            // Alone, and more milliseconds than fit: what is left of them when they are cut off is one.
            let long = Duration::from_millis((1 << 32) + 1);
            let remote = runtime.remote();
            let is_over = Arc::new(AtomicBool::new(false));
            let tells = is_over.clone();
            let waking = std::thread::spawn(move || {
                std::thread::sleep(millis(50));
                drop(remote.spawn(|| async {}));
                // Before the wake: that the thread has ended may be known long after it, and then nobody would wake.
                tells.store(true, SeqCst);
                remote.wake();
            });
            let (used, before) = (cpu(), runtime.metrics().epoll_waits);
            drop(runtime.spawn(sleep(long)));
            let mut timed = 0;
            while !is_over.load(SeqCst) {
                runtime.turn(None).unwrap();
                timed += 1;
            }
            waking.join().unwrap();
            assert!(timed <= 6 && runtime.metrics().epoll_waits - before <= 6, "{timed}");
            assert!(cpu() - used < millis(40));
        });
    });
}

/// E21: somebody has closed the descriptor, or what can never be: it is a panic out of `block_on`, and no silent spin.
#[test]
fn a_wait_that_fails_is_a_panic_that_says_so() {
    guard(20).panics().run(|| {
        for errno in [libc::EBADF, libc::EINVAL, libc::EFAULT] {
            let message = where_calls_fail(&waits(), errno, || {
                let runtime = Runtime::new().unwrap();
                let waiting = AssertUnwindSafe(|| runtime.block_on(sleep(millis(50))));
                panic_message(catch_unwind(waiting).expect_err("it goes on"))
            });
            let expected = io::Error::from_raw_os_error(errno).to_string();
            assert!(message.contains("epoll_wait"), "{message}");
            assert!(message.contains(&expected), "{message}");
        }
    });
}

// ---- registering ------------------------------------------------------------------------------

/// E20, F05: an error of `epoll_ctl` comes out of whatever has tried to register, and nothing is left.
#[test]
fn what_cannot_be_registered_is_an_error_and_leaves_nothing() {
    watched(20, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        drop(std_pair()); // Its listener stays.
        for errno in [libc::EPERM, libc::ENOSPC, libc::ENOMEM, libc::EEXIST] {
            let before = fds();
            // The filter comes when there is a runtime.
            where_calls_fail(&[], 0, || {
                let runtime = Runtime::new().unwrap();
                let (before, guard) = (fds(), runtime.enter());
                filter::refuse_here(ctl(libc::EPOLL_CTL_ADD), errno);
                let check = |error: io::Error| {
                    let advice = error.kind() == io::ErrorKind::Unsupported;
                    assert!(is(errno)(&error) || advice && errno == libc::EPERM, "{error}");
                };
                for _ in 0..20 {
                    check(AsyncTcpStream::try_from(std_pair().0).unwrap_err());
                    check(AsyncFd::new(kernel::pipe().0).unwrap_err());
                    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
                    check(AsyncUdpSocket::try_from(udp).unwrap_err());
                    check(AsyncUnixStream::pair().unwrap_err());
                    runtime.block_on(async {
                        check(AsyncTcpStream::connect(addr).await.unwrap_err());
                        check(AsyncTcpListener::bind("127.0.0.1:0").await.unwrap_err());
                    });
                }
                assert_eq!(runtime.metrics().sources_alive, 0);
                drop(guard);
                assert_eq!(fds(), before);
                assert!(is(errno)(&Runtime::new().unwrap_err()));
                assert_eq!(fds(), before);
            });
            assert_eq!(fds(), before);
        }
    });
}

/// F05, P07: whichever call of a set-up fails, that is the error, and nothing is left.
#[test]
fn whichever_call_of_a_set_up_fails_nothing_is_left() {
    watched(30, || {
        let calls = [
            libc::SYS_socket,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_setsockopt,
            libc::SYS_connect,
            libc::SYS_accept4,
            libc::SYS_epoll_create1,
            libc::SYS_eventfd2,
            libc::SYS_timerfd_create,
            libc::SYS_epoll_ctl,
            libc::SYS_pidfd_open,
        ];
        let mut failed = [0; 11];
        for errno in [libc::ENOSYS, libc::ENOMEM, libc::EACCES] {
            for (call, failed) in calls.into_iter().zip(&mut failed) {
                let before = fds();
                *failed += where_calls_fail(&[any(call)], errno, || set_ups(is(errno)));
                assert_eq!(fds(), before, "call {call} says {errno}");
            }
        }
        assert!(failed.iter().all(|failed| *failed >= 3), "not every call was made: {failed:?}");
    });
}

/// Everything that opens something, and how much of it failed, all for the expected reason.
fn set_ups(expected: impl Fn(&io::Error) -> bool) -> u32 {
    let failed = Cell::new(0);
    let note = |result: io::Result<()>| {
        if let Err(error) = result {
            assert!(expected(&error), "{error}");
            failed.set(failed.get() + 1);
        }
    };
    note(Builder::new().self_waking_fd(true).build().map(drop));
    match Runtime::new() {
        Err(error) => note(Err(error)),
        Ok(runtime) => runtime.block_on(async {
            let bound = AsyncTcpListener::bind("127.0.0.1:0").await;
            if let Ok(listener) = &bound {
                let addr = listener.local_addr().unwrap();
                let client = AsyncTcpStream::connect(addr).await;
                if client.is_ok() {
                    note(listener.accept().await.map(drop));
                }
                note(client.map(drop));
            }
            note(bound.map(drop));
            note(AsyncUdpSocket::bind("127.0.0.1:0").await.map(drop));
            let mut child = std::process::Command::new("sleep").arg("0.02").spawn().unwrap();
            note(waken::process::wait(&mut child).await.map(drop));
            child.wait().unwrap();
            assert_eq!(runtime.metrics().sources_alive, 0);
        }),
    }
    failed.get()
}

/// F04: our own table does not depend on what the kernel says to a deregistration.
#[test]
fn ten_thousand_deregistrations_that_fail_leave_nothing() {
    watched(30, || {
        for errno in [libc::EBADF, libc::ENOENT] {
            where_calls_fail(&[ctl(libc::EPOLL_CTL_DEL)], errno, || {
                let runtime = Runtime::new().unwrap();
                let (ours, mut peer) = std_pair();
                let before = fds().len();
                for _ in 0..10_000 {
                    let _entered = runtime.enter();
                    drop(AsyncFd::new(kernel::semaphore(1)).unwrap());
                    assert_eq!(runtime.metrics().sources_alive, 0);
                }
                assert_eq!(fds().len(), before);
                // Nobody stands in the way of the next, at whatever number.
                runtime.block_on(async {
                    let ours = AsyncTcpStream::try_from(ours).unwrap();
                    assert!(timeout(millis(2), ours.read(&mut [0; 9])).await.is_err());
                    io::Write::write_all(&mut peer, b"abc").unwrap();
                    assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 3);
                });
            });
        }
    });
}

// ---- connections ------------------------------------------------------------------------------

/// K04: the call was interrupted, so the connection goes on in the background, if it was begun. Here it was not: that is
/// no success, no error and no spin.
#[test]
fn a_connect_that_was_interrupted_is_waited_for() {
    watched(20, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let before = fds();
        where_calls_fail(&[any(libc::SYS_connect)], libc::EINTR, || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                let used = cpu();
                let connecting = timeout(millis(200), AsyncTcpStream::connect(addr)).await;
                assert!(connecting.is_err(), "{connecting:?}");
                assert!(cpu() - used < millis(50));
                assert!(runtime.metrics().epoll_waits < 20, "{:?}", runtime.metrics());
                assert_eq!(runtime.metrics().sources_alive, 0);
            });
        });
        assert_eq!(fds(), before);
    });
}

/// L03: what concerns one client only is tried again, so often a poll and no more: also if it never ends, the others have their
/// turn.
#[test]
fn errors_of_single_clients_are_nobodys_errors_and_starve_nobody() {
    watched(30, || {
        for errno in OF_ONE_CLIENT {
            where_calls_fail(&[any(libc::SYS_accept4)], errno, || {
                waken::block_on(async {
                    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
                    let addr: SocketAddr = listener.local_addr().unwrap();
                    let _client = TcpStream::connect(addr).unwrap();
                    let ticks = Rc::new(Cell::new(0));
                    let counted = ticks.clone();
                    let accepting = spawn(async move { listener.accept().await.map(drop) });
                    let ticker = spawn(async move {
                        loop {
                            sleep(millis(1)).await;
                            counted.set(counted.get() + 1);
                        }
                    });
                    while ticks.get() < 5 {
                        sleep(millis(1)).await;
                    }
                    assert!(!accepting.is_finished(), "errno {errno} came out");
                    accepting.abort();
                    ticker.abort();
                });
            });
        }
    });
}
