//! Signals that interrupt system calls, by a handler that does not restart them: nobody notices.
#![allow(unsafe_code)] // A signal handler, and a timer that raises the signal on one thread.
#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::{millis, std_pair};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{cpu, guard, watched};
use waken::net::{AsyncUdpSocket, AsyncUnixStream};
use waken::time::{interval, sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn catch(_: libc::c_int) {
    CAUGHT.fetch_add(1, SeqCst);
}

/// From now on this thread is interrupted once in each `period`, for as long as it lives.
fn interrupt_this_thread(period: Duration) {
    // SAFETY: plain integers and pointers, for which zero is "none": also no `SA_RESTART`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = catch as *const () as usize;
    // SAFETY: the action lives, and its handler touches one atomic.
    let set = unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, ptr::null_mut()) };
    // SAFETY: as above.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGUSR2;
    // SAFETY: a call without memory.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = ptr::null_mut();
    let (clock, place) = (libc::CLOCK_MONOTONIC, &raw mut timer);
    // SAFETY: the event and the place for the timer live.
    let made = unsafe { libc::timer_create(clock, &raw mut event, place) };
    let period = libc::timespec { tv_sec: 0, tv_nsec: period.subsec_nanos().into() };
    let setting = libc::itimerspec { it_interval: period, it_value: period };
    // SAFETY: the timer was just made, and the setting lives.
    let started = unsafe { libc::timer_settime(timer, 0, &raw const setting, ptr::null_mut()) };
    let error = std::io::Error::last_os_error();
    assert_eq!((set, made, started), (0, 0, 0), "{error}");
}

/// E15, G07: a wait that was interrupted goes on for what is left of it.
#[test]
fn a_thousand_signals_a_second_neither_end_nor_prolong_a_sleep() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        interrupt_this_thread(millis(1));
        runtime.block_on(async {
            // Something is registered, or the kernel would not be asked for anything else than the time.
            let (_ours, _peer) = support::pair().await.unwrap();
            let (start, used, before) = (Instant::now(), cpu(), runtime.metrics());
            sleep(millis(500)).await;
            let (slept, used, after) = (start.elapsed(), cpu() - used, runtime.metrics());
            let caught = CAUGHT.load(SeqCst);
            assert!(caught > 20, "{caught} signals");
            // If each signal began it anew, it would have no end; how late it is otherwise is the machine's affair.
            assert!(slept >= millis(500) && slept < millis(5_000), "{slept:?}");
            // Each signal is one more call, and nobody is woken for it.
            assert!(after.epoll_waits - before.epoll_waits <= caught + 20, "{before:?} {after:?}");
            // Those of the registrations may have been under way.
            assert!(after.polls == before.polls && after.epoll_events <= before.epoll_events + 2);
            assert!(used < slept / 2, "{used:?}");
        });
        // Without a deadline there is nothing to be prolonged; a wake from elsewhere still ends it.
        let remote = runtime.remote();
        let waking = thread::spawn(move || {
            thread::sleep(millis(100));
            drop(remote.spawn(|| async {}));
        });
        let join = runtime.spawn(async { sleep(millis(150)).await });
        runtime.block_on(join).unwrap();
        waking.join().unwrap();
    });
}

/// S10, E15, G07: no operation fails of it, none is done twice, and no byte is lost.
#[test]
fn ten_thousand_signals_a_second_disturb_no_operation() {
    guard(60).cpu_ms(1_500).run(|| {
        let runtime = Runtime::new().unwrap();
        // The peer's thread is not interrupted: it is std's.
        let (ours, mut peer) = std_pair();
        let echo = thread::spawn(move || {
            let mut from = peer.try_clone().unwrap();
            std::io::copy(&mut from, &mut peer).unwrap()
        });
        interrupt_this_thread(Duration::from_micros(100));
        runtime.block_on(async {
            let ours = AsyncTcpStream::try_from(ours).unwrap();
            let ticking = spawn(async {
                let mut interval = interval(millis(1));
                for _ in 0..100 {
                    interval.tick().await;
                }
            });
            // Round trips, and much at once.
            for round in 0..2_000u32 {
                ours.write_all(&round.to_ne_bytes()).await.unwrap();
                let mut got = [0; 4];
                ours.read_exact(&mut got).await.unwrap();
                assert_eq!(u32::from_ne_bytes(got), round);
            }
            let sent: Vec<u8> = (0..8u32 << 20).map(|n| (n % 251) as u8).collect();
            let mut received = vec![0; sent.len()];
            let (written, read) =
                futures_lite::future::zip(ours.write_all(&sent), ours.read_exact(&mut received))
                    .await;
            written.and(read).unwrap();
            assert!(received == sent);
            drop(ours);
            ticking.await.unwrap();

            // Connections, and what else makes calls.
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            for round in 0..200u8 {
                let client = AsyncTcpStream::connect(addr).await.unwrap();
                let (server, from) = listener.accept().await.unwrap();
                assert_eq!(from, client.local_addr().unwrap());
                client.write_all(&[round]).await.unwrap();
                let mut got = [0];
                server.read_exact(&mut got).await.unwrap();
                assert_eq!(got, [round]);
            }
            let by_name = AsyncTcpStream::connect(("localhost", addr.port())).await.unwrap();
            drop((listener.accept().await.unwrap(), by_name));
            let (one, other) = AsyncUnixStream::pair().unwrap();
            let (udp, there) = (
                AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap(),
                AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap(),
            );
            let to = there.local_addr().unwrap();
            for round in 0..200u8 {
                one.write_all(&[round; 3]).await.unwrap();
                udp.send_to(&[round; 3], to).await.unwrap();
                let (mut stream, mut datagram) = ([0; 3], [0; 3]);
                other.read_exact(&mut stream).await.unwrap();
                let received = timeout(millis(5000), there.recv(&mut datagram)).await;
                assert_eq!(received.expect("lost").unwrap(), 3);
                assert_eq!((stream, datagram), ([round; 3], [round; 3]));
            }
            let mut child = Command::new("sleep").arg("0.05").spawn().unwrap();
            assert!(waken::process::wait(&mut child).await.unwrap().success());
            // With the poll traits as well.
            let (ours, mut peer) = support::pair().await.unwrap();
            ours.write_all(b"through the traits").await.unwrap();
            drop(ours);
            let mut text = String::new();
            futures_lite::AsyncReadExt::read_to_string(&mut peer, &mut text).await.unwrap();
            assert_eq!(text, "through the traits");
        });
        assert!(echo.join().unwrap() == (8 << 20) + 8_000);
        assert!(CAUGHT.load(SeqCst) > 500, "{} signals", CAUGHT.load(SeqCst));
        // A call of std's on this thread would have said `Interrupted`: it is not that nothing happens.
        let (mut blocking, _peer) = std_pair();
        blocking.set_read_timeout(Some(millis(2000))).unwrap();
        let interrupted = TcpStream::read(&mut blocking, &mut [0]).unwrap_err();
        assert_eq!(interrupted.kind(), std::io::ErrorKind::Interrupted);
        drop(Write::flush(&mut blocking));
    });
}
