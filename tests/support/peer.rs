//! The other side of a connection, in plain blocking `std`, and what `std` has no call for.
#![allow(dead_code, unreachable_pub, unsafe_code, unused_imports)] // Each test file uses some of it.

#[path = "reset.rs"]
mod reset;

use crate::support::{at_end, watched};
pub use reset::reset;
use std::ffi::c_int;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;
use waken::AsyncTcpStream;
use waken::time::sleep;

/// Runs `test` in a runtime of its own, for ten seconds at most.
#[track_caller]
pub fn run(test: impl Future<Output = ()>) {
    watched(10, || waken::block_on(test));
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A connection of which neither side is ours yet.
pub fn std_pair() -> (TcpStream, TcpStream) {
    // One for all: finding a port that is free takes the kernel long when many were used lately.
    static LISTENER: Mutex<Option<TcpListener>> = Mutex::new(None);
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    connect_to(listener.get_or_insert_with(|| {
        at_end(|| drop(LISTENER.lock().unwrap_or_else(PoisonError::into_inner).take()));
        TcpListener::bind("127.0.0.1:0").unwrap()
    }))
}

/// One with segments as small as on a real network: small buffers would otherwise wait for the kernel's timers,
/// since the loopback's segments are larger than they.
fn segmented_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set(&listener, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 1000);
    connect_to(&listener)
}

fn connect_to(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    loop {
        // Somebody else's test may have knocked at the wrong door.
        let (ours, from) = listener.accept().unwrap();
        if from == peer.local_addr().unwrap() {
            return (ours, peer);
        }
    }
}

/// A connection: our side, and the peer's.
pub fn pair() -> (AsyncTcpStream, TcpStream) {
    let (ours, peer) = std_pair();
    (ours.try_into().unwrap(), peer)
}

/// A connection that holds little, so that a writer has to wait soon, and for as long as the peer reads nothing.
pub fn narrow_pair() -> (AsyncTcpStream, TcpStream) {
    let (ours, peer) = std_pair();
    // Not the peer's receive buffer: a small one drops segments, and takes them when they are sent again.
    set_option(&ours, libc::SO_SNDBUF, 32 << 10);
    (ours.try_into().unwrap(), peer)
}

/// A connection that takes writes in small parts only, and is fast.
pub fn part_pair() -> (AsyncTcpStream, TcpStream) {
    let (ours, peer) = segmented_pair();
    set_option(&ours, libc::SO_SNDBUF, 4096);
    ours.set_nodelay(true).unwrap();
    (ours.try_into().unwrap(), peer)
}

/// Writes until there is no more room, and says how many bytes that took.
pub async fn fill(stream: &AsyncTcpStream) -> usize {
    let mut written = 0;
    // Three times in a row without room, and time in between; and nothing is under way that the peer's kernel may still
    // acknowledge, which it does up to 40 ms late: it has taken all it wants.
    let mut full = 0;
    while full < 3 {
        match stream.try_write(&[b'f'; 4096]) {
            Ok(n) => {
                full = 0;
                written += n;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                full = if under_way(stream) == 0 { full + 1 } else { 0 };
                sleep(millis(3)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    written
}

/// How many bytes were sent and are not acknowledged, tcp(7).
fn under_way(stream: &impl AsFd) -> c_int {
    const SIOCOUTQNSD: libc::Ioctl = 0x894b;
    let ask = |what| {
        let mut bytes: c_int = 0;
        // SAFETY: the place for the number lives.
        check(unsafe { libc::ioctl(stream.as_fd().as_raw_fd(), what, &raw mut bytes) });
        bytes
    };
    // What was written and is not acknowledged, less what of it was not even sent.
    ask(libc::TIOCOUTQ) - ask(SIOCOUTQNSD)
}

fn check(result: c_int) -> c_int {
    assert_ne!(result, -1, "{}", io::Error::last_os_error());
    result
}

pub fn set_option(socket: &impl AsFd, name: c_int, value: c_int) {
    set(socket, libc::SOL_SOCKET, name, value);
}

fn set(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) {
    let fd = socket.as_fd().as_raw_fd();
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` lives, and has the length that is given.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) });
}

pub fn get_option(socket: &impl AsFd, name: c_int) -> c_int {
    let fd = socket.as_fd().as_raw_fd();
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` lives, and has the length that is given.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length)
    };
    check(result);
    value
}

/// Sends one byte of urgent data; `false` when there is no room.
pub fn send_urgent(stream: &impl AsFd, byte: u8) -> bool {
    let (fd, flags) = (stream.as_fd().as_raw_fd(), libc::MSG_OOB | libc::MSG_NOSIGNAL);
    // SAFETY: the byte lives, and is one byte long.
    let sent = unsafe { libc::send(fd, (&raw const byte).cast(), 1, flags) };
    sent == 1
}

/// Takes the urgent byte; `EINVAL` when there is none.
pub fn recv_urgent(stream: &impl AsFd) -> io::Result<u8> {
    let (fd, mut byte) = (stream.as_fd().as_raw_fd(), 0u8);
    // SAFETY: the byte lives, and is one byte long.
    let n = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_OOB) };
    if n == 1 { Ok(byte) } else { Err(io::Error::last_os_error()) }
}

/// A duplicate of a descriptor, with the lowest free number from `least` on.
pub fn duplicate_from(fd: &impl AsFd, least: c_int) -> io::Result<OwnedFd> {
    // SAFETY: a call on numbers alone.
    let fd = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just opened it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a duplicate of `new` in the place of `old`, as if other code had closed `old` and opened something.
pub fn replace(old: &impl AsFd, new: &impl AsFd) {
    // SAFETY: both are open; `old` stays open and owned, it is only another file from now on.
    check(unsafe { libc::dup2(new.as_fd().as_raw_fd(), old.as_fd().as_raw_fd()) });
}

/// Registers the descriptor of `first` once more, as a careless second owner would.
pub fn register_again(first: &AsyncTcpStream) -> io::Result<()> {
    let spare = duplicate_from(first, 0).unwrap();
    // SAFETY: a second owner, which closes the number once; it is opened again below, as the same file.
    let second = unsafe { TcpStream::from_raw_fd(first.as_raw_fd()) };
    let result = AsyncTcpStream::try_from(second).map(drop);
    // SAFETY: both are numbers of this process; nobody else has opened a descriptor in between.
    check(unsafe { libc::dup2(spare.as_raw_fd(), first.as_raw_fd()) });
    result
}

fn descriptors() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
    limit
}

/// Lets this process have as many descriptors as it may (many shells begin with 1,024), and returns for how many
/// connections of `wanted` that is enough, at `each` descriptors a connection. Says so if it is not for all.
pub fn room_for(wanted: usize, each: usize) -> usize {
    let most = descriptors().rlim_max.min(20_000);
    limit_descriptors(most);
    let room = (most as usize - 64) / each;
    assert!(room >= 1_000, "`ulimit -Hn` is {most}: too low for a thousand connections");
    if room < wanted {
        eprintln!("`ulimit -Hn` is {most}: {room} connections instead of {wanted}");
    }
    room.min(wanted)
}

/// A limit to the number of descriptors, for this whole process.
pub fn limit_descriptors(most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: descriptors().rlim_max };
    // SAFETY: the limit lives.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) });
}

/// `SIGPIPE` ends the process, as in a program that is not Rust's.
pub fn let_sigpipe_kill() {
    // SAFETY: the default action is no function of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Starts to connect a non-blocking socket by hand.
pub fn start_connect(socket: &impl AsFd, to: SocketAddr) {
    let SocketAddr::V4(to) = to else { panic!("IPv4 only") };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the address lives, and has the length that is given.
    let result = unsafe { libc::connect(fd, (&raw const address).cast(), length) };
    let error = io::Error::last_os_error();
    assert_eq!((result, error.raw_os_error()), (-1, Some(libc::EINPROGRESS)));
}

/// An address where a connection is neither accepted nor refused, as long as the value lives.
pub struct FullBacklog {
    pub addr: SocketAddr,
    _kept: (TcpListener, Vec<TcpStream>),
}

impl FullBacklog {
    pub fn new() -> FullBacklog {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: a call on numbers alone; on a listening socket it changes the backlog.
        check(unsafe { libc::listen(listener.as_raw_fd(), 0) });
        let addr = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        while let Ok(client) = TcpStream::connect_timeout(&addr, millis(100)) {
            clients.push(client);
            assert!(clients.len() < 10, "the backlog does not fill");
        }
        FullBacklog { addr, _kept: (listener, clients) }
    }
}

/// A waker of somebody else's: it counts its wakes, and `Arc` counts its copies.
#[derive(Default)]
pub struct Foreign {
    pub wakes: AtomicUsize,
}

impl Foreign {
    pub fn new() -> (Arc<Foreign>, Waker) {
        let foreign = Arc::new(Foreign::default());
        (foreign.clone(), foreign.into())
    }

    pub fn woken(&self) -> usize {
        self.wakes.load(SeqCst)
    }
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
    }
}
