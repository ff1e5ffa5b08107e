//! What a program may hand to the safe API: addresses as text and as values, options, lengths, paths, descriptors of the
//! wrong kind. Beside it stands std, which has to say the same: the same address, the same error.

use crate::input::Input;
use futures_lite_like::poll_once;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use waken::io::{AsyncFd, Interest};
use waken::net::{
    AsyncUdpSocket, AsyncUnixDatagram, AsyncUnixListener, AsyncUnixStream, TcpSocket,
};
use waken::{AsyncTcpListener, AsyncTcpStream, Builder, Runtime};

mod futures_lite_like {
    use super::*;
    use std::task::{Context, Waker};

    /// Polls once, for what is ready at once or goes on by itself.
    pub fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new().spin(Duration::ZERO).build().expect("a runtime");
    static PATHS: PathBuf = {
        let path = std::env::temp_dir().join(format!("waken-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for sockets");
        path
    };
    static RUNS: Cell<u64> = const { Cell::new(0) };
    /// How many descriptors there were at the beginning.
    static OPEN: RefCell<Option<usize>> = const { RefCell::new(None) };
}

/// In place of libc's function of this name: nobody is asked for any name.
///
/// # Safety
/// None of the pointers is followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    _: *const libc::c_char,
    _: *const libc::c_char,
    _: *const libc::addrinfo,
    _: *mut *mut libc::addrinfo,
) -> libc::c_int {
    libc::EAI_NONAME
}

fn same<T, U>(what: &str, ours: &io::Result<T>, theirs: &io::Result<U>) {
    let code = |error: &io::Error| (error.raw_os_error(), error.kind());
    let (ours, theirs) = (ours.as_ref().err().map(code), theirs.as_ref().err().map(code));
    assert_eq!(ours, theirs, "{what}: ours and std's");
}

fn ip(input: &Input) -> IpAddr {
    let kind = input.byte();
    match kind & 15 {
        0..=3 => Ipv4Addr::LOCALHOST.into(),
        4 => Ipv4Addr::UNSPECIFIED.into(),
        5 => Ipv4Addr::BROADCAST.into(),
        6 => Ipv4Addr::from(input.u32()).into(),
        7..=9 => Ipv6Addr::LOCALHOST.into(),
        10 => Ipv6Addr::UNSPECIFIED.into(),
        11 => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        12 => Ipv4Addr::from(input.u32()).to_ipv6_mapped().into(),
        13 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, input.u16()).into(),
        14 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, input.u16()).into(),
        _ => Ipv6Addr::from(u128::from(input.u64()) << 64 | u128::from(input.u64())).into(),
    }
}

fn address(input: &Input) -> SocketAddr {
    // A port of its own would be somebody's now and then; the forbidden ones are worth a try.
    let port = if input.byte() & 7 == 7 { u16::from(input.byte() & 3) } else { 0 };
    match ip(input) {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
        IpAddr::V6(ip) => {
            let (flow, scope) =
                if input.byte() & 1 == 1 { (input.u32(), input.u32()) } else { (0, 0) };
            SocketAddrV6::new(ip, port, flow, scope).into()
        }
    }
}

/// Text that could be an address, from pieces.
fn text(input: &Input) -> String {
    const PIECES: [&str; 30] = [
        "127.0.0.1",
        ":",
        "0",
        "[",
        "]",
        "::1",
        "::",
        "localhost",
        "%",
        "1",
        "65535",
        "65536",
        ".",
        "-1",
        " ",
        "\0",
        "é",
        "::ffff:127.0.0.1",
        "fe80::1%lo",
        "fe80::1%1",
        "00",
        "+1",
        "0x7f",
        "a",
        "/",
        "@",
        "255.255.255.255",
        "99999999999999999999",
        "127.1",
        "\n",
    ];
    let mut text = String::new();
    for _ in 0..input.below(7) {
        match input.byte() {
            byte @ 0..=199 => text.push_str(PIECES[byte as usize % PIECES.len()]),
            byte => text.push((byte & 127) as char),
        }
    }
    text
}

/// Text to bind: what std takes for an address is one, and nothing else may come to be bound.
fn texts(input: &Input) {
    let text = text(input);
    let literal = text.parse::<SocketAddr>();
    // A thread for a name is dear: seldom.
    let is_name = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if literal.is_err() && is_name && input.byte() & 15 != 7 {
        return;
    }
    let bound = poll_once(AsyncUdpSocket::bind(text.as_str()));
    match (&literal, bound) {
        (Ok(address), Poll::Ready(ours)) => {
            // A port that is given may be taken meanwhile, but by ourselves.
            if address.port() == 0 {
                same("bind", &ours.map(drop), &net::UdpSocket::bind(address).map(drop));
            }
        }
        (Ok(address), Poll::Pending) => panic!("{address} has to be looked up"),
        // A name, which a thread looks up that is ours alone.
        (Err(_), Poll::Pending) => assert!(text.contains(':')),
        (Err(_), Poll::Ready(Ok(socket))) => {
            // `("host", port)` of an address with a port beside it, for which std has another rule.
            let (host, port) = text.rsplit_once(':').expect("a port");
            assert!(
                host.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_ok(),
                "{socket:?} is {text:?}"
            );
        }
        (Err(_), Poll::Ready(Err(error))) => {
            // Refused at once, or looked up so soon.
            assert!(!error.to_string().is_empty(), "{text:?}: {error:?}");
        }
    }
}

/// A name beside a port, and a name alone, are told apart from addresses.
fn pairs(input: &Input) {
    let (text, port) = (text(input), 0u16);
    if text.parse::<IpAddr>().is_err() && input.byte() & 15 != 7 {
        return;
    }
    let bound = poll_once(AsyncUdpSocket::bind((text.as_str(), port)));
    match (text.parse::<IpAddr>(), bound) {
        (Ok(ip), Poll::Ready(ours)) => {
            same("bind", &ours.map(drop), &net::UdpSocket::bind((ip, port)).map(drop));
        }
        (Ok(ip), Poll::Pending) => panic!("{ip} has to be looked up"),
        (Err(_), Poll::Ready(Ok(socket))) => panic!("{text:?} is bound: {socket:?}"),
        (Err(_), _) => {}
    }
}

/// The same address by us and by std: the same result, and the same address when asked for it.
fn values(input: &Input) {
    let address = address(input);
    // One after the other: the port may be given.
    let theirs = net::UdpSocket::bind(address).map(|socket| socket.local_addr().expect("bound"));
    let Poll::Ready(ours) = poll_once(AsyncUdpSocket::bind(address)) else {
        panic!("a value is looked up")
    };
    let ours = ours.map(|socket| socket.get_ref().local_addr().expect("bound"));
    same("bind", &ours, &theirs);
    if let (Ok(mut ours), Ok(mut theirs)) = (ours, theirs) {
        assert!(ours.port() != 0 && (address.port() == 0 || ours.port() == address.port()));
        ours.set_port(0);
        theirs.set_port(0);
        assert_eq!(ours, theirs, "local addresses");
    }
}

/// A socket with options, in any order, with any value.
fn options(input: &Input) {
    let v6 = input.byte() & 1 == 1;
    let socket = if v6 { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.expect("a socket");
    let mut bound = false;
    for _ in 0..input.below(6) {
        let value = input.u32();
        match input.below(8) {
            0 => socket.set_reuseaddr(value & 1 == 1).expect("SO_REUSEADDR"),
            1 => drop(socket.set_reuseport(value & 1 == 1)),
            2 => {
                let result = socket.set_only_v6(value & 1 == 1);
                assert!(v6 || result.is_err(), "IPV6_V6ONLY of an IPv4 socket");
            }
            // Any size is taken, and cut to what the system allows.
            3 => socket.set_recv_buffer_size(value).expect("SO_RCVBUF"),
            4 => socket.set_send_buffer_size(value).expect("SO_SNDBUF"),
            5 | 6 => {
                let address = address(input);
                let result = socket.bind(address);
                assert!(!bound || result.is_err(), "bound twice");
                if result.is_ok() {
                    assert_eq!(address.is_ipv6(), v6, "an address of the other family");
                    let local = socket.local_addr().expect("it is bound");
                    assert!(
                        local.port() != 0 && local.ip() == address.ip(),
                        "{local} for {address}"
                    );
                    bound = true;
                }
            }
            _ => drop(socket.local_addr()),
        }
    }
    match input.below(4) {
        0 => {
            let Ok(listener) = socket.listen(input.u32()) else { return };
            let ttl = input.u32();
            if listener.set_ttl(ttl).is_ok() {
                let now = listener.ttl().expect("just set");
                // All ones is -1, and that is the system's default, ip(7).
                assert!(now == ttl || ttl == u32::MAX && now > 0, "{now} hops, for {ttl}");
            }
            assert!(
                listener.try_accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            );
            assert!(listener.local_addr().is_ok_and(|address| address.port() != 0));
        }
        1 => {
            // Nobody listens at the lowest ports; elsewhere but on this machine nobody is asked.
            let to = SocketAddr::from((
                if v6 { IpAddr::from(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() },
                input.u16() & 3,
            ));
            if let Poll::Ready(Ok(stream)) = poll_once(socket.connect(to)) {
                panic!("connected: {stream:?}");
            }
        }
        _ => {}
    }
}

/// A path, made of any bytes but those that would lead out of our folder.
fn paths(input: &Input) {
    let kind = input.byte();
    // Short and long names; the folder's counts too, and 108 bytes are all there is room for.
    let n = input.below(110);
    let name: Vec<u8> =
        (0..n).map(|_| input.byte()).map(|b| if b == b'/' { b'_' } else { b }).collect();
    if kind & 1 == 0 {
        let Ok(name) = unix::SocketAddr::from_abstract_name([b"waken-fuzz", &name[..]].concat())
        else {
            return;
        };
        let ours = AsyncUnixListener::bind_addr(&name);
        let theirs = unix::UnixListener::bind_addr(&name);
        match ours {
            Ok(ours) => {
                assert!(theirs.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse));
                assert_eq!(ours.local_addr().unwrap().as_abstract_name(), name.as_abstract_name());
                let connected = poll_once(AsyncUnixStream::connect_addr(&name));
                let Poll::Ready(Ok(client)) = connected else {
                    panic!("cannot connect to {name:?}")
                };
                let (server, _) = ours.try_accept().expect("a client is there");
                assert_eq!(client.peer_addr().unwrap().as_abstract_name(), name.as_abstract_name());
                assert_eq!(server.peer_cred().unwrap().pid, std::process::id() as i32);
            }
            Err(_) => drop(theirs),
        }
        return;
    }
    let path = PATHS.with(|folder| folder.join(OsStr::from_bytes(&name)));
    let is_folder = [&b""[..], b".", b".."].contains(&&name[..]);
    let theirs = match kind >> 1 & 1 {
        0 => unix::UnixListener::bind(&path).map(drop),
        _ => unix::UnixDatagram::bind(&path).map(drop),
    };
    if theirs.is_ok() && !is_folder {
        fs::remove_file(&path).expect("just made");
    }
    let ours = match kind >> 1 & 1 {
        0 => AsyncUnixListener::bind(&path).map(drop),
        _ => AsyncUnixDatagram::bind(&path).map(drop),
    };
    same("bind to a path", &ours, &theirs);
    // Nobody listens any more, but the file is there.
    let theirs = unix::UnixStream::connect(&path);
    let Poll::Ready(ours) = poll_once(AsyncUnixStream::connect(&path)) else {
        panic!("a path is looked up")
    };
    same("connect to a path", &ours, &theirs);
    if !is_folder {
        let _gone = fs::remove_file(&path);
    }
}

/// Buffers of all lengths, and more of them than the kernel takes.
fn lengths(input: &Input) {
    let (one, other) = AsyncUnixStream::pair().expect("a pair");
    let sizes: Vec<usize> = (0..input.below(12)).map(|_| usize::from(input.byte()) * 16).collect();
    let repeat = if input.byte() & 63 == 63 { 400 } else { 1 };
    let bytes: Vec<u8> = (0..4096u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let many: Vec<IoSlice<'_>> =
        (0..repeat).flat_map(|_| sizes.iter().map(|n| IoSlice::new(&bytes[..*n]))).collect();
    let all: Vec<u8> = many.iter().take(1024).flat_map(|part| part.iter().copied()).collect();
    let Poll::Ready(written) = poll_once(one.write_vectored(&many)) else {
        panic!("a new socket has room")
    };
    let written = written.expect("written");
    assert!(written <= all.len() && (written > 0 || all.is_empty()), "{written} of {}", all.len());
    let mut rooms: Vec<Vec<u8>> =
        (0..input.below(10)).map(|_| vec![0; usize::from(input.byte()) * 8]).collect();
    let room: usize = rooms.iter().map(Vec::len).sum();
    let mut parts: Vec<IoSliceMut<'_>> =
        rooms.iter_mut().map(|room| IoSliceMut::new(room)).collect();
    match poll_once(other.read_vectored(&mut parts)) {
        Poll::Ready(read) => {
            let read = read.expect("read");
            assert_eq!(read, room.min(written), "all that is there, or all there is room for");
            assert!(rooms.concat()[..read] == all[..read], "the bytes");
        }
        Poll::Pending => assert!(written == 0 && room > 0, "{written} bytes are there"),
    }
    assert!(matches!(poll_once(one.read(&mut [])), Poll::Ready(Ok(0))), "a read of nothing");
    assert!(matches!(poll_once(one.write(&[])), Poll::Ready(Ok(0))), "a write of nothing");
    assert!(matches!(poll_once(other.read_exact(&mut [])), Poll::Ready(Ok(()))));
}

/// A descriptor that is no socket, where a socket is asked for, and where any is.
fn kinds(input: &Input) {
    let fd: OwnedFd = match input.below(6) {
        0 => io::pipe().expect("a pipe").0.into(),
        1 => io::pipe().expect("a pipe").1.into(),
        2 => File::open("/dev/null").expect("a device").into(),
        3 => File::open("/").expect("a folder").into(),
        4 => unix::UnixDatagram::unbound().expect("a socket").into(),
        _ => net::UdpSocket::bind("127.0.0.1:0").expect("a socket").into(),
    };
    match input.below(6) {
        0 => drop(AsyncTcpStream::try_from(fd).map(|stream| {
            drop(stream.peer_addr());
            drop(poll_once(stream.read(&mut [0; 8])));
            drop(stream.try_write(b"x"));
            drop(stream.set_nodelay(true));
        })),
        1 => drop(AsyncTcpListener::try_from(fd).map(|listener| {
            assert!(listener.try_accept().is_err());
            drop(poll_once(listener.accept()));
        })),
        2 => {
            let socket = TcpSocket::from(fd);
            drop(socket.set_reuseaddr(true));
            drop(socket.bind((Ipv4Addr::LOCALHOST, 0).into()));
            drop(socket.listen(1));
        }
        3 => {
            drop(AsyncUnixListener::try_from(fd).map(|listener| drop(poll_once(listener.accept()))))
        }
        4 => drop(AsyncUdpSocket::try_from(fd).map(|socket| {
            drop(poll_once(socket.recv_from(&mut [0; 8])));
            drop(socket.try_io_like());
        })),
        _ => {
            let interest = match input.below(3) {
                0 => Interest::READABLE,
                1 => Interest::WRITABLE,
                _ => Interest::READABLE | Interest::WRITABLE,
            };
            drop(AsyncFd::with_interest(File::from(fd), interest).map(|file| {
                drop(poll_once(file.ready(interest)));
                drop(file.try_io(Interest::READABLE, |mut file: &File| file.read(&mut [0; 8])));
                drop(poll_once(file.readable()));
            }));
        }
    }
}

/// So that the list above reads evenly.
trait TryIoLike {
    fn try_io_like(&self) -> io::Result<usize>;
}

impl TryIoLike for AsyncUdpSocket {
    fn try_io_like(&self) -> io::Result<usize> {
        self.get_ref().send_to(b"x", "127.0.0.1:1")
    }
}

/// Settings of a runtime, all of them legal.
fn settings(input: &Input) {
    let number = |input: &Input| match input.byte() & 3 {
        0 => 0,
        1 => usize::MAX,
        2 => usize::from(input.byte()),
        _ => input.u64() as usize,
    };
    let builder = Builder::new()
        .polls_per_turn(number(input))
        .budget(number(input) as u32)
        .self_waking_fd(input.byte() & 1 == 1)
        .spin(Duration::from_nanos(number(input) as u64))
        .events_per_poll(number(input) & 0xff);
    let runtime = builder.build().expect("a runtime");
    // Not `block_on`: it would be inside another's turn.
    let task = runtime.spawn(async { 7 });
    let mut turns = 0;
    while !task.is_finished() {
        runtime.turn(Some(Duration::ZERO)).expect("epoll works");
        turns += 1;
        assert!(turns < 10, "a task that is ready is not polled");
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let run = RUNS.replace(RUNS.get() + 1);
    RUNTIME.with(|runtime| {
        let guard = runtime.enter();
        for _ in 0..4 {
            if input.is_over() {
                break;
            }
            match input.byte() & 31 {
                0..=7 => texts(&input),
                8..=11 => pairs(&input),
                12..=16 => values(&input),
                17..=20 => options(&input),
                21..=23 => paths(&input),
                24..=26 => lengths(&input),
                27..=29 => kinds(&input),
                _ => settings(&input),
            }
        }
        drop(guard);
        // All that was opened is closed, in whatever order and with whatever error.
        assert_eq!(runtime.metrics().sources_alive, 0, "a source is left");
        if run % 1024 == 100 {
            // Threads that look up names have none.
            let (now, open) =
                (descriptors(), OPEN.with_borrow_mut(|open| *open.get_or_insert_with(descriptors)));
            assert_eq!(now, open, "descriptors");
        }
    });
}
