//! What stays on one thread and needs no network.

use super::{on_a_runtime, pattern};
use crate::harness::{TRIES, attempt, attempt_async, done, expect, look, told};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};
use waken::io::{AsyncFd, Interest};
use waken::net::AsyncUnixStream;
use waken::runtime::Next;
use waken::time::{interval, sleep, timeout};
use waken::{Runtime, spawn};

const MS: Duration = Duration::from_millis(1);

/// Runtimes are made, used for a moment, and end.
pub fn make() {
    expect(6);
    for i in 0..6 {
        let builder = Runtime::builder().self_waking_fd(i % 2 == 0);
        let runtime = attempt("new", || builder.clone().build());
        let task = runtime.spawn(async { 7 });
        if runtime.block_on(task).unwrap() == 7 {
            done();
        }
        look(&runtime);
    }
}

/// Sleeps are not early, and end.
pub fn timers() {
    on_a_runtime(async || {
        expect(10);
        for i in 1..=8 {
            let (start, length) = (Instant::now(), i * MS / 2);
            sleep(length).await;
            assert!(start.elapsed() >= length, "early: {:?}", start.elapsed());
            done();
        }
        let mut ticks = interval(MS);
        for _ in 0..4 {
            ticks.tick().await;
        }
        done();
        timeout(MS, std::future::pending::<()>()).await.unwrap_err();
        done();
    });
}

/// Descriptors of any kind: both ends of a pipe.
pub fn pipes() {
    on_a_runtime(async || {
        expect(2);
        const ALL: usize = 200_000; // Three times what a pipe holds.
        let (reader, writer) = std::io::pipe().unwrap();
        // A clone for each try, since a constructor that fails keeps what it was given, and closes it.
        let mut reader =
            attempt("fd", || AsyncFd::with_interest(reader.try_clone()?, Interest::READABLE));
        let mut ours = attempt("fd", || AsyncFd::new(writer.try_clone()?));
        drop(writer);
        let writes = spawn(async move {
            let bytes = pattern(1, ALL);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let part = rest.len().min(30_000);
                let n = attempt_async("write", async || ours.write(&rest[..part]).await).await;
                rest = &rest[n..];
            }
            done();
        });
        let (mut all, mut buf) = (Vec::new(), vec![0; 20_000]);
        loop {
            match attempt_async("read", async || reader.read(&mut buf).await).await {
                0 => break,
                n => all.extend_from_slice(&buf[..n]),
            }
        }
        assert!(all == pattern(1, ALL), "other bytes have come");
        done();
        writes.await.unwrap();
    });
}

/// Inside a loop that waits for the runtime's descriptor alone.
pub fn embed() {
    expect(4);
    let runtime = attempt("new", || Runtime::builder().self_waking_fd(true).build());
    let sleeps = runtime.spawn(async {
        for _ in 0..4 {
            sleep(2 * MS).await;
        }
        done();
    });
    let yields = runtime.spawn(async {
        for _ in 0..20 {
            waken::task::yield_now().await;
        }
        done();
    });
    let guard = runtime.enter();
    let (one, other) = attempt("pair", AsyncUnixStream::pair);
    drop(guard);
    let talks = runtime.spawn(async move {
        let mut buf = [0; 4];
        attempt_async("read", async || one.read_exact(&mut buf).await).await;
        done();
    });
    let remote = runtime.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(5 * MS);
        let spawned = remote.spawn(move || async move {
            attempt_async("write", async || other.write_all(b"ping").await).await;
            done();
        });
        drop(spawned);
    });
    let mut fd = libc::pollfd { fd: runtime.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut failures = 0;
    while !(thread.is_finished() && runtime.next_turn() == Next::Idle) {
        // Until its thread has ended nothing may be alive for a moment.
        let patience = if runtime.next_turn() == Next::Idle { 1 } else { -1 };
        // SAFETY: one valid `pollfd`.
        unsafe { libc::poll(&raw mut fd, 1, patience) };
        if let Err(error) = runtime.turn(Some(Duration::ZERO)) {
            told("turn", &error);
            failures += 1;
            assert!(failures < TRIES, "turn has failed {TRIES} times");
        }
    }
    thread.join().unwrap();
    drop((sleeps, yields, talks));
    look(&runtime);
}

/// A child is waited for.
pub fn process() {
    on_a_runtime(async || {
        expect(3);
        for _ in 0..3 {
            let mut child = Command::new("sleep").arg("0.01").spawn().unwrap();
            let status =
                attempt_async("wait", async || waken::process::wait(&mut child).await).await;
            if status.success() {
                done();
            }
        }
    });
}

pub fn signals() {
    on_a_runtime(async || {
        expect(4);
        let mut signals =
            attempt("signals", || waken::signal::Signals::new([libc::SIGUSR2, libc::SIGHUP]));
        for signal in [libc::SIGUSR2, libc::SIGHUP, libc::SIGUSR2, libc::SIGHUP] {
            spawn(async move {
                sleep(MS).await;
                // SAFETY: a signal to ourselves, which has a handler.
                unsafe { libc::raise(signal) };
            });
            assert_eq!(signals.next().await, signal);
            done();
        }
    });
}
