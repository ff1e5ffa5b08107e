//! A clock that stands still until it is told to go on, for this thread: so a timer that is a nanosecond early or late is
//! seen, an hour costs nothing, and an input does the same thing each time.
//!
//! Whoever asks libc for the monotonic clock is given this one, std's `Instant` and the runtime included. All other
//! threads, and all other clocks, are real.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// In nanoseconds; 0: the real one.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Stops the clock, at a time that has nothing special about it. Goes on being real when dropped.
pub struct Stopped(());

pub fn stop() -> Stopped {
    NOW.set(1_000_000 * 1_000_000_000);
    Stopped(())
}

impl Stopped {
    pub fn advance(&self, by: Duration) {
        NOW.set(NOW.get() + by.as_nanos() as u64);
    }

    /// The last time that an `Instant` can hold: it counts seconds in an `i64`.
    pub fn end_of_time(&self) -> Instant {
        let now = Duration::from_nanos(NOW.get());
        Instant::now() + (Duration::new(i64::MAX as u64, 999_999_999) - now)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        NOW.set(0);
    }
}

/// In place of libc's function of this name.
///
/// # Safety
/// As clock_gettime(2): `time` is to point to a `timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let now = match clock {
        // A thread that ends may ask when its own variables are gone.
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE => {
            NOW.try_with(Cell::get).unwrap_or(0)
        }
        _ => 0,
    };
    if now == 0 {
        // SAFETY: the arguments are passed on as they came.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int };
    }
    let value = libc::timespec {
        tv_sec: (now / 1_000_000_000) as libc::time_t,
        tv_nsec: (now % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: the caller promises a place for it.
    unsafe { time.write(value) };
    0
}
