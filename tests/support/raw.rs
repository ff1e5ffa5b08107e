//! epoll, sockets and a fork as the kernel has them: plain calls, non-blocking, and nothing of a runtime.
#![allow(dead_code, unreachable_pub, unsafe_code, unused_imports)] // Each test file uses some of it.

#[path = "reset.rs"]
mod reset;

pub use reset::reset;
use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

fn check(result: c_int) -> c_int {
    assert_ne!(result, -1, "{}", io::Error::last_os_error());
    result
}

fn done(result: isize) -> io::Result<usize> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

fn number(fd: &impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// The number of the error, or 0.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap())
}

// ---- epoll ------------------------------------------------------------------------------------

/// An epoll instance. What is added is added edge-triggered, and its datum is its number.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> Epoll {
        // SAFETY: a call on numbers alone.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        // SAFETY: the call has just opened it, so nobody else owns it.
        Epoll(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// One that has had `fd` added for the events in `bits`.
    pub fn with(fd: &impl AsFd, bits: c_int) -> Epoll {
        let epoll = Epoll::new();
        epoll.add(fd, bits).unwrap();
        epoll
    }

    pub fn add(&self, fd: &impl AsFd, bits: c_int) -> io::Result<()> {
        let datum = number(fd) as u64;
        let mut event = libc::epoll_event { events: (bits | libc::EPOLLET) as u32, u64: datum };
        let (epoll, add) = (self.0.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: the event lives.
        done(unsafe { libc::epoll_ctl(epoll, add, number(fd), &raw mut event) } as isize).map(drop)
    }

    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        let (epoll, delete) = (self.0.as_raw_fd(), libc::EPOLL_CTL_DEL);
        // SAFETY: a call on numbers alone.
        done(unsafe { libc::epoll_ctl(epoll, delete, fd, ptr::null_mut()) } as isize).map(drop)
    }

    /// The next events, within so many milliseconds: datum and bits.
    pub fn wait(&self, timeout_ms: c_int) -> Vec<(u64, c_int)> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        let (epoll, room) = (self.0.as_raw_fd(), events.len() as c_int);
        // SAFETY: there is room for so many.
        let n = check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), room, timeout_ms) });
        events[..n as usize].iter().map(|event| (event.u64, event.events as c_int)).collect()
    }

    /// `epoll_wait` with room for `most` events, so says who calls: for what the kernel refuses.
    pub fn wait_for(&self, most: c_int) -> io::Result<usize> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let epoll = self.0.as_raw_fd();
        // SAFETY: nothing was added, so no event is written, however many there is said to be room for.
        done(unsafe { libc::epoll_wait(epoll, &raw mut event, most, 0) } as isize)
    }

    /// `epoll_pwait2`, where nothing was added. `None` when the kernel or a filter has no such call.
    pub fn wait_ns(&self, tv_nsec: i64) -> Option<io::Result<usize>> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let timeout = libc::timespec { tv_sec: 0, tv_nsec };
        let (epoll, call, no_mask) = (self.0.as_raw_fd(), libc::SYS_epoll_pwait2, 0usize);
        // SAFETY: the event and the timeout live.
        let result = done(unsafe {
            libc::syscall(call, epoll, &raw mut event, 1, &raw const timeout, no_mask, 0)
        } as isize);
        let missing = matches!(errno_of(&result), libc::ENOSYS | libc::EPERM);
        (!missing).then_some(result)
    }

    /// The one event that there is.
    #[track_caller]
    pub fn event(&self) -> c_int {
        let events = self.wait(5000);
        assert_eq!(events.len(), 1, "events: {events:?}");
        events[0].1
    }

    /// The one event that there is has these bits.
    #[track_caller]
    pub fn says(&self, bits: c_int) {
        let event = self.event();
        assert_eq!(event, bits, "{event:#x} instead of {bits:#x}");
    }

    /// No event comes, for long enough to notice one that does.
    #[track_caller]
    pub fn is_silent(&self) {
        let events = self.wait(10);
        assert!(events.is_empty(), "events: {events:?}");
    }
}

fn errno_of<T>(result: &io::Result<T>) -> i32 {
    result.as_ref().err().and_then(io::Error::raw_os_error).unwrap_or(0)
}

/// Waits until poll(2), which takes nothing away from epoll, says all of `bits`: what another
/// core does for a sender is done.
#[track_caller]
pub fn until(fd: &impl AsFd, bits: i16) {
    let start = Instant::now();
    loop {
        let mut polled = libc::pollfd { fd: number(fd), events: bits, revents: 0 };
        // SAFETY: the one entry lives.
        check(unsafe { libc::poll(&raw mut polled, 1, 100) });
        if polled.revents & bits == bits {
            return settle();
        }
        assert!(start.elapsed() < Duration::from_secs(5), "never: {bits:#x}");
    }
}

/// What can be seen may not have been announced yet, if another core is at it.
fn settle() {
    thread::sleep(Duration::from_millis(1));
}

/// Waits until so many bytes can be read.
#[track_caller]
pub fn until_queued(fd: &impl AsFd, bytes: c_int) {
    let start = Instant::now();
    let mut queued: c_int = -1;
    while queued < bytes {
        assert!(start.elapsed() < Duration::from_secs(5), "never: {bytes} bytes, {queued} are");
        // SAFETY: the place for the number lives.
        check(unsafe { libc::ioctl(number(fd), libc::FIONREAD, &raw mut queued) });
    }
    settle();
}

/// Waits until the peer's kernel has everything that was sent (`SIOCOUTQ`, tcp(7)).
#[track_caller]
pub fn until_sent(sender: &TcpStream) {
    let start = Instant::now();
    let mut left: c_int = -1;
    while left != 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "never: {left} bytes are on their way");
        // SAFETY: the place for the number lives. `SIOCOUTQ` is `TIOCOUTQ`.
        check(unsafe { libc::ioctl(sender.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) });
    }
    settle();
}

/// A duplicate of a descriptor, with the lowest free number from `least` on.
pub fn duplicate_from(fd: &impl AsFd, least: c_int) -> OwnedFd {
    // SAFETY: a call on numbers alone.
    let fd = check(unsafe { libc::fcntl(number(fd), libc::F_DUPFD_CLOEXEC, least) });
    // SAFETY: the call has just opened it, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

// ---- sockets ----------------------------------------------------------------------------------

/// A connection over the loopback, both ends non-blocking.
pub fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    for end in [&one, &other] {
        end.set_nonblocking(true).unwrap();
        end.set_nodelay(true).unwrap();
    }
    (one, other)
}

/// A new non-blocking stream socket of a family.
pub fn socket(family: c_int) -> OwnedFd {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a call on numbers alone.
    let fd = check(unsafe { libc::socket(family, kind, 0) });
    // SAFETY: the call has just opened it, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn raw_address(address: &SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(v4) = address else { panic!("IPv4 only") };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

pub fn bind(socket: &impl AsFd, address: &SocketAddr) {
    let (raw, length) = (raw_address(address), size_of::<libc::sockaddr_in>() as libc::socklen_t);
    // SAFETY: the address lives, and has the length that is given.
    check(unsafe { libc::bind(number(socket), (&raw const raw).cast(), length) });
}

pub fn connect(socket: &impl AsFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, length) = (raw_address(address), size_of::<libc::sockaddr_in>() as libc::socklen_t);
    // SAFETY: the address lives, and has the length that is given.
    done(unsafe { libc::connect(number(socket), (&raw const raw).cast(), length) } as isize)
        .map(drop)
}

/// To an abstract name.
pub fn connect_unix(socket: &impl AsFd, name: &[u8]) -> io::Result<()> {
    // SAFETY: plain bytes and an integer, for which zero is fine.
    let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in raw.sun_path[1..].iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    let length = (2 + 1 + name.len()) as libc::socklen_t;
    // SAFETY: the address lives, and is at least as long as is given.
    done(unsafe { libc::connect(number(socket), (&raw const raw).cast(), length) } as isize)
        .map(drop)
}

/// Whether it has a peer, getpeername(2).
pub fn has_peer(socket: &impl AsFd) -> io::Result<()> {
    // SAFETY: plain bytes and integers, for which zero is fine.
    let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = size_of_val(&raw) as libc::socklen_t;
    // SAFETY: the room lives, and has the length that is given.
    let result =
        unsafe { libc::getpeername(number(socket), (&raw mut raw).cast(), &raw mut length) };
    done(result as isize).map(drop)
}

/// An option that is a number.
pub fn option(socket: &impl AsFd, level: c_int, name: c_int) -> c_int {
    let (mut value, mut length) = (-1, size_of::<c_int>() as libc::socklen_t);
    let (fd, place) = (number(socket), (&raw mut value).cast());
    // SAFETY: the value lives, and has the length that is given.
    check(unsafe { libc::getsockopt(fd, level, name, place, &raw mut length) });
    value
}

pub fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) {
    let (fd, length) = (number(socket), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the value lives, and has the length that is given.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) });
}

/// Waits until so many connections are in the queue of a TCP listener, tcp(7).
pub fn until_in_queue(listener: &TcpListener, clients: u32) {
    let start = Instant::now();
    loop {
        // SAFETY: plain integers, for which zero is fine.
        let mut info: libc::tcp_info = unsafe { mem::zeroed() };
        let mut length = size_of_val(&info) as libc::socklen_t;
        let (fd, place) = (listener.as_raw_fd(), (&raw mut info).cast());
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        // SAFETY: the room lives, and has the length that is given.
        check(unsafe { libc::getsockopt(fd, level, name, place, &raw mut length) });
        // Of a listener this is the length of its queue.
        if info.tcpi_unacked == clients {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{} of {clients}", info.tcpi_unacked);
    }
}

pub fn recv(fd: &impl AsFd, most: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; most];
    // SAFETY: the buffer lives, and has the length that is given.
    let n = done(unsafe { libc::recv(number(fd), buf.as_mut_ptr().cast(), most, 0) })?;
    buf.truncate(n);
    Ok(buf)
}

/// read(2), for what is no socket.
pub fn read(fd: &impl AsFd, most: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; most];
    // SAFETY: the buffer lives, and has the length that is given.
    let n = done(unsafe { libc::read(number(fd), buf.as_mut_ptr().cast(), most) })?;
    buf.truncate(n);
    Ok(buf)
}

pub fn send(fd: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let (fd, flags) = (number(fd), libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
    // SAFETY: the bytes live, and are as many as is given.
    done(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// One byte of urgent data.
pub fn send_urgent(fd: &impl AsFd, byte: u8) -> io::Result<usize> {
    let (fd, flags) = (number(fd), libc::MSG_OOB | libc::MSG_NOSIGNAL);
    // SAFETY: the byte lives, and is one.
    done(unsafe { libc::send(fd, (&raw const byte).cast(), 1, flags) })
}

/// `sendmsg` and `writev` of these slices.
pub fn send_slices(fd: &impl AsFd, slices: &[IoSlice<'_>]) -> [io::Result<usize>; 2] {
    // SAFETY: plain integers and pointers, for which zero is "none".
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    // SAFETY: the slices live, and have the layout of `struct iovec`; std guarantees it.
    let sent = unsafe { libc::sendmsg(number(fd), &raw const message, libc::MSG_NOSIGNAL) };
    let sent = done(sent);
    let (slices, count) = (slices.as_ptr().cast(), slices.len() as c_int);
    // SAFETY: as above.
    [sent, done(unsafe { libc::writev(number(fd), slices, count) })]
}

/// How much of so many bytes one `write` takes: of memory that is never touched, to where all is thrown away.
pub fn most_at_once(length: usize) -> usize {
    let (read, kind) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at an address of the kernel's choice, without a file.
    let memory =
        unsafe { libc::mmap(ptr::null_mut(), length, read, kind | libc::MAP_NORESERVE, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
    // SAFETY: the mapping is as long as is given.
    let written = done(unsafe { libc::write(null.as_raw_fd(), memory, length) });
    // SAFETY: nobody else knows of it.
    check(unsafe { libc::munmap(memory, length) });
    written.unwrap()
}

pub fn nonblocking(fd: &impl AsFd) {
    // SAFETY: a call on numbers alone.
    check(unsafe { libc::fcntl(number(fd), libc::F_SETFL, libc::O_NONBLOCK) });
}

/// An eventfd, non-blocking.
pub fn eventfd() -> std::fs::File {
    // SAFETY: a call on numbers alone.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) });
    // SAFETY: the call has just opened it, so nobody else owns it.
    unsafe { std::fs::File::from_raw_fd(fd) }
}

// ---- processes --------------------------------------------------------------------------------

/// What `child` returns in a forked process. Other threads may hold locks there for ever: it may make system calls and do
/// sums, and nothing else; no memory, no output, no panic.
pub fn in_a_fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes system calls alone, as is said above, and ends.
    let pid = check(unsafe { libc::fork() });
    if pid == 0 {
        let code = child();
        // SAFETY: ends the child here, before it returns into the parent's tests.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: `status` outlives the call.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert!(ended == pid && libc::WIFEXITED(status), "{status}");
    libc::WEXITSTATUS(status)
}

/// Why `accept` fails in a process that may open no further descriptor.
pub fn errno_of_accept_without_descriptors(listener: &TcpListener) -> i32 {
    in_a_fork(|| {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit lives.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) };
        let (fd, no_address) = (listener.as_raw_fd(), ptr::null_mut());
        // SAFETY: the address is not asked for.
        let accepted = unsafe { libc::accept4(fd, no_address, ptr::null_mut(), 0) };
        if set == 0 && accepted == -1 { errno_of(&done(-1).map(drop)) } else { 0 }
    })
}
