//! A TCP stream is a socket: it has std's options, comes from std, and goes back.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::future::poll_once;
use peer::{get_option, millis, pair, reset, run, std_pair};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use support::{fds, watched};
use waken::net::TcpSocket;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime};

/// S12.
#[test]
fn options_reach_the_socket_and_come_back() {
    run(async {
        let (ours, _peer) = pair();
        assert!(!ours.nodelay().unwrap(), "off, as in the kernel");
        ours.set_nodelay(true).unwrap();
        assert!(ours.nodelay().unwrap());
        ours.set_ttl(42).unwrap();
        assert_eq!(ours.ttl().unwrap(), 42);
        let std = ours.into_std();
        assert!(std.nodelay().unwrap());
        assert_eq!(std.ttl().unwrap(), 42);

        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_ttl(43).unwrap();
        assert_eq!(listener.ttl().unwrap(), 43);
        assert_eq!(get_option(&listener, libc::SO_REUSEADDR), 1);
        assert_eq!(listener.into_std().ttl().unwrap(), 43);
    });
}

#[test]
fn addresses_are_those_of_the_peer_the_other_way_round() {
    run(async {
        let (ours, peer) = pair();
        assert_eq!(ours.local_addr().unwrap(), peer.peer_addr().unwrap());
        assert_eq!(ours.peer_addr().unwrap(), peer.local_addr().unwrap());
        reset(peer);
        sleep(millis(5)).await;
        assert_eq!(ours.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

/// S13: the error is given once, here or to the next operation.
#[test]
fn take_error_takes_the_error() {
    run(async {
        let (ours, peer) = pair();
        assert!(ours.take_error().unwrap().is_none());
        reset(peer);
        sleep(millis(5)).await;
        let error = ours.take_error().unwrap().expect("the peer has reset the connection");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(ours.take_error().unwrap().is_none());
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
    });
}

/// E23, k21: after `shutdown(Read)` an end of file is not final.
#[test]
fn shutting_down_reading_does_not_forbid_late_bytes() {
    run(async {
        let (ours, mut peer) = pair();
        ours.shutdown(Shutdown::Read).unwrap();
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
        peer.write_all(b"late").unwrap();
        sleep(millis(5)).await;
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 4);
        ours.write_all(b"x").await.unwrap();
        assert_eq!(peer.read(&mut [0; 9]).unwrap(), 1);
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(peer.read(&mut [0; 9]).unwrap(), 0);
    });
}

#[test]
fn debug_output_names_addresses_and_descriptor() {
    run(async {
        let (ours, peer) = pair();
        let (addr, fd) = (ours.local_addr().unwrap(), ours.as_raw_fd());
        let shown = format!("{ours:?}");
        for part in [
            "AsyncTcpStream".to_owned(),
            format!("addr: {addr}"),
            format!("peer: {}", peer.local_addr().unwrap()),
            format!("fd: {fd}"),
        ] {
            assert!(shown.contains(&part), "no `{part}` in {shown}");
        }
        let (reader, writer) = ours.into_split();
        assert!(format!("{reader:?}").contains("OwnedReadHalf"));
        assert!(format!("{writer:?}").contains(&format!("fd: {fd}")));
        // What there is no peer of any more can still be shown.
        reset(peer);
        sleep(millis(5)).await;
        let shown = format!("{:?}", reader.as_ref());
        assert!(shown.contains(&format!("fd: {fd}")) && !shown.contains("peer"), "{shown}");

        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(format!("{listener:?}").contains(&format!("addr: {addr}")));
        assert!(format!("{:?}", listener.incoming()).contains("Incoming"));
    });
}

/// F06: taken out is deregistered, so the same socket can come back, any number of times.
#[test]
fn a_socket_goes_to_std_and_back_a_thousand_times() {
    support::watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (mut ours, mut peer) = pair();
            let fd = ours.as_raw_fd();
            for round in 0..1000u32 {
                let std: TcpStream = match round % 2 {
                    0 => ours.into_std(),
                    _ => OwnedFd::from(ours).into(),
                };
                assert_eq!(runtime.metrics().sources_alive, 0);
                ours = match round % 3 {
                    0 => AsyncTcpStream::try_from(OwnedFd::from(std)).unwrap(),
                    _ => AsyncTcpStream::try_from(std).unwrap(),
                };
                assert_eq!((ours.as_raw_fd(), ours.as_fd().as_raw_fd()), (fd, fd));
                let mut buf = [0; 4];
                peer.write_all(&round.to_be_bytes()).unwrap();
                ours.read_exact(&mut buf).await.unwrap();
                ours.write_all(&buf).await.unwrap();
                peer.read_exact(&mut buf).unwrap();
                assert_eq!(buf, round.to_be_bytes());
            }
        });
    });
}

#[test]
fn a_listener_goes_to_std_and_back_with_its_queue() {
    run(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
        listener.accept().await.unwrap();
        let listener = AsyncTcpListener::try_from(OwnedFd::from(listener)).unwrap();
        listener.accept().await.unwrap();
        let listener = AsyncTcpListener::try_from(listener.into_std()).unwrap();
        listener.accept().await.unwrap();
        assert!(timeout(millis(10), listener.accept()).await.is_err());
    });
}

/// F12: a socket that blocks would block the loop.
#[test]
fn a_blocking_socket_is_made_non_blocking() {
    run(async {
        let (ours, mut peer) = std_pair();
        let mut same = ours.try_clone().unwrap();
        let ours = AsyncTcpStream::try_from(ours).unwrap();
        assert!(timeout(millis(10), ours.read(&mut [0; 9])).await.is_err());
        // The flag is shared by all duplicates, as documented.
        assert_eq!(same.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // And it stays when the socket leaves.
        let mut ours = ours.into_std();
        assert_eq!(ours.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(b"x").unwrap();
        let ours = AsyncTcpStream::try_from(ours).unwrap();
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 1);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = AsyncTcpListener::try_from(listener).unwrap();
        assert!(timeout(millis(10), listener.accept()).await.is_err());
    });
}

/// F05, F07, E20: an error of `epoll_ctl` comes out, and leaves everything as it was.
#[test]
fn one_descriptor_cannot_be_registered_twice_and_the_first_one_works_on() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = pair();
            let (descriptors, sources) = (fds(), runtime.metrics().sources_alive);
            for _ in 0..100 {
                let error = peer::register_again(&ours).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
                assert_eq!(runtime.metrics().sources_alive, sources);
            }
            assert_eq!(fds(), descriptors);
            assert!(timeout(millis(5), ours.read(&mut [0; 9])).await.is_err());
            peer.write_all(b"abc").unwrap();
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 3);
        });
    });
}

/// F05: what cannot be watched is refused, and closed.
#[test]
fn a_directory_is_refused_and_leaves_nothing() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let before = fds();
            for _ in 0..100 {
                let dir = OwnedFd::from(std::fs::File::open("/").unwrap());
                // k23: a directory has no readiness.
                let error = AsyncTcpStream::try_from(dir).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
            }
            assert_eq!(fds(), before);
            assert_eq!(runtime.metrics().sources_alive, 0);
        });
    });
}

/// F12: what we open never makes the loop wait.
#[test]
fn what_we_open_does_not_block() {
    run(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let client = AsyncTcpStream::connect(addr).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let socket = waken::net::TcpSocket::new_v4().unwrap();
        for fd in [listener.as_fd(), client.as_fd(), server.as_fd(), socket.as_fd()] {
            assert!(!kernel::is_blocking(&fd), "{fd:?} of {listener:?} {client:?} {server:?}");
        }
    });
}

/// F11: a child process inherits nothing.
#[test]
fn what_we_open_is_closed_on_exec() {
    watched(10, || {
        waken::block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let client = AsyncTcpStream::connect(addr).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let socket = waken::net::TcpSocket::new_v4().unwrap();
            let ours = [
                listener.as_raw_fd(),
                client.as_raw_fd(),
                server.as_raw_fd(),
                socket.as_fd().as_raw_fd(),
            ];
            let child = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output();
            let seen = String::from_utf8(child.unwrap().stdout).unwrap();
            assert!(seen.contains("/proc/"), "{seen}");
            for leak in ["socket:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]"] {
                assert!(!seen.contains(leak), "{ours:?} of ours are in a child:\n{seen}");
            }
        });
    });
}

/// X06: whatever is set, and whatever is taken for an address, is done or is an error; the seed is in the message.
#[test]
fn random_options_and_addresses_are_taken_or_refused() {
    let seed = std::env::var("WAKEN_SEED").map_or(6, |seed| seed.parse().unwrap());
    let mut random = support::Random(seed);
    let extremes = [0, 1, 2, 127, 255, 256, 65_535, 1 << 20, i32::MAX as u32, 1 << 31, u32::MAX];
    let mut number = move || match random.below(3) {
        0 => extremes[random.below(extremes.len() as u64) as usize],
        _ => random.below(1 << 32) as u32,
    };
    println!("WAKEN_SEED={seed}");
    run(async {
        let letters = ['0', '1', '9', '6', ':', '.', '[', ']', '%', '-', '+', '/', ' ', '\0', 'é'];
        let (mut taken, mut refused) = (0, 0);
        let mut note = |fine: bool| *if fine { &mut taken } else { &mut refused } += 1;
        for _ in 0..300 {
            let socket = TcpSocket::new_v4().unwrap();
            note(socket.set_recv_buffer_size(number()).is_ok());
            note(socket.set_send_buffer_size(number()).is_ok());
            note(socket.set_reuseaddr(number() % 2 == 0).is_ok());
            note(socket.set_only_v6(number() % 2 == 0).is_ok());
            let ip = [127, 0, 0, number() as u8];
            let port = if number() % 4 == 0 { number() as u16 } else { 0 };
            note(socket.bind((ip, port).into()).is_ok());
            // A backlog of any length, and then it still accepts.
            match socket.listen(number().max(1)) {
                Err(_) => note(false),
                Ok(listener) => {
                    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    let (stream, _) = listener.accept().await.unwrap();
                    note(stream.set_ttl(number()).is_ok());
                    note(stream.set_nodelay(number() % 2 == 0).is_ok());
                    drop(client);
                }
            }
            let text: String =
                (0..number() % 24).map(|_| letters[number() as usize % letters.len()]).collect();
            // A text that looks like an address may be one: nobody waits for who is there.
            let bound = poll_once(waken::net::AsyncUdpSocket::bind(text.as_str())).await;
            note(bound.is_none_or(|bound| bound.is_ok()));
            let (v4, v6) = (number().to_be_bytes(), std::array::from_fn(|_| number() as u16));
            for address in [SocketAddr::from((v4, 0)), (v6, 0).into()] {
                let bound = poll_once(waken::net::AsyncUdpSocket::bind(address)).await;
                note(bound.expect("binding to an address needs no waiting").is_ok());
            }
        }
        assert!(taken > 500 && refused > 300, "{taken} taken, {refused} refused");
    });
}
