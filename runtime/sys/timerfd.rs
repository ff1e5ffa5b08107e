//! A timer that is a descriptor. Part of `sys.rs`, by whose macro it is made.

use super::own;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// A descriptor that becomes ready by itself, timerfd_create(2). Edge-triggered, so it is never read.
#[derive(Debug)]
pub(crate) struct TimerFd(OwnedFd);

impl TimerFd {
    #[doc(alias = "timerfd_create")]
    pub(crate) fn new() -> io::Result<TimerFd> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        Ok(TimerFd(own(syscall!(timerfd_create(libc::CLOCK_MONOTONIC, flags))?)))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Lets it become ready after `left`, at once when that is nothing, or with `None` never.
    #[doc(alias = "timerfd_settime")]
    pub(crate) fn set(&self, left: Option<Duration>) -> io::Result<()> {
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = left.map_or(never, |left| libc::timespec {
            tv_sec: left.as_secs().min(u32::MAX as u64) as libc::time_t,
            tv_nsec: (left.subsec_nanos() as libc::c_long).max(1),
        });
        let new = libc::itimerspec { it_interval: never, it_value: value };
        syscall!(timerfd_settime(self.0.as_raw_fd(), 0, &raw const new, ptr::null_mut()))?;
        Ok(())
    }
}
