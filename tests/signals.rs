//! Signals: none that comes after `new` is missed, and nobody is disturbed. Feature `signal`.
#![cfg(feature = "signal")]
#[path = "support/raw.rs"]
mod raw;
mod support;

use futures_lite::StreamExt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::{Guard, cpu, eventually, fds};
use waken::signal::{Signals, ctrl_c};
use waken::time::{sleep, timeout};
use waken::{Runtime, block_on, spawn};

/// Sends a signal to this process. Which of its threads it interrupts, and when, the kernel decides.
#[allow(unsafe_code)]
fn send(signal: i32) {
    let process = std::process::id() as i32;
    // SAFETY: a system call without memory.
    let sent = unsafe { libc::kill(process, signal) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

/// Sends a signal to this thread, which has handled it when this returns, raise(3).
#[allow(unsafe_code)]
fn raise(signal: i32) {
    // SAFETY: a call without memory.
    let sent = unsafe { libc::raise(signal) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

/// The guard of a test that listens to so many signals.
fn guard(seconds: u64, signals: usize) -> Guard {
    let why = "`signal-hook-registry` keeps its table, and a handler for each signal that was listened to";
    support::guard(seconds).keeps_bytes(200 + 250 * signals, why)
}

#[test]
fn a_signal_that_was_sent_wakes_the_runtime_that_sleeps() {
    guard(20, 2).run(|| {
        block_on(async {
            let mut signals = Signals::new([libc::SIGTERM, libc::SIGUSR1]).unwrap();
            thread::spawn(|| {
                thread::sleep(Duration::from_millis(50));
                send(libc::SIGTERM);
            });
            assert_eq!(signals.next().await, libc::SIGTERM);
            send(libc::SIGUSR1);
            assert_eq!(StreamExt::next(&mut signals).await, Some(libc::SIGUSR1));
        });
    });
}

/// G05: it counts from `new` on.
#[test]
fn one_that_comes_before_anybody_waits_is_not_lost() {
    guard(20, 2).run(|| {
        block_on(async {
            let mut signals = Signals::new([libc::SIGUSR2]).unwrap();
            send(libc::SIGUSR2);
            sleep(Duration::from_millis(10)).await;
            assert_eq!(signals.next().await, libc::SIGUSR2);
            let next = timeout(Duration::from_millis(30), signals.next());
            assert!(next.await.is_err(), "one signal is one");
        });
    });
}

/// G01.
#[test]
fn of_a_thousand_signals_at_least_one_comes_and_one_more_after_the_last() {
    guard(30, 2).run(|| {
        block_on(async {
            let mut signals = Signals::new([libc::SIGUSR1]).unwrap();
            for _ in 0..1000 {
                raise(libc::SIGUSR1);
            }
            assert_eq!(signals.next().await, libc::SIGUSR1);
            raise(libc::SIGUSR1);
            assert_eq!(signals.next().await, libc::SIGUSR1);
            let before = cpu();
            assert!(timeout(Duration::from_millis(200), signals.next()).await.is_err());
            assert!(cpu() - before < Duration::from_millis(50), "it spins");
        });
    });
}

#[test]
fn several_signals_at_once_all_come() {
    guard(20, 4).run(|| {
        block_on(async {
            let all = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM];
            let mut signals = Signals::new(all).unwrap();
            all.into_iter().rev().for_each(send);
            let mut got = [0; 4];
            for got in &mut got {
                *got = signals.next().await;
            }
            assert_eq!(got, [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM]);
        });
    });
}

#[test]
fn the_first_and_the_last_signal_there_are_come_too() {
    guard(20, 2).run(|| {
        block_on(async {
            let mut signals = Signals::new([libc::SIGHUP, libc::SIGRTMAX()]).unwrap();
            send(libc::SIGRTMAX());
            assert_eq!(signals.next().await, libc::SIGRTMAX());
            send(libc::SIGHUP);
            assert_eq!(signals.next().await, libc::SIGHUP);
        });
    });
}

#[test]
fn each_of_two_listeners_in_two_runtimes_gets_the_signal() {
    guard(20, 2).run(|| {
        static READY: AtomicBool = AtomicBool::new(false);
        let other = thread::spawn(|| {
            block_on(async {
                let mut signals = Signals::new([libc::SIGUSR1]).unwrap();
                READY.store(true, SeqCst);
                signals.next().await
            })
        });
        block_on(async {
            let mut signals = Signals::new([libc::SIGUSR1]).unwrap();
            let mut second = Signals::new([libc::SIGUSR1]).unwrap();
            eventually("the other listens", || READY.load(SeqCst));
            send(libc::SIGUSR1);
            assert_eq!(signals.next().await, libc::SIGUSR1);
            assert_eq!(second.next().await, libc::SIGUSR1);
        });
        assert_eq!(other.join().unwrap(), libc::SIGUSR1);
    });
}

#[test]
fn ctrl_c_counts_from_its_call() {
    guard(20, 2).run(|| {
        block_on(async {
            let stop = ctrl_c();
            send(libc::SIGINT);
            stop.await.unwrap();
        });
    });
}

/// As in `block_on(ctrl_c())`: the future is there before the runtime.
#[test]
fn a_ctrl_c_that_is_called_before_its_runtime_is_there_counts_from_its_first_poll() {
    guard(20, 2).run(|| {
        let mut stop = std::pin::pin!(ctrl_c());
        block_on(async {
            assert!(futures_lite::future::poll_once(stop.as_mut()).await.is_none());
            send(libc::SIGINT);
            stop.await.unwrap();
        });
    });
}

#[test]
fn what_fails_outside_of_a_runtime_leaves_the_default_as_it_is() {
    guard(20, 0).run(|| {
        let caught = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            status.lines().find(|line| line.starts_with("SigCgt")).unwrap().to_owned()
        };
        let before = caught();
        assert!(Signals::new([libc::SIGUSR1]).is_err());
        drop(ctrl_c());
        assert_eq!(caught(), before, "a handler was installed, and nobody will hear of the signal");
    });
}

/// G04: the default does not come back, as the documentation says.
#[test]
fn dropped_listeners_leave_nothing_behind_and_the_signal_does_not_end_the_process() {
    guard(30, 2).run(|| {
        let runtime = Runtime::new().unwrap();
        // The first may open what the library keeps for ever.
        drop(runtime.block_on(async { Signals::new([libc::SIGTERM]).unwrap() }));
        let before = fds();
        for _ in 0..100 {
            drop(runtime.block_on(async { Signals::new([libc::SIGTERM]).unwrap() }));
        }
        assert_eq!(fds(), before);
        assert_eq!(runtime.metrics().sources_alive, 0);
        send(libc::SIGTERM);
    });
}

#[test]
fn what_no_handler_may_catch_is_refused_with_a_sentence() {
    guard(20, 2).run(|| {
        block_on(async {
            for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 65, 1000] {
                let error = Signals::new([libc::SIGUSR1, signal]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{signal}: {error}");
                assert!(error.to_string().contains("cannot be handled"), "{error}");
            }
            assert_eq!(waken::runtime::metrics().sources_alive, 0);
        });
        let error = Signals::new([libc::SIGUSR1]).unwrap_err();
        assert!(error.to_string().contains("waken::block_on"), "{error}");
    });
}

/// G02, E15: a storm of signals loses no timer, no byte, and no `errno`.
#[test]
fn a_storm_of_signals_disturbs_nobody() {
    guard(60, 2).run(|| {
        static STOP: AtomicBool = AtomicBool::new(false);
        block_on(async {
            let mut signals = Signals::new([libc::SIGUSR1]).unwrap();
            let counted = spawn(async move {
                let mut count = 0u32;
                while timeout(Duration::from_millis(300), signals.next()).await.is_ok() {
                    count += 1;
                }
                count
            });
            let storm = thread::spawn(|| {
                while !STOP.load(SeqCst) {
                    send(libc::SIGUSR1);
                    thread::sleep(Duration::from_micros(200));
                }
            });
            let (one, other) = support::pair().await.unwrap();
            let sent = spawn(async move {
                for n in 0..2000u32 {
                    one.write_all(&n.to_ne_bytes()).await.unwrap();
                    if n % 100 == 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            });
            let mut kept: Vec<Box<[u8]>> = Vec::new();
            for n in 0..2000u32 {
                let mut got = [0; 4];
                other.read_exact(&mut got).await.unwrap();
                assert_eq!(u32::from_ne_bytes(got), n);
                kept.push(vec![1; 1 + n as usize % 512].into());
                let error = std::fs::File::open("/nowhere").unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
            }
            sent.await.unwrap();
            STOP.store(true, SeqCst);
            storm.join().unwrap();
            assert!(counted.await.unwrap() > 5);
        });
    });
}

/// G03: a forked child has the descriptors of its parent. Its signals are its own, and the parent neither hears of them nor spins.
#[test]
fn what_a_forked_child_catches_is_not_told_to_its_parent() {
    guard(20, 1).run(|| {
        block_on(async {
            let mut signals = Signals::new([libc::SIGUSR1]).unwrap();
            let before = cpu();
            let ended = raw::in_a_fork(|| {
                (0..100).for_each(|_| raise(libc::SIGUSR1));
                7
            });
            assert_eq!(ended, 7);
            assert!(timeout(Duration::from_millis(200), signals.next()).await.is_err());
            assert!(cpu() - before < Duration::from_millis(50), "it spins");
            // Its own still come.
            raise(libc::SIGUSR1);
            assert_eq!(signals.next().await, libc::SIGUSR1);
        });
    });
}

/// G05: a child that is started while signals are caught has them all unblocked, and as they are by default.
#[test]
fn a_child_inherits_neither_a_mask_nor_a_handler() {
    guard(20, 5).run(|| {
        let shown = || {
            let script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
            let out = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        let before = shown();
        assert!(before.contains("SigBlk:\t0000000000000000"), "{before}");
        block_on(async {
            // Not SIGHUP: `nohup cargo test` ignores that one, and a handler ends it, also for children.
            let all = [libc::SIGALRM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM, libc::SIGCHLD];
            let mut signals = Signals::new(all).unwrap();
            assert_eq!(shown(), before);
            // Children end, and that is a signal: others' waiting for theirs is not disturbed.
            assert_eq!(signals.next().await, libc::SIGCHLD);
            let mut child = std::process::Command::new("true").spawn().unwrap();
            assert!(waken::process::wait(&mut child).await.unwrap().success());
        });
    });
}
