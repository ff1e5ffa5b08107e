//! A loop that is not ours: poll(2), which knows nothing of runtimes.
#![allow(dead_code, unreachable_pub, unsafe_code)] // Each test file uses some of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};
use waken::Runtime;

/// Longer than anything takes that does happen.
pub const LONG: Duration = Duration::from_secs(8);

/// Waits until one of `fds` is readable, for at most `at_most`, and says which are.
pub fn poll(fds: &[BorrowedFd<'_>], at_most: Duration) -> Vec<bool> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let timeout_ms = at_most.as_nanos().div_ceil(1_000_000) as libc::c_int;
    // SAFETY: the entries live, and are as many as is said.
    let n = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) };
    let error = io::Error::last_os_error();
    assert!(n >= 0 || error.kind() == io::ErrorKind::Interrupted, "{error}");
    polled.iter().map(|fd| fd.revents & libc::POLLIN != 0).collect()
}

/// Waits until `what` is readable, for at most `at_most`.
pub fn is_readable(what: &impl AsFd, at_most: Duration) -> bool {
    poll(&[what.as_fd()], at_most)[0]
}

/// Waits for the runtime's descriptor alone, and turns when it is readable, until `done`. Returns how often it was.
pub fn drive(runtime: &Runtime, mut done: impl FnMut() -> bool) -> u32 {
    let mut turns = 0;
    while !done() {
        assert!(is_readable(runtime, LONG), "the descriptor tells nobody: {runtime:?}");
        runtime.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
    }
    turns
}

/// Turns as long as the descriptor says so, which must have an end.
pub fn drain(runtime: &Runtime) {
    let mut turns = 0;
    while is_readable(runtime, Duration::ZERO) {
        runtime.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        assert!(turns < 1000, "readable for ever: {runtime:?}");
    }
}

/// How often the runtime's descriptor is found readable within `time`, with a turn each time.
pub fn turns_within(runtime: &Runtime, time: Duration) -> u32 {
    let (end, mut turns) = (Instant::now() + time, 0);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if is_readable(runtime, left) {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            turns += 1;
        }
    }
    turns
}
