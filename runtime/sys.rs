//! Every system call, and every `unsafe` block of the crate.
//!
//! What it exports is safe to call with any arguments: the worst a wrong descriptor can give is
//! an `io::Error`. It knows no task, no source and no timer. Each wrapper is named after its call
//! and cites nothing else than the call's own manual page.

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::Relaxed};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

pub(crate) use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};

/// One spelling for every call: the result, or what `errno` says.
macro_rules! syscall {
    ($call:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: every use below passes pointers to live local values of the type and length
        // that the call's manual page asks for; the kernel keeps none of them after it returns.
        let result = unsafe { libc::$call($($argument),*) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }};
}

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

    /// Registers `fd` edge-triggered, once and for everything epoll can say.
    #[doc(alias = "epoll_ctl")]
    pub(crate) fn add(&self, fd: RawFd, datum: u64) -> io::Result<()> {
        let all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | libc::EPOLLET;
        let mut event = libc::epoll_event { events: all as u32, u64: datum };
        syscall!(epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event))?;
        Ok(())
    }

    /// Before `close`, always: a duplicate of the descriptor would keep the registration alive.
    #[doc(alias = "epoll_ctl")]
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        syscall!(epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, ptr::null_mut()))?;
        Ok(())
    }

    /// Waits until something is ready, or for `timeout` (`None`: for ever), never less than that.
    #[doc(alias = "epoll_wait")]
    #[inline]
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match timeout {
            None => self.wait_ms(events, -1),
            Some(Duration::ZERO) => self.wait_ms(events, 0),
            Some(timeout) => self.wait_ns(events, timeout),
        }
    }

    #[inline]
    fn wait_ms(&self, events: &mut Events, timeout_ms: c_int) -> io::Result<()> {
        events.filled = 0;
        let (buffer, capacity) = (events.buffer.as_mut_ptr(), events.buffer.len() as c_int);
        let n = syscall!(epoll_wait(self.0.as_raw_fd(), buffer, capacity, timeout_ms))?;
        events.filled = n as usize;
        Ok(())
    }

    /// Counts nanoseconds (Linux 5.11). Where the call is missing, milliseconds, rounded up.
    #[doc(alias = "epoll_pwait2")]
    fn wait_ns(&self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        static MISSING: AtomicBool = AtomicBool::new(false);
        let whole_ms = timeout.as_nanos().div_ceil(1_000_000).min(c_int::MAX as u128) as c_int;
        if MISSING.load(Relaxed) {
            return self.wait_ms(events, whole_ms);
        }
        events.filled = 0;
        let (buffer, capacity) = (events.buffer.as_mut_ptr(), events.buffer.len() as c_int);
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(u32::MAX as u64) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let (fd, no_mask) = (self.0.as_raw_fd(), ptr::null::<c_void>());
        let call = libc::SYS_epoll_pwait2;
        match syscall!(syscall(call, fd, buffer, capacity, &raw const timeout, no_mask, 0)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                MISSING.store(true, Relaxed);
                self.wait_ms(events, whole_ms)
            }
            result => {
                events.filled = result? as usize;
                Ok(())
            }
        }
    }
}

/// The buffer that `epoll_wait` fills.
pub(crate) struct Events {
    buffer: Vec<libc::epoll_event>,
    filled: usize,
}

impl Events {
    pub(crate) fn with_capacity(capacity: usize) -> Events {
        // epoll_wait(2) refuses 0, and more than INT_MAX / sizeof(struct epoll_event).
        let capacity = capacity.clamp(1, 1 << 16);
        Events { buffer: vec![libc::epoll_event { events: 0, u64: 0 }; capacity], filled: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// `(datum, bits)` of each event. Copied out: the struct is packed, so no reference to a field.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, i32)> {
        self.buffer[..self.filled].iter().map(|event| (event.u64, event.events as i32))
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

    /// Never blocks and never fails: a full counter (after 2^64 - 2 writes) is emptied, then written again.
    pub(crate) fn signal(&self) {
        let fd = self.0.as_raw_fd();
        let mut value = 1u64;
        loop {
            match syscall!(write(fd, (&raw const value).cast(), size_of::<u64>())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _emptied = syscall!(read(fd, (&raw mut value).cast(), size_of::<u64>()));
                    value = 1;
                }
                _ => return,
            }
        }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

// ---- sockets: socket(7), tcp(7) ---------------------------------------------------------------

/// A non-blocking, close-on-exec TCP socket for addresses like `domain` (`libc::AF_INET`, `AF_INET6`).
#[doc(alias = "socket")]
pub(crate) fn tcp_socket(ipv6: bool) -> io::Result<OwnedFd> {
    let domain = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    let fd =
        syscall!(socket(domain, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0))?;
    Ok(own(fd))
}

pub(crate) fn bind(fd: RawFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, length) = RawAddress::of(address);
    syscall!(bind(fd, raw.0.as_ptr().cast(), length))?;
    Ok(())
}

/// The kernel cuts `backlog` down to `net.core.somaxconn`, listen(2).
pub(crate) fn listen(fd: RawFd, backlog: u32) -> io::Result<()> {
    syscall!(listen(fd, backlog.min(c_int::MAX as u32) as c_int))?;
    Ok(())
}

pub(crate) fn connect(fd: RawFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, length) = RawAddress::of(address);
    syscall!(connect(fd, raw.0.as_ptr().cast(), length))?;
    Ok(())
}

/// Whether a `connect` that failed so goes on in the background, connect(2).
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

/// The peer's address comes from the call itself: a peer that has reset has none to ask for later.
#[doc(alias = "accept4")]
pub(crate) fn accept(fd: RawFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut raw = RawAddress([0; 32]);
    let mut length = size_of_val(&raw) as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = syscall!(accept4(fd, raw.0.as_mut_ptr().cast(), &raw mut length, flags))?;
    let fd = own(fd);
    Ok((fd, raw.parse(length)?))
}

/// What an error of `accept` means, accept(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// That client has gone, or its network has: the next one may be there.
    AskAgain,
    /// It fails again and again until somebody gives something back.
    OutOfResources,
    OfListener,
}

pub(crate) fn accept_failure(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error().unwrap_or(0) {
        libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::EPERM => AcceptFailure::AskAgain,
        libc::ENETDOWN | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::ENONET => {
            AcceptFailure::AskAgain
        }
        libc::EHOSTUNREACH | libc::EOPNOTSUPP | libc::ENETUNREACH => AcceptFailure::AskAgain,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => AcceptFailure::OutOfResources,
        _ => AcceptFailure::OfListener,
    }
}

#[inline]
pub(crate) fn recv(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(syscall!(recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0))? as usize)
}

#[doc(alias = "recv")]
#[doc(alias = "MSG_PEEK")]
pub(crate) fn peek(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(syscall!(recv(fd, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_PEEK))? as usize)
}

/// `MSG_NOSIGNAL`: a peer that has gone is the error `EPIPE`, never the signal.
#[inline]
pub(crate) fn send(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    Ok(syscall!(send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL))? as usize)
}

/// More buffers than the kernel takes at once: it would refuse them all, readv(2) (`IOV_MAX`).
const MOST_BUFFERS: usize = 1024;

#[doc(alias = "readv")]
pub(crate) fn recv_vectored(fd: RawFd, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // `IoSliceMut` has the layout of `struct iovec`; std guarantees it.
    let count = bufs.len().min(MOST_BUFFERS) as c_int;
    Ok(syscall!(readv(fd, bufs.as_mut_ptr().cast(), count))? as usize)
}

/// `sendmsg`, since `writev` has no `MSG_NOSIGNAL`.
#[doc(alias = "sendmsg")]
#[doc(alias = "writev")]
pub(crate) fn send_vectored(fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: `msghdr` is plain integers and pointers, for which zero is "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` has the layout of `struct iovec`, and sendmsg(2) only reads through it.
    message.msg_iov = bufs.as_ptr().cast_mut().cast();
    message.msg_iovlen = bufs.len().min(MOST_BUFFERS);
    Ok(syscall!(sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL))? as usize)
}

/// The socket options of socket(7) and ipv6(7) that have to be set before `bind` or `connect`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketOption {
    ReuseAddr,
    ReusePort,
    OnlyV6,
    RecvBuffer,
    SendBuffer,
}

#[doc(alias = "setsockopt")]
pub(crate) fn set_option(fd: RawFd, option: SocketOption, value: c_int) -> io::Result<()> {
    let (level, name) = match option {
        SocketOption::ReuseAddr => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        SocketOption::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
        SocketOption::OnlyV6 => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        SocketOption::RecvBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
        SocketOption::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUF),
    };
    let length = size_of::<c_int>() as libc::socklen_t;
    syscall!(setsockopt(fd, level, name, (&raw const value).cast(), length))?;
    Ok(())
}

/// Room for a `struct sockaddr_in` or `sockaddr_in6`, as bytes: read and written by position, ip(7), ipv6(7).
#[repr(align(8))]
struct RawAddress([u8; 32]);

impl RawAddress {
    fn of(address: &SocketAddr) -> (RawAddress, libc::socklen_t) {
        let mut raw = [0; 32];
        raw[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, length) = match address {
            SocketAddr::V4(v4) => {
                raw[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                raw[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                raw[8..24].copy_from_slice(&v6.ip().octets());
                raw[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
            }
        };
        raw[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        (RawAddress(raw), length as libc::socklen_t)
    }

    fn parse(&self, length: libc::socklen_t) -> io::Result<SocketAddr> {
        let bytes = |at: usize| [self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]];
        let family = libc::sa_family_t::from_ne_bytes([self.0[0], self.0[1]]) as c_int;
        let port = u16::from_be_bytes([self.0[2], self.0[3]]);
        match (family, length as usize) {
            (libc::AF_INET, length) if length >= size_of::<libc::sockaddr_in>() => {
                Ok(SocketAddrV4::new(Ipv4Addr::from(bytes(4)), port).into())
            }
            (libc::AF_INET6, length) if length >= size_of::<libc::sockaddr_in6>() => {
                let mut ip = [0; 16];
                ip.copy_from_slice(&self.0[8..24]);
                let (flow, scope) = (u32::from_ne_bytes(bytes(4)), u32::from_ne_bytes(bytes(24)));
                Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer's address is neither IPv4 nor IPv6",
            )),
        }
    }
}

/// Owns what the kernel has just handed out.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: called only with the result of a call that opens a descriptor, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

// ---- the process and its clock ----------------------------------------------------------------

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Which process this is: how often it was forked since `count_forks`. A load, where `getpid` is a call.
pub(crate) fn process() -> u32 {
    FORKS.load(Relaxed)
}

#[doc(alias = "pthread_atfork")]
pub(crate) fn count_forks() {
    static ONCE: Once = Once::new();
    extern "C" fn in_the_child() {
        FORKS.store(FORKS.load(Relaxed).wrapping_add(1), Relaxed);
    }
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
    // It cannot fail: the clock is there since Linux 2.6.32. Zero would only make ages wrong.
    let _ = syscall!(clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now));
    ((now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64) >> 20) as u32
}

/// How long ago `then` was. Right for 52 days; then ages start anew.
pub(crate) fn coarse_age(then: u32) -> Duration {
    Duration::from_nanos(u64::from(coarse_clock().wrapping_sub(then)) << 20)
}

// ---- two things std has no safe form of -------------------------------------------------------

/// What a waker that is a number does when it is woken.
pub(crate) trait WakeNumber: Sized + 'static {
    /// The one table of this kind. A `static`, so that `Waker::will_wake` can compare addresses.
    fn table() -> &'static NumberTable<Self>;
    fn wake(number: u64);
}

/// The vtable of a waker that is a number. Its functions are safe: none ever follows the "pointer".
pub(crate) struct NumberTable<W>(RawWakerVTable, PhantomData<fn(W)>);

impl<W: WakeNumber> NumberTable<W> {
    pub(crate) const fn new() -> NumberTable<W> {
        const { assert!(size_of::<*const ()>() == size_of::<u64>(), "waken needs a 64-bit target") };
        fn clone<W: WakeNumber>(data: *const ()) -> RawWaker {
            RawWaker::new(data, &W::table().0)
        }
        fn wake<W: WakeNumber>(data: *const ()) {
            W::wake(data.addr() as u64);
        }
        fn drop(_: *const ()) {}
        NumberTable(RawWakerVTable::new(clone::<W>, wake::<W>, wake::<W>, drop), PhantomData)
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
