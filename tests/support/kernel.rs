//! Descriptors of every kind, folders to bind in, and messages that carry descriptors: what `std` has no call for.
#![allow(dead_code, unreachable_pub, unsafe_code)] // Each test file uses some of it.

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

fn check(result: c_int) -> c_int {
    assert_ne!(result, -1, "{}", io::Error::last_os_error());
    result
}

fn own(fd: RawFd) -> File {
    // SAFETY: called only with the result of a call that opens a descriptor, so nobody else owns it.
    unsafe { File::from_raw_fd(check(fd)) }
}

/// The end to read from, and the one to write to. Blocking.
pub fn pipe() -> (File, File) {
    let mut ends = [-1; 2];
    // SAFETY: there is room for two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) });
    (own(ends[0]), own(ends[1]))
}

/// How many bytes `pipe` can hold at most, and from now on does.
pub fn narrow(pipe: &File) -> usize {
    // SAFETY: a call on numbers alone. The kernel rounds up to a page.
    check(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) }) as usize
}

/// A terminal: what a person would type goes into the first, and programs read it from the second.
pub fn terminal() -> (File, File) {
    let (mut person, mut program) = (-1, -1);
    let (name, settings, size) = (ptr::null_mut(), ptr::null(), ptr::null());
    // SAFETY: the places for the numbers live; the other three may be null.
    check(unsafe { libc::openpty(&raw mut person, &raw mut program, name, settings, size) });
    (own(person), own(program))
}

/// An eventfd of which each read takes one.
pub fn semaphore(count: u32) -> File {
    // SAFETY: a call on numbers alone.
    own(unsafe { libc::eventfd(count, libc::EFD_SEMAPHORE | libc::EFD_CLOEXEC) })
}

/// Tells of every file that is made in `folder`.
pub fn inotify(folder: &Path) -> File {
    // SAFETY: a call on numbers alone.
    let inotify = own(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) });
    let path = CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path lives, and ends in 0.
    check(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) });
    inotify
}

/// A timer that expires every `period`.
pub fn timer(period: Duration) -> File {
    // SAFETY: a call on numbers alone.
    let timer = own(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) });
    let period = libc::timespec {
        tv_sec: period.as_secs() as libc::time_t,
        tv_nsec: period.subsec_nanos().into(),
    };
    let setting = libc::itimerspec { it_interval: period, it_value: period };
    let before = ptr::null_mut();
    // SAFETY: the setting lives, and the one before is not asked for.
    check(unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const setting, before) });
    timer
}

/// Readable when `child` has ended.
pub fn pidfd(child: &Child) -> File {
    // SAFETY: a call on numbers alone.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) } as c_int)
}

/// An epoll instance that waits until one can read from `fd`.
pub fn epoll(fd: &impl AsFd) -> OwnedFd {
    // SAFETY: a call on numbers alone.
    let epoll = own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
    let (fd, add) = (fd.as_fd().as_raw_fd(), libc::EPOLL_CTL_ADD);
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
    // SAFETY: the event lives.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), add, fd, &raw mut event) });
    epoll.into()
}

/// How many events `epoll` has now.
pub fn epoll_events(epoll: &OwnedFd) -> io::Result<usize> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: there is room for eight.
    let n = check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 8, 0) });
    if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n as usize) }
}

pub fn is_blocking(fd: &impl AsFd) -> bool {
    // SAFETY: a call on numbers alone.
    let flags = check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) });
    flags & libc::O_NONBLOCK == 0
}

/// From now on `listener` has room for one client more than `most`.
pub fn set_backlog(listener: &UnixListener, most: c_int) {
    // SAFETY: a call on numbers alone; on a listening socket it changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), most) });
}

/// A client that has a name of its own.
pub fn connect_from(from: &Path, to: &Path) -> UnixStream {
    let address = |path: &Path| {
        let family = libc::AF_UNIX as libc::sa_family_t;
        let mut address = libc::sockaddr_un { sun_family: family, sun_path: [0; 108] };
        for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
            *to = *from as c_char;
        }
        address
    };
    let (from, to) = (address(from), address(to));
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: a call on numbers alone.
    let socket =
        own(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) });
    // SAFETY: the address lives, and has the length that is given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const from).cast(), length) });
    // SAFETY: the address lives, and has the length that is given.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const to).cast(), length) });
    OwnedFd::from(socket).into()
}

// ---- messages ---------------------------------------------------------------------------------

/// Room for one control message with one descriptor in it, aligned like its header.
#[repr(C, align(8))]
struct Control([u8; 24]);

fn message(bytes: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: plain integers and pointers, for which zero is "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (bytes, 1);
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    message
}

/// Sends `bytes`, and a duplicate of `fd` along with them.
pub fn send_with(stream: &UnixStream, bytes: &[u8], fd: &impl AsFd) {
    let mut control = Control([0; 24]);
    // A `struct cmsghdr` is its length, level and type: cmsg(3). What is sent is behind it.
    control.0[..8].copy_from_slice(&20usize.to_ne_bytes());
    control.0[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.0[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    control.0[16..20].copy_from_slice(&fd.as_fd().as_raw_fd().to_ne_bytes());
    let mut bytes =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let message = message(&mut bytes, &mut control);
    // SAFETY: the message and all that it points to live.
    let n = unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    assert_eq!(n, bytes.iov_len as isize, "{}", io::Error::last_os_error());
}

/// Receives bytes, and the descriptor that was sent along with them.
pub fn recv_with(stream: &UnixStream, buf: &mut [u8]) -> io::Result<(usize, Option<File>)> {
    let mut control = Control([0; 24]);
    let mut bytes = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut message = message(&mut bytes, &mut control);
    let (fd, flags) = (stream.as_raw_fd(), libc::MSG_CMSG_CLOEXEC);
    // SAFETY: the message and all that it points to live.
    let n = unsafe { libc::recvmsg(fd, &raw mut message, flags) };
    if n == -1 {
        return Err(io::Error::last_os_error());
    }
    let sent = RawFd::from_ne_bytes(control.0[16..20].try_into().unwrap());
    Ok((n as usize, (message.msg_controllen >= 20).then(|| own(sent))))
}

// ---- folders ----------------------------------------------------------------------------------

/// A folder of one's own, which goes with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waken-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
