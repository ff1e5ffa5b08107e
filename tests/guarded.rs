//! What goes wrong only when several things come together: guards, forks, filters, errors at once.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]
#[path = "support/filter.rs"]
mod filter;
mod support;
use filter::{Call, OF_ONE_CLIENT, refuse_here};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::*;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Runtime, spawn, time::*};

/// R04.
#[test]
fn a_guard_held_across_an_await_by_the_root_is_a_panic_that_says_so() {
    guard(5).panics().run(|| {
        let (a, b) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let held = std::panic::AssertUnwindSafe(|| {
            a.block_on(async {
                let _guard = b.enter();
                waken::task::yield_now().await;
            });
        });
        let message = panic_message(std::panic::catch_unwind(held).unwrap_err());
        assert!(message.contains("held across an `.await`"), "{message}");
        assert_eq!(a.block_on(async { 1 }), 1, "and the runtime works on");
    })
}

/// R04.
#[test]
fn a_guard_held_across_an_await_by_a_task_ends_that_task_alone() {
    guard(5).panics().run(|| {
        let (a, b) = (Runtime::new().unwrap(), Rc::new(Runtime::new().unwrap()));
        let b2 = b.clone();
        let ran = Rc::new(Cell::new(0));
        let r = ran.clone();
        let bt = b.spawn(async move { r.set(1) });
        let t = a.spawn(async move {
            let _g = b2.enter();
            waken::task::yield_now().await;
        });
        let error = a.block_on(t).unwrap_err();
        assert!(error.to_string().contains("held across an `.await`"), "{error}");
        b.block_on(bt).unwrap();
        assert_eq!(ran.get(), 1);
    })
}

#[test]
fn guards_dropped_out_of_order_panic_and_leave_nobody_current() {
    guard(5).panics().run(|| {
        let (a, b) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let g1 = a.enter();
        let g2 = b.enter();
        for guard in [g1, g2] {
            let dropped = std::panic::AssertUnwindSafe(|| drop(guard));
            let message = panic_message(std::panic::catch_unwind(dropped).unwrap_err());
            assert!(message.contains("reverse order"), "{message}");
        }
        drop(a);
        let spawned = std::panic::catch_unwind(|| drop(spawn(async {})));
        assert!(spawned.is_err(), "spawned on a runtime that has ended");
    })
}

#[test]
fn a_guard_dropped_out_of_order_by_the_root_is_a_panic_that_says_so() {
    guard(5).panics().run(|| {
        let [a, b, c] = [(); 3].map(|()| Runtime::new().unwrap());
        let held = std::panic::AssertUnwindSafe(|| {
            a.block_on(async {
                let (first, second) = (b.enter(), c.enter());
                let dropped = std::panic::AssertUnwindSafe(|| drop(first));
                assert!(std::panic::catch_unwind(dropped).is_err());
                std::mem::forget(second);
                waken::task::yield_now().await;
            });
        });
        let message = panic_message(std::panic::catch_unwind(held).unwrap_err());
        assert!(message.contains("held across an `.await`"), "{message}");
        for runtime in [a, b, c] {
            assert_eq!(runtime.block_on(async { 1 }), 1, "and all work on");
        }
    })
}

#[test]
fn a_write_half_dropped_in_a_forked_child_leaves_the_parents_connection() {
    watched(5, || {
        let rt = Runtime::new().unwrap();
        let (mut client, writer, reader) = rt.block_on(async {
            let l = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let c = std::net::TcpStream::connect(l.local_addr().unwrap()).unwrap();
            let (s, _) = l.accept().await.unwrap();
            let (r, w) = s.into_split();
            (c, w, r)
        });
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(writer);
            drop(reader);
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        unsafe { libc::waitpid(pid, &mut status, 0) };
        use std::io::Read;
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let got = client.read(&mut [0; 8]);
        let wrote = rt.block_on(writer.as_ref().write_all(b"hi"));
        println!("peer read: {got:?}; parent wrote: {wrote:?}");
        assert!(got.is_err(), "the peer of the parent saw an end of file");
        drop(reader);
    })
}

#[test]
fn an_address_family_that_is_missing_does_not_end_a_connect() {
    watched(5, || {
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let v4 = l.local_addr().unwrap();
        // As with `ipv6.disable=1`.
        let ipv6 = Some((0, libc::AF_INET6 as u32));
        refuse_here(Call(libc::SYS_socket, ipv6), libc::EAFNOSUPPORT);
        let v6 = std::net::SocketAddr::new("::1".parse().unwrap(), v4.port());
        assert!(std::net::TcpStream::connect(&[v6, v4][..]).is_ok(), "std does");
        waken::block_on(async { AsyncTcpStream::connect(&[v6, v4][..]).await.map(drop).unwrap() });
    })
}

/// E16, N06, P07: milliseconds are rounded up, so the loop does not spin through the rest of one.
#[test]
fn timers_work_where_a_filter_forbids_the_newest_call() {
    watched(5, || {
        refuse_here(Call(libc::SYS_epoll_pwait2, None), libc::EPERM);
        let runtime = Runtime::builder().spin(Duration::ZERO).build().unwrap();
        for _ in 0..10 {
            let start = Instant::now();
            runtime.block_on(sleep(Duration::from_micros(1500)));
            assert!(start.elapsed() >= Duration::from_micros(1500), "{:?}", start.elapsed());
        }
        let waits = runtime.metrics().epoll_waits;
        assert!(waits <= 30, "{waits} waits for ten sleeps");
    })
}

/// L03: a client that has gone again, and the errors of its network, are no errors of the listener: `accept` asks for the
/// next one, and when they are many it lets the others have their turn.
#[test]
fn an_error_of_a_client_does_not_come_out_of_accept() {
    watched(10, || {
        waken::block_on(async {
            let l = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = std::net::TcpStream::connect(l.local_addr().unwrap()).unwrap();
            for error in OF_ONE_CLIENT.into_iter().chain([libc::EINTR]) {
                refuse_here(Call(libc::SYS_accept4, None), error);
                let accepted = timeout(Duration::from_millis(5), l.accept()).await;
                assert!(accepted.is_err(), "{error}: {accepted:?}");
            }
            refuse_here(Call(libc::SYS_accept4, None), libc::EINVAL);
            let broken = l.accept().await.unwrap_err();
            assert_eq!(broken.raw_os_error(), Some(libc::EINVAL), "the listener's own error does");
        })
    })
}

/// K03, K04, k10: after a signal the connection goes on by itself; and a socket that is writable and has no error is not
/// connected, unless it has a peer. Here it never was: the call is answered, and not made.
#[test]
fn a_connect_that_a_signal_interrupts_waits_for_its_peer_without_spinning() {
    watched(5, || {
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = l.local_addr().unwrap();
        refuse_here(Call(libc::SYS_connect, None), libc::EINTR);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let connecting = spawn(AsyncTcpStream::connect(addr)).abort_on_drop();
            let connected = timeout(Duration::from_millis(50), connecting).await;
            assert!(connected.is_err(), "{connected:?}");
        });
        let polls = runtime.metrics().polls;
        assert!(polls <= 4, "{polls} polls of a connect that waits");
    })
}

/// D03: a sleep of a task of B that was registered with A (polled under `a.enter()`), when A ends.
#[test]
fn a_timer_whose_runtime_ends_wakes_whoever_waits() {
    watched(5, || {
        let a = Runtime::new().unwrap();
        waken::block_on(async move {
            let mut s = std::pin::pin!(sleep(Duration::from_millis(50)));
            let mut a = Some(a);
            let start = Instant::now();
            std::future::poll_fn(|cx| match a.take() {
                Some(a) => {
                    let g = a.enter();
                    assert!(s.as_mut().poll(cx).is_pending());
                    drop(g);
                    drop(a);
                    std::task::Poll::Pending
                }
                None => s.as_mut().poll(cx),
            })
            .await;
            assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
        })
    })
}

#[test]
fn an_accept_that_pauses_is_told_of_anothers_success() {
    watched(20, || {
        waken::block_on(async {
            let l = Rc::new(AsyncTcpListener::bind("127.0.0.1:0").await.unwrap());
            let addr = l.local_addr().unwrap();
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(std::net::TcpStream::connect(addr).unwrap());
            }
            let lim = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &lim) };
            let mut hold = Vec::new();
            while let Ok(f) = std::fs::File::open("/dev/null") {
                hold.push(f);
                if hold.len() > 100_000 {
                    break;
                }
            }
            for _ in 0..8 {
                assert!(l.accept().await.is_err());
            } // pause is 1 s now
            hold.clear();
            let l2 = l.clone();
            let waiting = spawn(async move {
                let s = Instant::now();
                l2.accept().await.map(drop).unwrap();
                s.elapsed()
            });
            waken::task::yield_now().await;
            waken::task::yield_now().await;
            l.try_accept().map(drop).unwrap(); // success: "a success resets it"
            let waited = waiting.await.unwrap();
            assert!(waited < Duration::from_millis(300), "waited {waited:?}");
        })
    })
}

#[test]
fn detach_all_leaks_no_endings() {
    watched(20, || {
        waken::block_on(async {
            let mut set = JoinSet::new();
            for _ in 0..3 {
                for _ in 0..10 {
                    set.spawn(async {});
                }
                set.detach_all();
                waken::task::yield_now().await;
                waken::task::yield_now().await;
            }
            assert!(set.join_next().await.is_none());
        })
    });
}
