//! Children: waiting for their end, and talking to them through their pipes.
mod support;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{cpu, fds, watched};
use waken::io::AsyncFd;
use waken::process::wait;
use waken::time::{sleep, timeout};
use waken::{JoinSet, block_on, spawn};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child whose output is cut off, so that it does not mix with the test's.
fn quiet(script: &str) -> Child {
    shell(script).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_child_is_waited_for_without_blocking_anybody_else() {
    watched(20, || {
        block_on(async {
            let mut child = quiet("sleep 1; exit 7");
            let ticks = spawn(async {
                for _ in 0..10 {
                    sleep(Duration::from_millis(5)).await;
                }
            });
            let start = Instant::now();
            ticks.await.unwrap();
            assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
            assert_eq!(wait(&mut child).await.unwrap().code(), Some(7));
        });
    });
}

#[test]
fn a_child_that_has_ended_before_is_reported_at_once_and_again() {
    watched(20, || {
        let mut child = quiet("exit 3");
        thread::sleep(Duration::from_millis(50));
        block_on(async {
            assert_eq!(wait(&mut child).await.unwrap().code(), Some(3));
            assert_eq!(wait(&mut child).await.unwrap().code(), Some(3));
        });
    });
}

#[test]
fn a_child_that_a_signal_ends_says_so() {
    watched(20, || {
        block_on(async {
            let mut child = quiet("exec sleep 100");
            child.kill().unwrap();
            assert_eq!(wait(&mut child).await.unwrap().signal(), Some(libc::SIGKILL));
        });
    });
}

#[test]
fn a_wait_that_is_given_up_costs_nothing_and_can_be_made_again() {
    watched(20, || {
        block_on(async {
            let mut child = quiet("read line || sleep 0.3; exit 5");
            let before = fds();
            for _ in 0..20 {
                timeout(Duration::from_millis(2), wait(&mut child)).await.unwrap_err();
            }
            assert_eq!(fds(), before);
            let before = cpu();
            assert_eq!(wait(&mut child).await.unwrap().code(), Some(5));
            assert!(cpu() - before < Duration::from_millis(50), "it spins while it waits");
            assert!(waken::runtime::metrics().sources_alive == 0);
        });
    });
}

#[test]
fn fifty_children_at_once_are_all_waited_for() {
    watched(60, || {
        block_on(async {
            let mut set = JoinSet::new();
            for n in 0..50 {
                set.spawn(async move {
                    let mut child = quiet(&format!("sleep 0.0{}; exit {n}", n % 10));
                    (n, wait(&mut child).await.unwrap().code())
                });
            }
            while let Some(ended) = set.join_next().await {
                let (n, code) = ended.unwrap();
                assert_eq!(code, Some(n));
            }
        });
    });
}

#[test]
fn a_megabyte_goes_through_a_child_and_back() {
    watched(60, || {
        block_on(async {
            let mut child =
                shell("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut stdin = AsyncFd::new(child.stdin.take().unwrap()).unwrap();
            let mut stdout = AsyncFd::new(child.stdout.take().unwrap()).unwrap();
            let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
            let expected = sent.clone();
            spawn(async move {
                stdin.write_all(&sent).await.unwrap();
                drop(stdin); // The end of file that `cat` waits for.
            });
            let mut got = Vec::new();
            stdout.read_to_end(&mut got).await.unwrap();
            assert!(got == expected, "{} bytes came back, or other ones", got.len());
            assert!(wait(&mut child).await.unwrap().success());
        });
    });
}

#[test]
fn waiting_closes_the_standard_input_that_the_child_still_waits_for() {
    watched(20, || {
        block_on(async {
            let mut child = shell("cat > /dev/null; exit 4").stdin(Stdio::piped()).spawn().unwrap();
            assert_eq!(wait(&mut child).await.unwrap().code(), Some(4));
        });
    });
}

#[test]
fn outside_of_a_runtime_it_is_an_error_that_says_so() {
    watched(20, || {
        let mut child = quiet("sleep 0.1");
        let error = futures_lite::future::block_on(wait(&mut child)).unwrap_err();
        assert!(error.to_string().contains("waken::block_on"), "{error}");
        child.wait().unwrap();
    });
}

#[test]
fn the_wait_graph_names_the_line_that_waits_for_a_child() {
    watched(20, || {
        block_on(async {
            let mut child = quiet("exec sleep 100");
            let pid = child.id() as i32;
            let task = spawn(async move { wait(&mut child).await.map(|_| ()) });
            sleep(Duration::from_millis(20)).await;
            let shown = waken::runtime::tasks()[0].to_string();
            assert!(shown.contains("readable (tests/process.rs:"), "{shown}");
            // SAFETY: a system call on our own child.
            #[allow(unsafe_code)]
            let killed = unsafe { libc::kill(pid, libc::SIGKILL) };
            assert_eq!(killed, 0);
            task.await.unwrap().unwrap();
        });
    });
}

/// F11.
#[test]
fn no_descriptor_of_ours_is_inherited_by_a_child() {
    watched(20, || {
        block_on(async {
            let listener = waken::AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let udp = waken::net::AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
            let unix = waken::net::AsyncUnixStream::pair().unwrap();
            let script = "for fd in /proc/self/fd/*; do readlink $fd; done";
            let out = shell(script).output().unwrap();
            let out = String::from_utf8_lossy(&out.stdout);
            let ours = |line: &&str| line.contains("socket:") || line.contains("anon_inode");
            assert_eq!(out.lines().find(ours), None, "{out}");
            drop((listener, udp, unix));
        });
    });
}

/// G06: whatever else becomes of a child, or of its descriptor, is not taken for its end.
#[test]
fn a_child_that_is_stopped_and_continued_has_not_ended() {
    watched(20, || {
        block_on(async {
            let mut child = quiet("exec sleep 100");
            let pid = child.id() as i32;
            #[allow(unsafe_code)]
            // SAFETY: a system call on our own child, which is not waited for yet.
            let signal = move |signal| assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
            let waiting = spawn(async move { wait(&mut child).await });
            let polls = waken::runtime::metrics().polls;
            for _ in 0..20 {
                signal(libc::SIGSTOP);
                sleep(Duration::from_millis(1)).await;
                signal(libc::SIGCONT);
                sleep(Duration::from_millis(1)).await;
            }
            assert!(!waiting.is_finished());
            // The first poll takes a new descriptor for ready, as it does every one, and asks the child itself.
            assert!(waken::runtime::metrics().polls - polls <= 3);
            signal(libc::SIGKILL);
            assert_eq!(waiting.await.unwrap().unwrap().signal(), Some(libc::SIGKILL));
        });
    });
}
