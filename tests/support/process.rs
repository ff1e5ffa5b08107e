//! What the guard asks the kernel about a process: this one, and the child in which a body runs.
#![allow(dead_code, unreachable_pub, unsafe_code)] // Each test file uses some of it.

use std::ffi::{c_int, c_long};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

fn check(result: c_int) -> c_int {
    assert_ne!(result, -1, "{}", io::Error::last_os_error());
    result
}

// ---- this one ---------------------------------------------------------------------------------

/// From now on this process does not survive the thread that has started it.
pub fn end_with_parent() {
    // SAFETY: a call on numbers alone.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) });
    assert_ne!(parent_id(), 1, "whoever has started this process has ended already");
}

/// Lets this process have as many descriptors as it may: many shells begin with 1,024.
pub fn allow_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
    limit.rlim_cur = limit.rlim_max.min(20_000);
    // SAFETY: the limit lives.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) });
}

/// CPU time of this process, with all its threads, and of its children that were waited for.
pub fn cpu_of_all() -> Duration {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .map(|who| {
            let mut usage = no_usage();
            // SAFETY: the place to write to lives.
            check(unsafe { libc::getrusage(who, &raw mut usage) });
            cpu_in(&usage)
        })
        .iter()
        .sum()
}

fn no_usage() -> libc::rusage {
    // SAFETY: plain integers.
    unsafe { mem::zeroed() }
}

fn cpu_in(usage: &libc::rusage) -> Duration {
    let [user, system] = [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000));
    user + system
}

/// How many threads this process has.
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Waits until no thread of this process runs but this one, for a second at most.
pub fn until_others_sleep() {
    let end = Instant::now() + Duration::from_secs(1);
    let running = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        stats.filter(|stat| fields_of(stat).is_some_and(|(_, fields)| fields[0] == "R")).count()
    };
    while running() > 1 && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether there is a child, running or not, that nobody has waited for.
pub fn has_children() -> bool {
    // SAFETY: plain integers and pointers, for which zero is "none".
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the place to write to lives.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, look) };
    result == 0
}

// ---- the child --------------------------------------------------------------------------------

/// A file without a name, for what a child prints.
pub fn scratch() -> File {
    // SAFETY: the name lives, and ends in 0.
    let fd = check(unsafe { libc::memfd_create(c"guard".as_ptr(), libc::MFD_CLOEXEC) });
    // SAFETY: the call has just opened it, so nobody else owns it.
    unsafe { File::from_raw_fd(fd) }
}

/// All that was written to it.
pub fn text(mut scratch: File) -> String {
    let mut bytes = Vec::new();
    scratch.rewind().unwrap();
    scratch.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `child` ends within `limit`.
pub fn ends_within(child: &Child, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    // SAFETY: a call on numbers alone.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) } as c_int);
    // SAFETY: the call has just opened it, so nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut polled = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // SAFETY: there is one entry, and it lives.
        let n = unsafe { libc::poll(&raw mut polled, 1, left.as_millis() as c_int + 1) };
        let error = io::Error::last_os_error();
        match n {
            -1 => assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{error}"),
            0 if left.is_zero() => return false,
            0 => {}
            _ => return true,
        }
    }
}

/// Waits for `child`: how it has ended, and the CPU time of all its life.
pub fn reap(child: Child) -> (ExitStatus, Duration) {
    let (mut status, mut usage) = (0, no_usage());
    // SAFETY: the places to write to live. The child is ours, and was not waited for: it is moved in here.
    check(unsafe { libc::wait4(child.id() as c_int, &raw mut status, 0, &raw mut usage) });
    (ExitStatus::from_raw(status), cpu_in(&usage))
}

/// Ends `child`, and what it has started.
pub fn end(child: &mut Child) {
    let started = children_of(child.id());
    child.kill().unwrap();
    for id in started {
        // SAFETY: a call on numbers alone.
        let _gone = unsafe { libc::kill(id, libc::SIGKILL) };
    }
}

fn children_of(parent: u32) -> Vec<libc::pid_t> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        fields_of(&stat).is_some_and(|(_, fields)| fields[1] == parent.to_string())
    })
    .collect()
}

/// What each thread of `child` does at the moment, a line for each.
pub fn threads_of(child: &Child) -> Vec<String> {
    // SAFETY: a call on numbers alone.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1);
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats.filter_map(|stat| line_of(&stat, per_second)).collect()
}

fn line_of(stat: &str, per_second: c_long) -> Option<String> {
    let (name, fields) = fields_of(stat)?;
    let ticks = fields[11].parse::<c_long>().ok()? + fields[12].parse::<c_long>().ok()?;
    let does = match fields[0] {
        "R" => "runs",
        "S" | "D" => "sleeps",
        other => other,
    };
    Some(format!("thread `{name}` {does}, after {:.2} s of CPU", ticks as f64 / per_second as f64))
}

/// The name, and what stands behind it in proc_pid_stat(5): the state, the parent, …, and the two times.
fn fields_of(stat: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    (fields.len() > 12).then_some((name, fields))
}
