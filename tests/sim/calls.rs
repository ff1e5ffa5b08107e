//! The seam: libc's functions, defined once more by this program. The linker prefers a program's own symbols to those of a shared
//! library, for the runtime and for std alike, so what they call is this. On a thread that simulates, descriptors from
//! `FIRST_FD` on, and the clock, belong to the simulated kernel; all else goes on to the real one.
#![allow(unsafe_code)]

use crate::kernel::{self, FIRST_FD, Kernel};
use crate::outside;
use std::ffi::{CStr, c_int, c_long, c_uint, c_ulong, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// The function of the same name that comes after ours: libc's.
fn next(place: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let mut found = place.load(Relaxed);
    if found.is_null() {
        // SAFETY: the name ends in 0.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        assert!(!found.is_null(), "libc has no {name:?}, or is not a shared library");
        place.store(found, Relaxed);
    }
    found
}

/// One function: what it says of a simulated descriptor, or else what libc's says. libc's takes what comes after `;` as
/// variable arguments.
macro_rules! function {
    ($name:ident ($($arg:ident: $Arg:ty),* $(; $($more:ident: $More:ty),+)?) -> $Result:ty, if $ours:expr, $answer:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $Arg,)* $($($more: $More),+)?) -> $Result {
            if $ours {
                return $answer as $Result;
            }
            type Next = function!(@ $Result, [$($Arg),*] [$($($More),+)?]);
            static NEXT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
            let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
            let next = next(&NEXT, name.unwrap_or_default());
            // SAFETY: libc's function of this name has this type.
            let next: Next = unsafe { std::mem::transmute(next) };
            // SAFETY: with the caller's own arguments.
            unsafe { next($($arg,)* $($($more),+)?) }
        }
    };
    (@ $Result:ty, [$($Arg:ty),*] []) => { unsafe extern "C" fn($($Arg),*) -> $Result };
    (@ $Result:ty, [$($Arg:ty),*] [$($More:ty),+]) => { unsafe extern "C" fn($($Arg,)* ...) -> $Result };
}

/// Whether a descriptor is simulated.
fn ours(fd: c_int) -> bool {
    fd >= FIRST_FD
}

/// What a call returns: a number, or an errno, negative.
fn answer(result: i64) -> i64 {
    if result >= 0 {
        return result;
    }
    // SAFETY: it is this thread's own, always.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as said.
    unsafe { *errno = -result as c_int };
    -1
}

/// A call that the rest of the world may come in between: right before its effect, or right after.
fn call(effect: impl FnOnce(&mut Kernel) -> i64) -> i64 {
    outside::comes_between();
    let result = kernel::with(effect);
    outside::comes_between();
    answer(result)
}

fn bytes<'a>(at: *const c_void, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller of a system call says that so many bytes are there.
    unsafe { slice::from_raw_parts(at.cast(), length) }
}

fn room<'a>(at: *mut c_void, length: usize) -> &'a mut [u8] {
    if length == 0 {
        return &mut [];
    }
    // SAFETY: the caller of a system call says that there is so much room.
    unsafe { slice::from_raw_parts_mut(at.cast(), length) }
}

fn vector<'a>(at: *const libc::iovec, length: usize) -> &'a [libc::iovec] {
    // SAFETY: the caller of a system call says that there are so many.
    unsafe { slice::from_raw_parts(at, length) }
}

/// Stores what a call gives out beside its result.
fn give<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller of a system call gives a place for it, which need not be aligned.
        unsafe { to.write_unaligned(value) }
    }
}

function!(epoll_create1(flags: c_int) -> c_int, if kernel::is_on(), answer(kernel::with(|k| k.epoll_create(flags))));

function!(epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int, if ours(epoll), {
    if !kernel::is_on() {
        outside::note(outside::Deed::Deregister(fd));
        return 0;
    }
    // SAFETY: the caller's event, or null with `EPOLL_CTL_DEL`.
    let event = (!event.is_null()).then(|| unsafe { event.read_unaligned() });
    call(|k| k.epoll_ctl(op, fd, event.map_or((0, 0), |event| (event.events, event.u64))))
});

fn wait(events: *mut libc::epoll_event, most: c_int, timeout_ns: Option<u64>) -> i64 {
    let result = outside::sleep(most as usize, timeout_ns);
    if let Ok(found) = &result {
        for (n, (bits, datum)) in found.iter().enumerate() {
            give(events.wrapping_add(n), libc::epoll_event { events: *bits, u64: *datum });
        }
    }
    answer(result.map_or_else(|errno| -i64::from(errno), |found| found.len() as i64))
}

function!(epoll_wait(epoll: c_int, events: *mut libc::epoll_event, most: c_int, timeout_ms: c_int) -> c_int, if ours(epoll), {
    wait(events, most, (timeout_ms >= 0).then(|| timeout_ms as u64 * 1_000_000))
});

// Its callers give as many arguments as the call has; what is read beyond them is passed on and never looked at.
function!(syscall(number: c_long; a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long,
    if number == libc::SYS_epoll_pwait2 && ours(a as c_int), {
        // SAFETY: the caller's timeout, epoll_pwait2(2).
        let timeout = unsafe { (d as *const libc::timespec).read() };
        let ns = timeout.tv_sec as u64 * 1_000_000_000 + timeout.tv_nsec as u64;
        wait(b as *mut libc::epoll_event, c as c_int, Some(ns))
    }
);

function!(eventfd(value: c_uint, flags: c_int) -> c_int, if kernel::is_on(), answer(kernel::with(|k| k.eventfd(value, flags))));

function!(timerfd_create(clock: c_int, flags: c_int) -> c_int, if kernel::is_on(), answer(kernel::with(|k| k.timerfd(clock))));

function!(timerfd_settime(fd: c_int, flags: c_int, new: *const libc::itimerspec, old: *mut c_void) -> c_int, if ours(fd), {
    // SAFETY: the caller's setting, timerfd_settime(2).
    let libc::timespec { tv_sec, tv_nsec } = unsafe { new.read() }.it_value;
    let left_ns = tv_sec as u64 * 1_000_000_000 + tv_nsec as u64;
    call(|k| k.set_timer(fd, left_ns))
});

function!(socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int, if kernel::is_on(), call(|k| k.socket(domain, kind)));

function!(connect(fd: c_int, address: *const c_void, length: c_uint) -> c_int, if ours(fd), call(|k| k.connect(fd)));

function!(accept4(fd: c_int, address: *mut c_void, length: *mut c_uint, flags: c_int) -> c_int, if ours(fd), {
    let result = call(|k| k.accept(fd, flags));
    if result >= 0 {
        peer_address(address, length);
    }
    result
});

function!(getpeername(fd: c_int, address: *mut c_void, length: *mut c_uint) -> c_int, if ours(fd), {
    let result = call(|k| k.peer_name(fd));
    if result >= 0 {
        peer_address(address, length);
    }
    result
});

fn peer_address(address: *mut c_void, length: *mut c_uint) {
    // SAFETY: plain numbers, for which zero is "none".
    let mut peer: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    (peer.sin_family, peer.sin_port) = (libc::AF_INET as u16, 4711);
    give(address.cast(), peer);
    give(length, size_of::<libc::sockaddr_in>() as c_uint);
}

function!(getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut c_uint) -> c_int, if ours(fd), {
    let answer = call(|k| match name {
        libc::SO_ACCEPTCONN => k.is_listening(fd),
        _ => k.take_error(fd),
    });
    give(value.cast::<c_int>(), answer as c_int);
    0
});

function!(recv(fd: c_int, to: *mut c_void, length: usize, flags: c_int) -> isize, if ours(fd),
call(|k| match flags & libc::MSG_OOB {
    0 => k.read(fd, &mut [room(to, length)], flags & libc::MSG_PEEK != 0),
    _ => k.read_urgent(fd),
}));

function!(read(fd: c_int, to: *mut c_void, length: usize) -> isize, if ours(fd),
    call(|k| k.read(fd, &mut [room(to, length)], false)));

function!(readv(fd: c_int, to: *const libc::iovec, count: c_int) -> isize, if ours(fd), {
    let parts = vector(to, count as usize).iter();
    let mut parts: Vec<&mut [u8]> = parts.map(|part| room(part.iov_base, part.iov_len)).collect();
    call(|k| k.read(fd, &mut parts, false))
});

function!(send(fd: c_int, from: *const c_void, length: usize, flags: c_int) -> isize, if ours(fd),
    call(|k| k.write(fd, &[bytes(from, length)], flags)));

function!(sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize, if ours(fd), {
    // SAFETY: the caller's message.
    let message = unsafe { message.read() };
    let parts = vector(message.msg_iov, message.msg_iovlen).iter();
    let parts: Vec<&[u8]> = parts.map(|part| bytes(part.iov_base, part.iov_len)).collect();
    call(|k| k.write(fd, &parts, flags))
});

function!(write(fd: c_int, from: *const c_void, length: usize) -> isize, if ours(fd), {
    if !kernel::is_on() {
        outside::note(outside::Deed::Signal(fd));
        return length as isize;
    }
    call(|k| match k.is_eventfd(fd) {
        true => k.signal(fd),
        false => k.write(fd, &[bytes(from, length)], 0),
    })
});

function!(shutdown(fd: c_int, how: c_int) -> c_int, if ours(fd), call(|k| k.shutdown(fd, how)));

function!(close(fd: c_int) -> c_int, if ours(fd), {
    if !kernel::is_on() {
        outside::note(outside::Deed::Close(fd));
        return 0;
    }
    call(|k| k.close(fd))
});

function!(fcntl(fd: c_int, op: c_int; value: usize) -> c_int, if ours(fd), {
    // On the other thread it is std, which looks in debug builds whether what it closes is open.
    if kernel::is_on() { answer(kernel::with(|k| k.fcntl(fd, op, value as c_int))) } else { 0 }
});

function!(ioctl(fd: c_int, op: c_ulong; value: *mut c_void) -> c_int, if ours(fd), {
    assert_eq!(op, libc::FIONBIO, "the only one that is asked for");
    answer(kernel::with(|k| k.fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK)))
});

function!(clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int, if kernel::is_on(), {
    let ns = kernel::with(Kernel::clock);
    let (tv_sec, tv_nsec) = ((ns / 1_000_000_000) as libc::time_t, (ns % 1_000_000_000) as c_long);
    give(time, libc::timespec { tv_sec, tv_nsec });
    0
});
