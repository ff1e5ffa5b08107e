//! UDP: each datagram is a message, and what one of them brings about says nothing of the next.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::future::poll_once;
use peer::{millis, run, set_option};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::thread;
use support::{cpu, eventually, fds, wait_of, watched};
use waken::io::Interest;
use waken::net::AsyncUdpSocket;
use waken::task::WaitOn;
use waken::time::{sleep, timeout};
use waken::{JoinSet, Runtime, spawn};

async fn bound() -> (AsyncUdpSocket, SocketAddr) {
    let socket = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two sockets, connected with each other.
async fn pair() -> (AsyncUdpSocket, AsyncUdpSocket) {
    let ((one, here), (other, there)) = (bound().await, bound().await);
    one.connect(there).await.unwrap();
    other.connect(here).await.unwrap();
    (one, other)
}

/// One datagram, which must be on its way.
async fn recv(socket: &AsyncUdpSocket) -> io::Result<Vec<u8>> {
    let mut buf = [0; 2048];
    let n = timeout(millis(2000), socket.recv(&mut buf)).await.expect("stalls")?;
    Ok(buf[..n].to_vec())
}

async fn nothing_comes_to(socket: &AsyncUdpSocket) {
    assert!(timeout(millis(5), socket.recv(&mut [0; 8])).await.is_err());
}

#[test]
fn datagrams_come_one_by_one_with_their_sender() {
    run(async {
        let ((one, from), (other, to)) = (bound().await, bound().await);
        for n in 0..20u8 {
            assert_eq!(one.send_to(&[n; 7], to).await.unwrap(), 7);
        }
        for n in 0..20u8 {
            let mut buf = [0; 64];
            // All are queued, and there is room for several: no further event comes.
            let received = timeout(millis(2000), other.recv_from(&mut buf)).await;
            assert_eq!(received.expect("stalls").unwrap(), (7, from));
            assert_eq!(buf[..7], [n; 7]);
        }
        nothing_comes_to(&other).await;
    });
}

/// S15: it is no end.
#[test]
fn an_empty_datagram_is_a_message() {
    run(async {
        let (one, other) = pair().await;
        let waiting = spawn(async move {
            let first = recv(&other).await.unwrap();
            (first, other)
        });
        sleep(millis(2)).await;
        assert_eq!(one.send(b"").await.unwrap(), 0);
        let (first, other) = waiting.await.unwrap();
        assert_eq!(first, b"");
        // Several, and one that is not empty behind them.
        for datagram in [&b""[..], b"", b"x", b""] {
            one.send(datagram).await.unwrap();
        }
        for expected in [&b""[..], b"", b"x", b""] {
            assert_eq!(recv(&other).await.unwrap(), expected);
        }
        nothing_comes_to(&other).await;
    });
}

/// X06: a buffer without room takes a message as well, and waits for one.
#[test]
fn an_empty_buffer_takes_one_datagram() {
    run(async {
        let (one, other) = pair().await;
        assert!(timeout(millis(5), other.recv(&mut [])).await.is_err());
        one.send(b"first").await.unwrap();
        one.send(b"second").await.unwrap();
        assert_eq!(timeout(millis(2000), other.recv(&mut [])).await.expect("stalls").unwrap(), 0);
        assert_eq!(recv(&other).await.unwrap(), b"second");
    });
}

#[test]
fn what_has_no_room_in_the_buffer_is_lost_and_nothing_else() {
    run(async {
        let ((one, from), (other, to)) = (bound().await, bound().await);
        one.send_to(b"a long one", to).await.unwrap();
        one.send_to(b"next", to).await.unwrap();
        let mut buf = [0; 4];
        assert_eq!(other.recv_from(&mut buf).await.unwrap(), (4, from));
        assert_eq!(&buf, b"a lo");
        assert_eq!(recv(&other).await.unwrap(), b"next");
    });
}

#[test]
fn peeking_leaves_the_datagram_where_it_is() {
    run(async {
        let ((one, from), (other, to)) = (bound().await, bound().await);
        assert!(timeout(millis(5), other.peek_from(&mut [0; 8])).await.is_err());
        one.send_to(b"stays", to).await.unwrap();
        for _ in 0..3 {
            let mut buf = [0; 8];
            assert_eq!(other.peek_from(&mut buf).await.unwrap(), (5, from));
            assert_eq!(&buf[..5], b"stays");
        }
        assert_eq!(recv(&other).await.unwrap(), b"stays");
        nothing_comes_to(&other).await;
    });
}

#[test]
fn a_connected_socket_hears_its_peer_alone() {
    run(async {
        let ((ours, here), (peer, there), (stranger, _)) =
            (bound().await, bound().await, bound().await);
        assert_eq!(ours.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        ours.connect(there).await.unwrap();
        assert_eq!(ours.peer_addr().unwrap(), there);
        stranger.send_to(b"psst", here).await.unwrap();
        peer.send_to(b"hello", here).await.unwrap();
        assert_eq!(recv(&ours).await.unwrap(), b"hello");
        nothing_comes_to(&ours).await;
        ours.send(b"answer").await.unwrap();
        assert_eq!(recv(&peer).await.unwrap(), b"answer");
    });
}

/// An address where nobody is, for sure, as long as the first value lives: a socket is bound there that hears another.
async fn nobody() -> (AsyncUdpSocket, SocketAddr) {
    let (deaf, address) = bound().await;
    deaf.connect(deaf.local_addr().unwrap()).await.unwrap();
    (deaf, address)
}

/// E22, E06, k17: the event of it is `OUT | ERR`, without `IN`.
#[test]
fn a_refusal_is_one_error_and_then_it_goes_on() {
    run(async {
        let ((ours, here), (_deaf, closed)) = (bound().await, nobody().await);
        let ours = Rc::new(ours);
        ours.connect(closed).await.unwrap();
        for _ in 0..3 {
            let inside = ours.clone();
            let waiting = spawn(async move { recv(&inside).await });
            sleep(millis(2)).await;
            assert!(!waiting.is_finished());
            ours.send(b"anybody?").await.unwrap();
            let error = waiting.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            nothing_comes_to(&ours).await;
        }
        let (peer, there) = bound().await;
        ours.connect(there).await.unwrap();
        peer.send_to(b"here", here).await.unwrap();
        assert_eq!(recv(&ours).await.unwrap(), b"here");
        ours.send(b"good").await.unwrap();
    });
}

/// A refusal meets the sender if nobody receives.
#[test]
fn a_refusal_is_told_to_the_next_send() {
    run(async {
        let ((ours, _), (_deaf, closed)) = (bound().await, nobody().await);
        ours.connect(closed).await.unwrap();
        ours.send(b"anybody?").await.unwrap();
        let error = ours.send(b"anybody?").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        ours.send(b"anybody?").await.unwrap();
    });
}

#[test]
fn each_of_those_who_wait_receives_one() {
    run(async {
        let ((one, _), (other, to)) = (bound().await, bound().await);
        let other = Rc::new(other);
        let received = Rc::new(RefCell::new(Vec::new()));
        let mut receivers = JoinSet::new();
        for _ in 0..10 {
            let (other, received) = (other.clone(), received.clone());
            receivers.spawn(async move {
                let mut buf = [0; 8];
                let (n, _) = other.recv_from(&mut buf).await.unwrap();
                received.borrow_mut().push(buf[..n].to_vec());
            });
        }
        sleep(millis(2)).await;
        for n in 0..10u8 {
            one.send_to(&[n], to).await.unwrap();
        }
        while let Some(ended) = timeout(millis(2000), receivers.join_next()).await.expect("stalls")
        {
            ended.unwrap();
        }
        let mut received = received.take();
        received.sort();
        assert_eq!(received, (0..10).map(|n| vec![n]).collect::<Vec<_>>());
    });
}

#[test]
fn addresses_may_be_of_ipv6_and_names() {
    run(async {
        let one = AsyncUdpSocket::bind("[::1]:0").await.expect("this machine has no IPv6");
        let other = AsyncUdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        one.send_to(b"six", other.local_addr().unwrap()).await.unwrap();
        let (n, from) = other.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!((n, from), (3, one.local_addr().unwrap()));

        let (one, other) = (AsyncUdpSocket::bind("localhost:0").await.unwrap(), bound().await.0);
        let four = AsyncUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = ("localhost", one.local_addr().unwrap().port());
        let by = if one.local_addr().unwrap().is_ipv4() { &other } else { &one };
        by.send_to(b"name", to).await.unwrap();
        assert_eq!(recv(&one).await.unwrap(), b"name");
        let text = format!("localhost:{}", to.1);
        by.connect(text.as_str()).await.unwrap();
        by.send(b"text").await.unwrap();
        assert_eq!(recv(&one).await.unwrap(), b"text");
        // Of several that which can be bound.
        let taken = [four.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let bound = AsyncUdpSocket::bind(&taken[..]).await.unwrap();
        assert_ne!(bound.local_addr().unwrap(), taken[0]);
    });
}

#[test]
fn addresses_that_are_none_are_errors() {
    run(async {
        let (socket, here) = bound().await;
        for text in ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", ":0:0", "[::1:9"] {
            assert!(AsyncUdpSocket::bind(text).await.is_err(), "{text:?}");
            assert!(socket.connect(text).await.is_err(), "{text:?}");
            assert!(socket.send_to(b"x", text).await.is_err(), "{text:?}");
        }
        let none: &[SocketAddr] = &[];
        assert_eq!(AsyncUdpSocket::bind(none).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        let sent = socket.send_to(b"x", none).await;
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::InvalidInput);
        // Neither a peer nor room: of the first, std has no kind.
        assert_eq!(socket.send(b"x").await.unwrap_err().raw_os_error(), Some(libc::EDESTADDRREQ));
        let error = socket.send_to(&vec![0; 70_000], here).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(AsyncUdpSocket::bind(here).await.unwrap_err().kind(), ErrorKind::AddrInUse);
    });
}

/// On the loopback a UDP socket never runs full, so this one is of another family: the way is the same.
#[test]
fn a_sender_waits_while_there_is_no_room() {
    run(async {
        let (ours, peer) = UnixDatagram::pair().unwrap();
        set_option(&ours, libc::SO_SNDBUF, 4096);
        let ours = AsyncUdpSocket::try_from(OwnedFd::from(ours)).unwrap();
        let fd = ours.as_raw_fd();
        let (sent, wrote) = (Rc::new(Cell::new(0u32)), line!() + 4);
        let counted = sent.clone();
        let sender = spawn(async move {
            for n in 0..200u32 {
                ours.send(&n.to_ne_bytes()).await.unwrap();
                counted.set(n + 1);
            }
        });
        let before = cpu();
        sleep(millis(200)).await;
        assert!(cpu() - before < millis(60), "{:?}", cpu() - before);
        let full = sent.get();
        assert!((1..200).contains(&full), "{full}");
        let (on, at) = wait_of(sender.id()).await;
        assert_eq!((on, at.line()), (WaitOn::Writable(fd), wrote));
        let peer = AsyncUdpSocket::try_from(OwnedFd::from(peer)).unwrap();
        for n in 0..200u32 {
            assert_eq!(recv(&peer).await.unwrap(), n.to_ne_bytes());
        }
        sender.await.unwrap();
    });
}

#[test]
fn calls_of_ones_own_and_readiness_are_as_with_streams() {
    run(async {
        let ((one, from), (other, to)) = (bound().await, bound().await);
        let receive = |socket: &UdpSocket| {
            let mut buf = [0; 8];
            socket.recv_from(&mut buf).map(|(n, from)| (n, from, buf[0]))
        };
        other.readable().await.unwrap();
        let error = other.try_io(Interest::READABLE, receive).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(timeout(millis(2), other.readable()).await.is_err());
        other.writable().await.unwrap();
        let waiting = other.async_io(Interest::READABLE, receive);
        assert!(timeout(millis(2), waiting).await.is_err());
        let sent = one.async_io(Interest::WRITABLE, |socket| socket.send_to(b"x", to)).await;
        assert_eq!(sent.unwrap(), 1);
        timeout(millis(2000), other.readable()).await.expect("stalls").unwrap();
        let received = other.async_io(Interest::READABLE, receive).await.unwrap();
        assert_eq!(received, (1, from, b'x'));
        // Given up, it takes nothing.
        let mut buf = [0; 8];
        assert!(poll_once(other.recv_from(&mut buf)).await.is_none());
        one.send_to(b"y", to).await.unwrap();
        assert_eq!(recv(&other).await.unwrap(), b"y");
    });
}

#[test]
fn options_are_those_of_the_socket_itself() {
    run(async {
        let (socket, to) = bound().await;
        let options = socket.get_ref();
        options.set_ttl(3).unwrap();
        options.set_multicast_loop_v4(false).unwrap();
        assert_eq!((options.ttl().unwrap(), options.multicast_loop_v4().unwrap()), (3, false));
        // What needs a permission of the socket.
        let denied = socket.send_to(b"all", "127.255.255.255:9").await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        assert_eq!(options.send_to(b"x", to).unwrap(), 1);
        assert_eq!(options.recv(&mut [0; 8]).unwrap(), 1);
        assert_eq!(options.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(format!("{socket:?}").contains(&format!("addr: {to}, fd: ")), "{socket:?}");
    });
}

/// F05, F12.
#[test]
fn a_blocking_socket_comes_in_and_goes_out_and_nothing_is_left() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let before = fds();
        let (blocking, peer) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = blocking.local_addr().unwrap();
        let plain = runtime.block_on(async {
            let ours = AsyncUdpSocket::try_from(blocking).unwrap();
            nothing_comes_to(&ours).await;
            peer.send_to(b"x", to).unwrap();
            assert_eq!(recv(&ours).await.unwrap(), b"x");
            ours.into_std()
        });
        assert_eq!(runtime.metrics().sources_alive, 0);
        assert_eq!(plain.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // A name is looked up on a thread, which ends a little later.
        runtime.block_on(async { AsyncUdpSocket::bind("localhost:0").await.unwrap() });
        drop((plain, peer));
        eventually("all is closed", || fds() == before);
    });
}

#[test]
fn elsewhere_every_use_is_an_error_that_says_so() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (socket, to) = runtime.block_on(bound());
        let asked = |that_says: &str| {
            futures_lite::future::block_on(async {
                let mut buf = [0; 8];
                let results = [
                    socket.send(b"x").await,
                    socket.recv(&mut buf).await,
                    socket.send_to(b"x", to).await,
                    socket.readable().await.map(|()| 0),
                    socket.try_io(Interest::READABLE, |socket| socket.recv(&mut [0])),
                ];
                for result in results {
                    let error = result.unwrap_err();
                    assert!(error.to_string().contains(that_says), "{error}");
                }
            });
        };
        thread::scope(|scope| scope.spawn(|| asked("another thread")).join().unwrap());
        drop(runtime);
        asked("has ended");
        let bind = futures_lite::future::block_on(AsyncUdpSocket::bind(to));
        assert!(bind.is_err());
    });
}

/// S15: of every length there can be, the shortest and the longest among them, each is one message; into a buffer of one byte as well.
#[test]
fn datagrams_of_every_length_come_whole_and_what_is_cut_is_cut() {
    run(async {
        let ((one, from), (other, to)) = (bound().await, bound().await);
        let mut buf = vec![0; 70_000];
        for length in [0, 1, 2, 1_471, 1_472, 1_473, 65_506, 65_507] {
            let sent: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            assert_eq!(one.send_to(&sent, to).await.unwrap(), length);
            let received = timeout(millis(2000), other.recv_from(&mut buf)).await;
            assert_eq!(received.expect("stalls").unwrap(), (length, from));
            assert!(buf[..length] == sent);
            // The rest is not the next message.
            one.send_to(&sent, to).await.unwrap();
            let received = timeout(millis(2000), other.recv_from(&mut buf[..1])).await;
            assert_eq!(received.expect("stalls").unwrap(), (length.min(1), from));
            nothing_comes_to(&other).await;
        }
        let error = one.send_to(&vec![0; 65_508], to).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    });
}
