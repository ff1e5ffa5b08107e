//! What is recorded, and what is made of it. Each test starts itself again with `WAKEN_TRACE`, runs its body there, and reads what was
//! written. Needs the feature: `cargo test --features trace --test trace`.
#![cfg(feature = "trace")]

use futures_lite::future::or;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::mem;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use waken::io::AsyncFd;
use waken::net::AsyncUnixStream;
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, Runtime, block_on, spawn};

/// Set in the process that is recorded.
const INSIDE: &str = "WAKEN_TEST_RECORDED";

/// Runs `body` in a process of its own, for the test `name`, and returns what was written by `WAKEN_TRACE=how=FILE`, and the standard
/// error. In that process: nothing.
fn recorded(name: &str, how: &str, body: impl FnOnce()) -> Option<(String, String)> {
    if env::var_os(INSIDE).is_some() {
        body();
        return None;
    }
    let file = env::temp_dir().join(format!("waken-{name}-{}", std::process::id()));
    let (kind, options) = how.split_once(':').map_or((how, ""), |(kind, options)| (kind, options));
    let options = if options.is_empty() { String::new() } else { format!(":{options}") };
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("WAKEN_TRACE", format!("{kind}={}{options}", file.display()))
        .env("WAKEN_SPIN_US", "0")
        .env(INSIDE, "")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("it hangs");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    // Aborted on purpose, or well.
    assert!(status.success() || status.signal() == Some(6), "{status}: {errors}");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    Some((text, errors))
}

/// Each of these, one after the other, with anything in between.
#[track_caller]
fn assert_in_order(log: &str, parts: &[&str]) {
    let mut rest = log;
    for part in parts {
        let Some(at) = rest.find(part) else {
            panic!("there is no `{part}` in\n{rest}\nof\n{log}")
        };
        rest = &rest[at + part.len()..];
    }
}

fn echo_once() {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            let mut stream = TcpStream::connect(address).unwrap();
            thread::sleep(Duration::from_millis(50));
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
        });
        let (stream, _) = listener.accept().await.unwrap();
        let echo = spawn(async move {
            let mut buf = [0; 100];
            loop {
                match stream.read(&mut buf).await.unwrap() {
                    0 => return,
                    n => stream.write_all(&buf[..n]).await.unwrap(),
                }
            }
        });
        echo.await.unwrap();
        client.join().unwrap();
    });
}

#[test]
fn the_log_tells_who_parks_where_and_what_wakes_it() {
    let Some((log, _)) =
        recorded("the_log_tells_who_parks_where_and_what_wakes_it", "log", echo_once)
    else {
        return;
    };
    assert_in_order(
        &log,
        &[
            "start           epoll=",
            "root  poll #1 {",
            "accept4(",
            "= EAGAIN",
            "read slot",
            "tests/trace.rs:",
            "} = Pending",
            "PARKED on fd",
            "epoll_wait(timeout=none) ...",
            "[queue 0, parked 1: root<-fd",
            "... = 1",
            " IN -> WAKE root (wake#1, queued)",
            "root  poll #2 {",
            "because wake#1 (fd",
            "t1      spawn           trace::echo_once",
            "by root",
            "root    waker -> the end of t1",
            "t1    poll #1 {",
            "recv(",
            "= EAGAIN",
            "PARKED on fd",
            "WAKE t1",
            "t1    poll #2 {",
            "= 5\n",
            "not readable any more: a short read",
            "send(",
            "= 5\n",
            "WAKE t1",
            "= 0\n",
            "epoll_ctl(DEL",
            "t1    } = Ready",
            "t1    end             finished",
            "the end of t1 -> WAKE root",
            "root  } = Ready",
            "rt    stop",
            "all checks hold",
        ],
    );
}

#[test]
fn who_has_given_up_a_read_is_parked_where_it_waits_next() {
    let body = || {
        block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            assert!(timeout(Duration::from_millis(10), listener.accept()).await.is_err());
            sleep(Duration::from_millis(10)).await;
        });
    };
    let sleeps = line!() - 3;
    let Some((log, _)) =
        recorded("who_has_given_up_a_read_is_parked_where_it_waits_next", "log", body)
    else {
        return;
    };
    let parked = log.lines().filter(|line| line.contains("PARKED on a timer"));
    let parked: Vec<&str> = parked.collect();
    assert!(matches!(parked[..], [one] if one.ends_with(&format!("trace.rs:{sleeps}"))), "{log}");
}

#[test]
fn a_far_timer_beside_events_is_told_of_by_the_alarm() {
    let body = || {
        block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let ours = AsyncUnixStream::try_from(ours).unwrap();
            thread::spawn(move || {
                for _ in 0..5 {
                    thread::sleep(Duration::from_millis(5));
                    theirs.write_all(b"!").unwrap();
                }
                mem::forget(theirs);
            });
            let reads = async {
                loop {
                    ours.read(&mut [0; 8]).await.unwrap();
                }
            };
            assert!(timeout(Duration::from_millis(200), reads).await.is_err());
        });
    };
    let name = "a_far_timer_beside_events_is_told_of_by_the_alarm";
    let Some((log, _)) = recorded(name, "log", body) else { return };
    assert_in_order(
        &log,
        &[
            "timer in ",
            "epoll_wait(timeout=",
            "timerfd_settime(",
            "epoll_wait(timeout=none)",
            "the alarm: look at the timers",
            "timer fires",
            "all checks hold",
        ],
    );
}

/// Its owner puts another descriptor into its place, which closes it, and its number is a newcomer's before it is taken out.
#[test]
fn a_descriptor_that_was_replaced_takes_nobody_elses_out_of_the_story() {
    let body = || {
        block_on(async {
            let mut replaced = AsyncFd::new(UnixStream::pair().unwrap().0).unwrap();
            *replaced.get_mut() = UnixStream::pair().unwrap().0;
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let newcomer = AsyncFd::new(ours).unwrap();
            drop(replaced);
            theirs.write_all(b"hello").unwrap();
            sleep(Duration::from_millis(10)).await;
            newcomer.readable().await.unwrap();
        });
    };
    let name = "a_descriptor_that_was_replaced_takes_nobody_elses_out_of_the_story";
    let Some((log, _)) = recorded(name, "log", body) else { return };
    assert_in_order(&log, &["registered once", "is forgotten", "fd ", " IN|OUT"]);
    assert!(!log.contains("a stale event"), "{log}");
}

/// A socket may be dropped between two turns, or inside another runtime: it goes out of the story of its own.
#[test]
fn a_socket_that_is_dropped_outside_its_runtime_goes_out_of_its_own_story() {
    let body = || {
        let (one, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let socket = || AsyncFd::new(UnixStream::pair().unwrap().0).unwrap();
        // Outside of all.
        drop(one.block_on(async { socket() }));
        // Its number again, and the first in the table of each.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let first = one.block_on(async { socket() });
        other.block_on(async {
            let waits = spawn(async move {
                let newcomer = AsyncUnixStream::try_from(ours).unwrap();
                newcomer.read(&mut [0]).await.unwrap();
            });
            yield_now().await;
            drop(first);
            sleep(Duration::from_millis(5)).await;
            theirs.write_all(b"!").unwrap();
            waits.await.unwrap();
        });
    };
    let name = "a_socket_that_is_dropped_outside_its_runtime_goes_out_of_its_own_story";
    let Some((log, _)) = recorded(name, "log", body) else { return };
    assert_eq!(log.matches("epoll_ctl(DEL").count(), 3, "{log}");
    assert!(!log.contains(" ! "), "{log}");
}

/// It has a copy of what was recorded, and of locks that others may have had.
#[test]
#[allow(unsafe_code)]
fn a_forked_child_records_nothing() {
    let body = || {
        block_on(async {
            // SAFETY: no other thread of this process holds a lock: there is libtest's main thread, which waits.
            let child = unsafe { libc::fork() };
            if child == 0 {
                waken::trace::note("in the child");
                // SAFETY: ends the child here, before it returns into the parent's tests.
                unsafe { libc::_exit(0) };
            }
            let mut status = -1;
            // SAFETY: `status` outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
            waken::trace::note("in the parent");
        });
    };
    let Some((log, _)) = recorded("a_forked_child_records_nothing", "log", body) else { return };
    assert!(log.contains("note: in the parent"), "{log}");
    assert!(!log.contains("note: in the child"), "{log}");
}

/// No wake without its poll, no poll without its wake.
#[test]
fn every_poll_but_the_first_names_its_wake() {
    let body = || {
        let runtime = Runtime::new().unwrap();
        let remote = runtime.remote();
        let done = Arc::new(AtomicU32::new(0));
        let theirs = done.clone();
        let waker = thread::spawn(move || {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(5));
                let done = theirs.clone();
                let job = remote.spawn(|| async move {
                    sleep(Duration::from_millis(1)).await;
                    done.fetch_add(1, Relaxed);
                });
                drop(job);
            }
        });
        runtime.block_on(async {
            let tasks: Vec<_> = (0..5)
                .map(|n| {
                    spawn(async move {
                        timeout(Duration::from_millis(n), sleep(Duration::from_millis(3))).await
                    })
                })
                .collect();
            for task in tasks {
                let _ = task.await.unwrap();
            }
            waken::task::yield_now().await;
            while done.load(Relaxed) < 5 {
                sleep(Duration::from_millis(3)).await;
            }
            // Whom the end of the last has woken is still to be polled.
            sleep(Duration::from_millis(3)).await;
        });
        waker.join().unwrap();
    };
    let Some((log, _)) = recorded("every_poll_but_the_first_names_its_wake", "log", body) else {
        return;
    };
    let mut woken = BTreeSet::new();
    let (mut polls, mut first) = (0, BTreeSet::new());
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("(wake#") {
            let number = rest.split([',', ')']).next().unwrap();
            assert!(woken.insert(number.to_owned()), "a wake is told twice: {line}");
        }
        if !line.contains("poll #") {
            continue;
        }
        polls += 1;
        match line.split_once("because wake#") {
            Some((_, rest)) => {
                assert!(woken.remove(rest.split(' ').next().unwrap()), "a poll by no wake: {line}")
            }
            None => {
                assert!(
                    line.contains("poll #1 {") && line.contains("for the first time"),
                    "{line}"
                );
                assert!(first.insert(line.split_whitespace().nth(1).unwrap().to_owned()), "{line}");
            }
        }
    }
    assert!(polls > 25, "{polls} polls\n{log}");
    assert!(woken.is_empty(), "of these wakes came no poll: {woken:?}");
    assert!(
        log.contains("thread 2 writes the eventfd") && log.contains("all checks hold"),
        "{log}"
    );
}

#[test]
fn a_task_whose_waker_nobody_has_is_found_and_named() {
    let body = || {
        block_on(async {
            let forgotten = spawn(poll_fn(|_| Poll::<()>::Pending));
            let kept = spawn(async { sleep(Duration::from_millis(20)).await });
            kept.await.unwrap();
            drop(forgotten);
        });
    };
    let Some((log, _)) = recorded("a_task_whose_waker_nobody_has_is_found_and_named", "log", body)
    else {
        return;
    };
    assert_in_order(
        &log,
        &[
            "t1    } = Pending",
            "PARKED on nobody",
            "! no lost waker: t1, spawned at tests/trace.rs:",
            "nobody holds its waker",
        ],
    );
    assert_eq!(log.matches("no lost waker").count(), 1, "{log}");
    assert!(log.contains(", 1 findings, "), "{log}");
}

#[test]
fn a_poll_that_holds_everybody_up_is_told_of_and_what_it_cost() {
    let body = || {
        block_on(async {
            spawn(async { thread::sleep(Duration::from_millis(20)) });
            spawn(async {}).await.unwrap();
        });
    };
    let Some((log, _)) =
        recorded("a_poll_that_holds_everybody_up_is_told_of_and_what_it_cost", "log", body)
    else {
        return;
    };
    assert_in_order(
        &log,
        &[
            "t1    poll #1",
            "t1    } = Ready",
            "? no long poll: t1 was polled for ",
            "t2    poll #1",
        ],
    );
    assert!(log.contains("all checks hold, "), "{log}");
}

#[test]
fn a_second_wake_is_shown_as_coalesced_and_a_late_one_as_nothing() {
    let body = || {
        block_on(async {
            let mut polls = 0;
            let task = spawn(poll_fn(move |cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                cx.waker().wake_by_ref();
                if polls == 2 { Poll::Ready(cx.waker().clone()) } else { Poll::Pending }
            }));
            let late = task.await.unwrap();
            late.wake();
            sleep(Duration::from_millis(10)).await; // It is nobody's, so root is not polled for it.
        });
    };
    let Some((log, _)) =
        recorded("a_second_wake_is_shown_as_coalesced_and_a_late_one_as_nothing", "log", body)
    else {
        return;
    };
    assert_in_order(
        &log,
        &[
            "itself -> WAKE t1 (wake#",
            "it runs: once more, then)",
            "itself -> wake t1 (it is queued already: nothing)",
            "woken meanwhile",
            "t1    poll #2 {",
            "t1    end             finished",
            "wake of a task that has ended: nothing",
            "all checks hold",
        ],
    );
}

#[test]
fn a_log_can_be_of_one_task_and_without_some_events() {
    let Some((log, _)) = recorded(
        "a_log_can_be_of_one_task_and_without_some_events",
        "log:task=1:-syscall",
        echo_once,
    ) else {
        return;
    };
    // A machine that has much to do makes a poll a long one.
    let is_line = |line: &&str| !line.starts_with("waken:") && !line.contains(" ? no long poll");
    let lines: Vec<&str> = log.lines().filter(is_line).collect();
    assert!(
        lines.len() > 5 && lines.iter().all(|line| line.split_whitespace().nth(1) == Some("t1")),
        "{log}"
    );
    assert!(!log.contains("recv("), "{log}");
}

#[test]
fn what_is_not_understood_is_said_and_the_program_runs() {
    let name = "what_is_not_understood_is_said_and_the_program_runs";
    if env::var_os(INSIDE).is_some() {
        block_on(async { eprintln!("it runs") });
        return;
    }
    let wanted = ["nonsense", "nothing=x", "log:task", "log=/nowhere/there"];
    for wanted in wanted.into_iter().chain(["log:-sycall", "log:task=two", "log:task=1:-"]) {
        let ran = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("WAKEN_TRACE", wanted)
            .env(INSIDE, "")
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(
            said.contains("waken: WAKEN_TRACE: ") && said.contains("it runs"),
            "{wanted}: {said}"
        );
        assert_eq!(said.lines().count(), 2, "{wanted}: {said}");
        // There is what one may have meant.
        let is_told = wanted != "log:-sycall" || said.contains(" syscall, not ready, ");
        assert!(is_told, "{said}");
    }
}

/// A number after a key of JSON's, without a parser: the lines are ours.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    Some(rest.split([',', '}']).next().unwrap().trim_matches('"'))
}

/// The rules by which Perfetto drops an arrow without a word: TEACHING calls them the flow rules.
#[test]
fn the_chrome_file_has_an_arrow_for_each_wake_and_all_its_slices_nest() {
    let Some((json, _)) = recorded(
        "the_chrome_file_has_an_arrow_for_each_wake_and_all_its_slices_nest",
        "chrome",
        echo_once,
    ) else {
        return;
    };
    assert!(json.starts_with("[\n"));
    let (mut open, mut begun): (BTreeMap<String, u32>, BTreeSet<String>) = Default::default();
    let (mut arrows, mut last) = (0, 0.0);
    for line in json.lines().skip(1) {
        assert!(line.starts_with('{') && line.ends_with("},"), "{line}");
        let (phase, row) = (field(line, "ph").unwrap(), field(line, "tid").unwrap().to_owned());
        let at: f64 = field(line, "ts").unwrap().parse().unwrap();
        assert!(phase == "M" || at + 0.002 >= last, "back in time: {line}");
        last = at.max(last);
        let open = open.entry(row).or_insert(0);
        match phase {
            "B" => *open += 1,
            "E" => {
                *open =
                    open.checked_sub(1).unwrap_or_else(|| panic!("an end without a begin: {line}"))
            }
            "s" | "f" => {
                assert!(*open > 0, "an arrow's end outside of a slice: {line}");
                let id = field(line, "id").unwrap().to_owned();
                if phase == "s" {
                    assert!(!line.contains("\"bp\""), "{line}");
                    assert!(begun.insert(id), "an id is used twice: {line}");
                } else {
                    assert!(begun.remove(&id), "an arrow that was not begun: {line}");
                    arrows += 1;
                }
            }
            "i" | "M" => {}
            other => panic!("{other}: {line}"),
        }
    }
    assert!(arrows >= 4, "{arrows} arrows");
    assert!(begun.is_empty() && open.values().all(|open| *open == 0), "{begun:?} {open:?}");
}

/// As `kill -9` would leave it: what was told before the last sleep is whole.
#[test]
fn a_page_is_whole_wherever_the_program_ends_and_small() {
    let body = || {
        echo_once();
        block_on(async {
            sleep(Duration::from_millis(1)).await;
            std::process::abort();
        });
    };
    let name = "a_page_is_whole_wherever_the_program_ends_and_small";
    let Some((page, _)) = recorded(name, "html", body) else { return };
    let (viewer, batches) = page.split_once("<script>B(").unwrap();
    let batches: Vec<&str> = batches.split("<script>B(").collect();
    assert!(batches.len() > 4, "{} batches", batches.len());
    assert!(batches.iter().all(|batch| batch.ends_with(")</script>\n")), "a batch is cut off");
    assert!(
        batches.last().unwrap().contains("epoll_wait(timeout="),
        "it does not end at the last sleep"
    );
    assert!(page.len() < 300_000, "{} bytes", page.len());
    for forbidden in ["http://", "https://", "src=", "<link", "@import", "url(h", "fetch("] {
        assert!(!viewer.contains(forbidden), "the page asks somebody for something: {forbidden}");
    }
    assert!(viewer.contains("default-src 'none'"));
}

#[test]
fn two_runtimes_are_told_apart() {
    let body = || {
        block_on(async {
            let other =
                thread::spawn(|| block_on(async { sleep(Duration::from_millis(300)).await }));
            or(sleep(Duration::MAX), sleep(Duration::from_millis(100))).await;
            other.join().unwrap();
        });
    };
    let Some((log, _)) = recorded("two_runtimes_are_told_apart", "log", body) else { return };
    assert!(log.contains(" r1 root") && log.contains(" r2 root"), "{log}");
    assert_eq!(log.matches("all checks hold").count(), 2, "{log}");
}

/// Ids of arrows are of the file, and rows of a runtime are its own.
#[test]
fn runtimes_one_after_the_other_and_at_once_share_no_wake_in_the_chrome_file() {
    let body = || {
        echo_once();
        let other = thread::spawn(echo_once);
        echo_once();
        other.join().unwrap();
    };
    let name = "runtimes_one_after_the_other_and_at_once_share_no_wake_in_the_chrome_file";
    let Some((json, _)) = recorded(name, "chrome", body) else { return };
    let (mut begun, mut runtimes): (BTreeMap<String, String>, BTreeSet<String>) =
        Default::default();
    let mut arrows = 0;
    for line in json.lines().skip(1) {
        let runtime = field(line, "pid").unwrap().to_owned();
        runtimes.insert(runtime.clone());
        match (field(line, "ph").unwrap(), field(line, "id")) {
            ("s", Some(id)) => {
                assert!(begun.insert(id.to_owned(), runtime).is_none(), "twice: {line}")
            }
            ("f", Some(id)) => {
                assert_eq!(begun.remove(id), Some(runtime), "{line}");
                arrows += 1;
            }
            _ => {}
        }
    }
    assert_eq!(runtimes.len(), 3, "{runtimes:?}");
    assert!(arrows >= 12 && begun.is_empty(), "{arrows} arrows, {begun:?}");
}

#[test]
fn a_runtime_that_was_there_before_the_recording_is_not_in_it() {
    let body = || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let task = spawn(async { waken::task::yield_now().await });
            waken::task::yield_now().await;
            let file = env::temp_dir().join(format!("waken-late-{}", std::process::id()));
            waken::trace::start(&format!("log={}", file.display())).unwrap();
            task.await.unwrap();
            sleep(Duration::from_millis(1)).await;
            assert_eq!(fs::read_to_string(&file).unwrap(), "");
            fs::remove_file(&file).unwrap();
        });
        assert!(waken::trace::report().is_clean() && waken::trace::report().events == 0);
    };
    // By itself it records nothing: what it is told to is not understood.
    let name = "a_runtime_that_was_there_before_the_recording_is_not_in_it";
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let ran = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "")
        .env_remove("WAKEN_TRACE")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// What the loop's thread has recorded is told after a while, what others have, at once; but in the order in which it was.
#[test]
fn what_threads_have_done_is_told_in_the_order_in_which_it_was() {
    let body = || {
        block_on(async {
            let mut woken = false;
            let mut wakers = Vec::new();
            let task = spawn(poll_fn(move |cx| {
                if mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                wakers.push(thread::spawn(move || waker.wake()));
                Poll::Pending
            }));
            waken::task::yield_now().await;
            // The loop has not slept since the task was spawned, and the other thread wakes it.
            thread::sleep(Duration::from_millis(100));
            task.await.unwrap();
        });
    };
    let name = "what_threads_have_done_is_told_in_the_order_in_which_it_was";
    let Some((json, _)) = recorded(name, "chrome", body) else { return };
    assert_in_order(
        &json,
        &["spawn ", "letter: wake t1", "mailbox: 1 wakes", "thread 2 -> WAKE t1"],
    );
    let times = json.lines().skip(1).filter(|line| field(line, "ph") != Some("M"));
    let times: Vec<f64> = times.map(|line| field(line, "ts").unwrap().parse().unwrap()).collect();
    // A wake is shown one nanosecond long.
    assert!(times.windows(2).all(|two| two[0] <= two[1] + 0.002), "back in time: {json}");
}

#[test]
fn who_waits_twice_at_one_socket_and_gives_up_one_is_not_lost() {
    let body = || {
        block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let task = spawn(async move {
                let (mut one, mut two) = ([0; 8], [0; 8]);
                let mut first = Box::pin(stream.read(&mut one));
                let mut second = Some(Box::pin(stream.read(&mut two)));
                poll_fn(|cx| {
                    let polled = first.as_mut().poll(cx);
                    if let Some(mut second) = second.take() {
                        assert!(second.as_mut().poll(cx).is_pending());
                    }
                    polled
                })
                .await
            });
            sleep(Duration::from_millis(30)).await;
            client.write_all(b"hello").unwrap();
            assert_eq!(task.await.unwrap().unwrap(), 5);
        });
    };
    let name = "who_waits_twice_at_one_socket_and_gives_up_one_is_not_lost";
    let Some((log, _)) = recorded(name, "log", body) else { return };
    assert_in_order(&log, &["read slot is left", "t1    } = Pending", "PARKED on fd", " readable"]);
    assert!(log.contains("all checks hold") && !log.contains("lost waker"), "{log}");
}

/// As a collection of futures does it: each has a waker of its own, which wakes the task.
#[test]
fn a_foreign_waker_is_told_as_what_it_is() {
    struct Passed(Waker);
    impl Wake for Passed {
        fn wake(self: Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    let body = || {
        block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let task = spawn(async move {
                let mut buf = [0; 8];
                let mut read = Box::pin(stream.read(&mut buf));
                let mut end = Box::pin(sleep(Duration::from_secs(10)));
                poll_fn(|cx| {
                    let passed = Waker::from(Arc::new(Passed(cx.waker().clone())));
                    let mut theirs = Context::from_waker(&passed);
                    assert!(end.as_mut().poll(&mut theirs).is_pending());
                    read.as_mut().poll(&mut theirs)
                })
                .await
            });
            sleep(Duration::from_millis(30)).await;
            client.write_all(b"hello").unwrap();
            assert_eq!(task.await.unwrap().unwrap(), 5);
        });
    };
    let Some((log, _)) = recorded("a_foreign_waker_is_told_as_what_it_is", "log", body) else {
        return;
    };
    assert_in_order(
        &log,
        &[
            ", for a foreign waker",
            "a foreign waker -> fd ",
            "PARKED on fd ",
            " readable, by a foreign waker, a timer, by a foreign waker",
            "WAKE t1",
            "all checks hold",
        ],
    );
}

#[test]
fn a_socket_that_has_the_number_of_one_dropped_elsewhere_is_told_for_itself() {
    let body = || {
        block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
            let (old, _) = listener.accept().await.unwrap();
            let number = old.as_raw_fd();
            // The letter is read in the next turn, so not before the number is another's.
            thread::spawn(move || drop(old)).join().unwrap();
            let (new, _) = listener.try_accept().unwrap();
            assert_eq!(new.as_raw_fd(), number);
            let task = spawn(async move { new.read(&mut [0; 8]).await });
            sleep(Duration::from_millis(30)).await;
            drop(clients);
            assert_eq!(task.await.unwrap().unwrap(), 0);
        });
    };
    let name = "a_socket_that_has_the_number_of_one_dropped_elsewhere_is_told_for_itself";
    let Some((log, _)) = recorded(name, "log", body) else { return };
    assert_in_order(
        &log,
        &[
            "thread 2 epoll_ctl(DEL, fd ",
            "epoll_ctl(ADD, fd ",
            "PARKED on fd",
            "what was fd ",
            " -> WAKE t1",
        ],
    );
    assert!(log.contains("all checks hold") && !log.contains("stale event"), "{log}");
}

#[test]
fn a_letter_is_told_before_it_is_taken_out_whoever_is_awake() {
    let body = || {
        block_on(async {
            // It keeps the loop awake, so that letters are taken out at any moment.
            let busy = spawn(async {
                loop {
                    waken::task::yield_now().await;
                }
            });
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let wakes = |waker: Waker| move || (0..60_000).for_each(|_| waker.wake_by_ref());
            let threads: Vec<_> = (0..3).map(|_| thread::spawn(wakes(waker.clone()))).collect();
            while !threads.iter().all(|thread| thread.is_finished()) {
                sleep(Duration::from_millis(1)).await;
            }
            busy.abort();
        });
    };
    let name = "a_letter_is_told_before_it_is_taken_out_whoever_is_awake";
    let Some((json, _)) = recorded(name, "chrome", body) else { return };
    assert!(json.contains("letter: wake root") && json.contains("-> WAKE root"));
    // One whose hook stood behind the lock showed in every third run or so.
    let of_nobody = json.lines().filter(|line| line.contains("another thread -> WAKE")).count();
    assert_eq!(of_nobody, 0, "wakes by letters that nobody had put in");
}

/// What does not pause is written all the same, in pieces.
#[test]
fn a_task_that_never_lets_the_loop_sleep_is_in_the_page() {
    let body = || {
        block_on(async {
            for _ in 0..2000 {
                waken::task::yield_now().await;
            }
            std::process::abort();
        });
    };
    let name = "a_task_that_never_lets_the_loop_sleep_is_in_the_page";
    let Some((page, _)) = recorded(name, "html", body) else { return };
    assert!(page.contains("poll #1000 {"), "it was kept back");
}
