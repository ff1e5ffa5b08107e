//! Connecting: who answers, who refuses, and who is given up.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::future::poll_once;
use peer::{FullBacklog, get_option, millis, run};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener};
use std::pin::pin;
use support::{fds, watched};
use waken::net::{TcpSocket, ToSocketAddrs};
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// An address where nobody listens, and nobody else begins to while the value lives.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// K01.
#[test]
fn a_refused_connection_is_an_error_and_leaves_nothing() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (_held, nobody) = refusing();
            let before = fds();
            for _ in 0..100 {
                let error = AsyncTcpStream::connect(nobody).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                let error = TcpSocket::new_v4().unwrap().connect(nobody).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
            assert_eq!(fds(), before);
            assert_eq!(runtime.metrics().sources_alive, 0);
        });
    });
}

/// K06.
#[test]
fn of_several_addresses_the_first_that_answers_is_taken() {
    run(async {
        let ((_one, one), (_two, two)) = (refusing(), refusing());
        let (good, addr) = listener();
        let (other, other_addr) = listener();
        let all = [one, two, addr, other_addr];
        let stream = AsyncTcpStream::connect(&all[..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addr);
        assert_eq!(good.accept().unwrap().1, stream.local_addr().unwrap());
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// K06: the last error tells the two apart, since the broadcast address of the loopback
/// network is unreachable to TCP.
#[test]
fn of_several_addresses_that_fail_the_last_ones_error_is_returned() {
    run(async {
        let (_held, refused) = refusing();
        let unreachable: SocketAddr = "127.255.255.255:9".parse().unwrap();
        let kind =
            async |all: &[SocketAddr]| AsyncTcpStream::connect(all).await.unwrap_err().kind();
        let other = kind(&[unreachable]).await;
        assert_ne!(other, ErrorKind::ConnectionRefused);
        assert_eq!(kind(&[unreachable, refused]).await, ErrorKind::ConnectionRefused);
        assert_eq!(kind(&[refused, unreachable]).await, other);
    });
}

#[test]
fn no_address_is_an_invalid_input() {
    run(async {
        let none: &[SocketAddr] = &[];
        let error = AsyncTcpStream::connect(none).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("no address"), "{error}");
        let error = AsyncTcpListener::bind(none).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("no address"), "{error}");
    });
}

#[test]
fn every_way_to_spell_an_address_connects() {
    async fn check<A: ToSocketAddrs>(addr: A, listener: &TcpListener) {
        let stream = AsyncTcpStream::connect(addr).await.unwrap();
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
    }
    run(async {
        let (listener, addr) = listener();
        let port = addr.port();
        let SocketAddr::V4(v4) = addr else { panic!("it is IPv4") };
        check(addr, &listener).await;
        check(&addr, &listener).await;
        check(v4, &listener).await;
        check((Ipv4Addr::LOCALHOST, port), &listener).await;
        check((IpAddr::from(Ipv4Addr::LOCALHOST), port), &listener).await;
        check(&[addr][..], &listener).await;
        check(("127.0.0.1", port), &listener).await;
        check(("localhost", port), &listener).await;
        check(("localhost".to_owned(), port), &listener).await;
        check(addr.to_string(), &listener).await;
        check(&addr.to_string(), &listener).await;
        check(addr.to_string().as_str(), &listener).await;
        check(format!("localhost:{port}"), &listener).await;
        let v6 = AsyncTcpStream::connect((Ipv6Addr::LOCALHOST, port)).await;
        assert!(v6.is_err(), "nobody listens there over IPv6");
    });
}

/// How often this thread has read: to look up a name it would have to, if only `/etc/hosts`. A look is one more.
fn reads() -> u64 {
    let mut text = [0; 512];
    let n = File::open("/proc/thread-self/io").unwrap().read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..n]).unwrap();
    text.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

/// K07: a name is looked up elsewhere, and the loop goes on meanwhile.
#[test]
fn looking_up_a_name_does_not_block_the_loop() {
    run(async {
        let before = reads();
        let here = std::net::ToSocketAddrs::to_socket_addrs("localhost:0").unwrap();
        assert!(here.count() > 0 && reads() > before + 1, "it would not be seen");
        let (listener, addr) = listener();
        // How often the loop has had a turn in the middle. How quick the other thread is, the machine decides.
        let (mut rounds, mut waited) = (0, 0);
        while rounds < 50 || waited < 10 {
            rounds += 1;
            assert!(rounds <= 2_000, "the loop went on in {waited} of {rounds} look-ups");
            let stream = AsyncTcpStream::connect(("localhost", addr.port())).await.unwrap();
            drop((listener.accept().unwrap(), stream));
            // To bind needs no waiting but for the name, which is looked up on another thread.
            let mut binding = pin!(AsyncTcpListener::bind("localhost:0"));
            let (mut polls, before) = (1, reads());
            let bound = loop {
                if let Some(bound) = poll_once(binding.as_mut()).await {
                    break bound;
                }
                polls += 1;
                yield_now().await;
            };
            assert_eq!(reads(), before + 1, "the name was looked up on this thread");
            drop(bound.unwrap());
            waited += u32::from(polls > 2);
            let literal = poll_once(AsyncTcpListener::bind("127.0.0.1:0")).await;
            literal.expect("a literal address is parsed on the spot").unwrap();
        }
        // A name that does not exist is an error (the reserved domain is in nobody's zone).
        let lookup = AsyncTcpStream::connect("no-such-host.invalid:80");
        if let Ok(result) = timeout(millis(3000), lookup).await {
            result.unwrap_err();
        }
        // A look-up that is given up is harmless.
        assert!(timeout(millis(0), AsyncTcpStream::connect("localhost:9")).await.is_err());
    });
}

#[test]
fn what_is_no_address_is_an_invalid_input_with_a_sentence() {
    run(async {
        let cases = [
            ("nonsense", "`host:port`"),
            ("127.0.0.1", "`host:port`"),
            ("", "`host:port`"),
            ("localhost:", "not a number"),
            ("localhost:http", "not a number"),
            ("localhost:65536", "65535"),
            ("127.0.0.1:-1", "not a number"),
            ("[::1]", "`host:port`, with IPv6 `[::1]:80`"),
            ("[::1", "`host:port`, with IPv6"),
            ("::1", "`host:port`, with IPv6"),
            (":80", "no host"),
            ("a b:80", "white space"),
        ];
        for (text, sentence) in cases {
            for error in [
                AsyncTcpStream::connect(text).await.unwrap_err(),
                AsyncTcpStream::connect(text.to_owned()).await.unwrap_err(),
                AsyncTcpListener::bind(text).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "`{text}`: {error}");
                assert!(error.to_string().contains(sentence), "`{text}`: {error}");
            }
        }
    });
}

/// K05: the descriptor is closed and its registration gone, as often as somebody gives up.
#[test]
fn a_connect_that_is_given_up_leaves_nothing() {
    watched(10, || {
        let nobody = FullBacklog::new();
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let before = fds();
            for round in 0..5_000 {
                let connecting = AsyncTcpStream::connect(nobody.addr);
                // Most are given up at once, as soon as they have begun.
                let patience = millis(u64::from(round % 10 == 0));
                assert!(timeout(patience, connecting).await.is_err(), "it is connected");
                assert_eq!(runtime.metrics().sources_alive, 0, "round {round}");
                if round % 1_000 == 0 {
                    assert_eq!(fds(), before);
                }
            }
            assert_eq!(fds(), before);
            // The number of the one that was given up works for the next.
            let (listener, addr) = listener();
            let given_up = AsyncTcpStream::connect(nobody.addr);
            assert!(timeout(millis(1), given_up).await.is_err());
            let stream = AsyncTcpStream::connect(addr).await.unwrap();
            listener.accept().unwrap().0.write_all(b"abc").unwrap();
            assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 3);
        });
    });
}

/// K03: waiting for an answer costs nothing, and "writable" alone is no success.
#[test]
fn a_connect_that_nobody_answers_waits_without_a_poll() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let nobody = FullBacklog::new();
        runtime.block_on(async {
            let addr = nobody.addr;
            let connecting = spawn(AsyncTcpStream::connect(addr));
            sleep(millis(20)).await;
            let before = runtime.metrics();
            sleep(millis(200)).await;
            assert!(!connecting.is_finished());
            assert!(runtime.metrics().polls - before.polls <= 1);
            assert!(runtime.metrics().epoll_events - before.epoll_events <= 1);
        });
    });
}

#[test]
fn connecting_needs_no_accept() {
    run(async {
        let (listener, addr) = listener();
        let stream = AsyncTcpStream::connect(addr).await.unwrap();
        stream.write_all(b"early").await.unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let (mut accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer, stream.local_addr().unwrap());
        let mut received = String::new();
        accepted.read_to_string(&mut received).unwrap();
        assert_eq!(received, "early");
    });
}

#[test]
fn a_socket_connects_from_where_it_is_bound_with_what_was_set() {
    run(async {
        let (listener, addr) = listener();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_send_buffer_size(20_000).unwrap();
        socket.set_recv_buffer_size(30_000).unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let from = socket.local_addr().unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.2");
        assert_ne!(from.port(), 0);
        assert!(format!("{socket:?}").contains("TcpSocket"));
        let stream = socket.connect(addr).await.unwrap();
        assert_eq!(stream.local_addr().unwrap(), from);
        assert_eq!(listener.accept().unwrap().1, from);
        // The kernel doubles them, socket(7).
        assert_eq!(get_option(&stream, libc::SO_SNDBUF), 40_000);
        assert_eq!(get_option(&stream, libc::SO_RCVBUF), 60_000);
    });
}

/// K01: a reset right after the handshake is an error of the connect or of the first read, never a hang.
#[test]
fn a_server_that_resets_at_once_is_seen() {
    run(async {
        let (listener, addr) = listener();
        let server = std::thread::spawn(move || {
            (0..100).for_each(|_| peer::reset(listener.accept().unwrap().0));
        });
        for _ in 0..100 {
            let first_read = async {
                let stream = AsyncTcpStream::connect(addr).await?;
                stream.read(&mut [0; 9]).await
            };
            let result: io::Result<usize> = timeout(millis(2000), first_read).await.expect("hangs");
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        server.join().unwrap();
    });
}

#[test]
fn a_connect_outside_of_a_runtime_is_an_error_that_says_so() {
    watched(10, || {
        let (_listener, addr) = listener();
        let error = futures_lite::future::block_on(AsyncTcpStream::connect(addr)).unwrap_err();
        assert!(error.to_string().contains("block_on"), "{error}");
    });
}

/// K08, k28: a socket that is bound to the address which it connects to is connected with itself. Whoever tries a local port
/// again and again, where nobody listens, may meet that.
#[test]
fn a_socket_connects_to_itself_if_it_is_told_to() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        assert_eq!((stream.local_addr().unwrap(), stream.peer_addr().unwrap()), (own, own));
        stream.write_all(b"to myself").await.unwrap();
        let mut received = [0; 9];
        timeout(millis(2000), stream.read_exact(&mut received)).await.expect("stalls").unwrap();
        assert_eq!(&received, b"to myself");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut received).await.unwrap(), 0);
    });
}
