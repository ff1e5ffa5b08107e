//! Every system call, and every `unsafe` block of the crate.
//!
//! What it exports is safe in Rust's sense with any arguments. Whose descriptor it is, the callers know, who
//! own it. It knows no task, no source and no timer. Each wrapper is named after its call
//! and cites nothing else than the call's own manual page.

use std::ffi::{c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::Relaxed};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

pub(crate) use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};

/// One spelling for every call that can fail: the result, or what `errno` says.
macro_rules! syscall {
    ($call:ident($first:expr $(, $argument:expr)* $(,)?)) => {{
        // SAFETY: every use below passes pointers to live local values of the type and length
        // that the call's manual page asks for; the kernel keeps none of them after it returns.
        let result = unsafe { libc::$call($first $(, $argument)*) };
        let result = if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) };
        trace!(Call { name: stringify!($call), first: $first as i64, result: result.as_ref().map(|&it| it as i64).map_err(|it| it.raw_os_error().unwrap_or(0)) });
        result
    }};
}

#[cfg(feature = "trace")]
mod errno;
#[cfg(feature = "hyper")]
mod hyper;
mod process;
#[cfg(feature = "signal")]
mod signal;
mod socket;
mod timerfd;

#[cfg(feature = "trace")]
pub(crate) use errno::{errno_name, is_would_block};
#[cfg(feature = "hyper")]
pub(crate) use hyper::*;
pub(crate) use process::*;
#[cfg(feature = "signal")]
pub(crate) use signal::*;
pub(crate) use socket::*;
pub(crate) use timerfd::TimerFd;

// ---- epoll(7) ---------------------------------------------------------------------------------

/// The kernel's interest table, with a 64-bit datum of ours beside each descriptor.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    #[doc(alias = "epoll_create1")]
    pub(crate) fn new() -> io::Result<Epoll> {
        let fd = syscall!(epoll_create1(libc::EPOLL_CLOEXEC))?;
        Ok(Epoll(own(fd)))
    }

    /// Registers `fd` edge-triggered, once, for what `bits` say.
    #[doc(alias = "epoll_ctl")]
    pub(crate) fn add(&self, fd: RawFd, bits: i32, datum: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (bits | libc::EPOLLET) as u32, u64: datum };
        syscall!(epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event))?;
        Ok(())
    }

    /// Before `close`, always: a duplicate of the descriptor would keep the registration alive.
    #[doc(alias = "epoll_ctl")]
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        syscall!(epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, ptr::null_mut()))?;
        Ok(())
    }

    /// Waits until something is ready, or for `timeout` (`None`: for ever), never less than that. Returns
    /// how many events there are.
    #[doc(alias = "epoll_wait")]
    #[inline]
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        match timeout {
            None => self.wait_ms(events, -1),
            Some(Duration::ZERO) => self.wait_ms(events, 0),
            Some(timeout) => self.wait_ns(events, timeout),
        }
    }

    #[inline]
    fn wait_ms(&self, events: &mut Events, timeout_ms: c_int) -> io::Result<usize> {
        let (buffer, capacity) = (events.0.as_mut_ptr(), events.0.len() as c_int);
        let n = syscall!(epoll_wait(self.0.as_raw_fd(), buffer, capacity, timeout_ms))?;
        Ok(n as usize)
    }

    /// Counts nanoseconds (Linux 5.11). Where the call is missing, milliseconds, rounded up.
    #[doc(alias = "epoll_pwait2")]
    fn wait_ns(&self, events: &mut Events, timeout: Duration) -> io::Result<usize> {
        static MISSING: AtomicBool = AtomicBool::new(false);
        let whole_ms = || timeout.as_nanos().div_ceil(1_000_000).min(c_int::MAX as u128) as c_int;
        if MISSING.load(Relaxed) {
            return self.wait_ms(events, whole_ms());
        }
        let (buffer, capacity) = (events.0.as_mut_ptr(), events.0.len() as c_int);
        let at_most = libc::timespec {
            tv_sec: timeout.as_secs().min(u32::MAX as u64) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let (fd, no_mask) = (self.0.as_raw_fd(), ptr::null::<c_void>());
        let call = libc::SYS_epoll_pwait2;
        match syscall!(syscall(call, fd, buffer, capacity, &raw const at_most, no_mask, 0)) {
            // EPERM: a filter of system calls that does not know this one.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                MISSING.store(true, Relaxed);
                self.wait_ms(events, whole_ms())
            }
            result => Ok(result? as usize),
        }
    }
}

#[cfg(feature = "trace")]
impl Epoll {
    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The buffer that `epoll_wait` fills.
pub(crate) struct Events(Vec<libc::epoll_event>);

impl Events {
    pub(crate) fn with_capacity(capacity: usize) -> Events {
        // epoll_wait(2) refuses 0, and more than INT_MAX / sizeof(struct epoll_event).
        let capacity = capacity.clamp(1, 1 << 16);
        Events(vec![libc::epoll_event { events: 0, u64: 0 }; capacity])
    }

    pub(crate) fn capacity(&self) -> usize {
        self.0.len()
    }

    /// `(datum, bits)` of the first `n`. Copied out: the struct is packed, so no reference to a field.
    pub(crate) fn first(&self, n: usize) -> impl Iterator<Item = (u64, i32)> {
        self.0[..n].iter().map(|event| (event.u64, event.events as i32))
    }
}

// ---- eventfd(2) -------------------------------------------------------------------------------

/// A descriptor that another thread makes ready. Edge-triggered, so it is never read: each write is an edge.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    #[doc(alias = "eventfd")]
    pub(crate) fn new() -> io::Result<EventFd> {
        let fd = syscall!(eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
        Ok(EventFd(own(fd)))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    #[cfg(feature = "signal")]
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Never blocks, since it is non-blocking, and never fails: there is room for 2^64 - 2 signals. Linux does not
    /// interrupt it either, but what stands between us and Linux may, and whoever waits would wait for ever.
    #[inline(never)] // It is seldom needed, and nobody is to save registers for it who only might.
    pub(crate) fn signal(&self) {
        let (fd, value) = (self.0.as_raw_fd(), 1u64);
        let write = || syscall!(write(fd, (&raw const value).cast(), size_of::<u64>()));
        while write().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    }
}

/// Owns what the kernel has just handed out.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: called only with the result of a call that opens a descriptor, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes reads and writes say `WouldBlock` where they would wait. For all duplicates of the descriptor.
#[doc(alias = "fcntl")]
#[doc(alias = "O_NONBLOCK")]
pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    let flags = syscall!(fcntl(fd, libc::F_GETFL))?;
    if flags & libc::O_NONBLOCK == 0 {
        syscall!(fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

// ---- the process and its clock ----------------------------------------------------------------

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Which process this is: how often it was forked since `count_forks`. A load, where `getpid` is a call.
pub(crate) fn process() -> u32 {
    FORKS.load(Relaxed)
}

extern "C" fn in_the_child() {
    FORKS.store(FORKS.load(Relaxed).wrapping_add(1), Relaxed);
}

#[doc(alias = "pthread_atfork")]
pub(crate) fn count_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler only touches an atomic, so it may run in the child of a threaded process.
        unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
}

/// A clock that is a few milliseconds behind and costs next to nothing, in units of 2^20 ns, clock_gettime(2).
#[doc(alias = "CLOCK_MONOTONIC_COARSE")]
#[inline]
pub(crate) fn coarse_clock() -> u32 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // It cannot fail: the clock is there since Linux 2.6.32.
    // SAFETY: it writes to `now`, which lives.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    ((now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64) >> 20) as u32
}

/// How long ago `then` was. Right for 52 days; then ages start anew.
pub(crate) fn coarse_age(then: u32) -> Duration {
    Duration::from_nanos(u64::from(coarse_clock().wrapping_sub(then)) << 20)
}

// ---- two things std has no safe form of -------------------------------------------------------

/// Whether clones of wakers are counted: for who looks on.
pub(crate) const COUNTS_CLONES: bool = cfg!(any(debug_assertions, feature = "trace"));

/// What a waker that is a number does when it is woken.
pub(crate) trait WakeNumber: Sized + 'static {
    /// The one table of this kind. A `static`, so that `Waker::will_wake` can compare addresses.
    fn table() -> &'static NumberTable<Self>;
    fn wake(number: u64);
    /// A clone was made, or dropped. Told if clones are counted.
    fn count(number: u64, made: bool);
}

/// The vtable of a waker that is a number. Its functions are safe: none ever follows the "pointer".
pub(crate) struct NumberTable<W>(RawWakerVTable, PhantomData<fn(W)>);

impl<W: WakeNumber> NumberTable<W> {
    pub(crate) const fn new() -> NumberTable<W> {
        const { assert!(size_of::<*const ()>() == size_of::<u64>(), "waken needs a 64-bit target") };
        fn clone<W: WakeNumber>(data: *const ()) -> RawWaker {
            if COUNTS_CLONES {
                W::count(data.addr() as u64, true);
            }
            RawWaker::new(data, &W::table().0)
        }
        fn wake<W: WakeNumber>(data: *const ()) {
            W::wake(data.addr() as u64);
            drop::<W>(data);
        }
        fn wake_by_ref<W: WakeNumber>(data: *const ()) {
            W::wake(data.addr() as u64);
        }
        fn drop<W: WakeNumber>(data: *const ()) {
            if COUNTS_CLONES {
                W::count(data.addr() as u64, false);
            }
        }
        let table = RawWakerVTable::new(clone::<W>, wake::<W>, wake_by_ref::<W>, drop::<W>);
        NumberTable(table, PhantomData)
    }

    /// The number behind `waker`, if it is one of this table's.
    pub(crate) fn number_of(&'static self, waker: &Waker) -> Option<u64> {
        ptr::eq(waker.vtable(), &self.0).then(|| waker.data().addr() as u64)
    }
}

pub(crate) fn number_waker<W: WakeNumber>(number: u64) -> Waker {
    let data = ptr::without_provenance(number as usize);
    // SAFETY: all four functions are safe, so any data is valid for them, on any thread and for
    // ever; clone copies word and table, wake and wake_by_ref do the same, drop has nothing to free.
    unsafe { Waker::new(data, &W::table().0) }
}

/// A source location that can be replaced while others read it: an atomic `Option<&'static Location>`.
#[derive(Default)]
pub(crate) struct AtomicLocation(AtomicPtr<Location<'static>>);

impl AtomicLocation {
    pub(crate) fn set(&self, location: Option<&'static Location<'static>>) {
        self.0.store(location.map_or(ptr::null_mut(), |at| ptr::from_ref(at).cast_mut()), Relaxed);
    }

    pub(crate) fn get(&self) -> Option<&'static Location<'static>> {
        // SAFETY: null, or what `set` was given: a shared reference that is valid for ever. The
        // pointee is constant data of the binary, so no ordering is needed to see it whole.
        unsafe { self.0.load(Relaxed).as_ref() }
    }
}
