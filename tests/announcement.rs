//! A wake that comes while the kernel, or what stands in for it, interrupts the call that announces it.
mod support;

use libc::{c_int, c_void, size_t, ssize_t};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use support::watched;
use waken::Runtime;

/// How many of the next writes of 8 bytes, as to an eventfd, are interrupted.
static INTERRUPTIONS: AtomicU32 = AtomicU32::new(0);

/// Takes the place of libc's in this whole program.
///
/// # Safety
/// As write(2).
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buf: *const c_void, count: size_t) -> ssize_t {
    let one_less = |left: u32| left.checked_sub(1);
    if count == 8 && INTERRUPTIONS.fetch_update(SeqCst, SeqCst, one_less).is_ok() {
        // SAFETY: it has no requirements.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: the place of this thread's `errno`, which lives as long as the thread.
        unsafe { *errno = libc::EINTR };
        return -1;
    }
    // SAFETY: what the caller has promised.
    unsafe { libc::syscall(libc::SYS_write, fd, buf, count) as ssize_t }
}

/// W17: an interrupted write to the eventfd is made again.
#[test]
fn a_wake_whose_announcement_is_interrupted_is_not_lost() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let (remote, is_over) = (runtime.remote(), Arc::new(AtomicBool::new(false)));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            for i in 0..5 {
                // Until it sleeps, so that its sleep has to be ended.
                thread::sleep(Duration::from_millis(2));
                INTERRUPTIONS.store(3, SeqCst);
                assert_eq!(remote.spawn(move || async move { i }).unwrap().join().unwrap(), i);
            }
            over.store(true, SeqCst);
            remote.wake();
        });
        runtime.block_on(poll_fn(|_| match is_over.load(SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }));
        thread.join().unwrap();
        assert_eq!(INTERRUPTIONS.load(SeqCst), 0, "nothing was interrupted");
    });
}
