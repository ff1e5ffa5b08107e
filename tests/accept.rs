//! Accepting: every client once, whatever happened to the others.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::StreamExt;
use peer::{get_option, millis, reset, run};
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::rc::Rc;
use std::time::Instant;
use support::{fds, watched};
use waken::net::{AsyncUnixListener, TcpSocket};
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

async fn bind() -> (AsyncTcpListener, SocketAddr) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn connect(count: usize, addr: SocketAddr) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(addr).unwrap()).collect()
}

fn names(clients: &[TcpStream]) -> HashSet<SocketAddr> {
    clients.iter().map(|client| client.local_addr().unwrap()).collect()
}

/// E14, L06, k16: one edge for all of them; and the backlog holds 600.
#[test]
fn six_hundred_clients_that_came_before_the_first_accept_are_accepted_one_a_turn() {
    run(async {
        let (listener, addr) = bind().await;
        let start = Instant::now();
        let clients = connect(600, addr);
        assert!(start.elapsed() < millis(1000), "the backlog is small: {:?}", start.elapsed());
        let mut accepted = HashSet::new();
        for _ in 0..600 {
            let next = timeout(millis(1000), listener.accept()).await;
            let (stream, from) = next.expect("one is forgotten").unwrap();
            assert_eq!(stream.peer_addr().unwrap(), from);
            assert!(accepted.insert(from));
            yield_now().await;
        }
        assert_eq!(accepted, names(&clients));
        assert!(timeout(millis(10), listener.accept()).await.is_err());
        // And after the last `WouldBlock` there is a new edge.
        let late = TcpStream::connect(addr).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, late.local_addr().unwrap());
    });
}

/// L04, k14, N01: the address comes from the accept, since the socket knows none any more.
#[test]
fn a_client_that_has_reset_already_is_accepted_and_its_first_read_says_so() {
    run(async {
        let (listener, addr) = bind().await;
        for _ in 0..1_000 {
            let client = TcpStream::connect(addr).unwrap();
            let from = client.local_addr().unwrap();
            reset(client);
            let (stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, from);
            let error = stream.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn incoming_is_a_stream_of_all_clients() {
    run(async {
        let (listener, addr) = bind().await;
        let early = connect(5, addr);
        let mut incoming = listener.incoming();
        let mut accepted = HashSet::new();
        for _ in 0..5 {
            let stream = incoming.next().await.unwrap().unwrap();
            accepted.insert(stream.peer_addr().unwrap());
        }
        assert_eq!(accepted, names(&early));
        assert!(timeout(millis(5), incoming.next()).await.is_err());
        let late = connect(5, addr);
        let mut streams = listener.incoming().take(5);
        let mut accepted = HashSet::new();
        while let Some(stream) = streams.next().await {
            accepted.insert(stream.unwrap().peer_addr().unwrap());
        }
        assert_eq!(accepted, names(&late));
    });
}

#[test]
fn each_client_goes_to_one_of_the_tasks_that_accept() {
    run(async {
        let (listener, addr) = bind().await;
        let (listener, accepted) = (Rc::new(listener), Rc::new(RefCell::new(Vec::new())));
        for way in 0..9 {
            let (listener, accepted) = (listener.clone(), accepted.clone());
            spawn(async move {
                let mut incoming = listener.incoming();
                loop {
                    let stream = match way % 3 {
                        0 => listener.accept().await.unwrap().0,
                        1 => incoming.next().await.unwrap().unwrap(),
                        // One claim is shared by all that poll: one of the nine tasks only.
                        _ if way == 2 => poll_fn(|cx| listener.poll_accept(cx)).await.unwrap().0,
                        _ => return,
                    };
                    accepted.borrow_mut().push((stream.peer_addr().unwrap(), way));
                    // Who goes on at once gets the next one as well, which is allowed.
                    yield_now().await;
                }
            });
        }
        sleep(millis(2)).await;
        let mut clients = Vec::new();
        for round in 0..60 {
            clients.extend(connect(1 + round % 7, addr));
            if round % 3 == 0 {
                sleep(millis(1)).await;
            }
        }
        let all = async {
            while accepted.borrow().len() < clients.len() {
                sleep(millis(1)).await;
            }
        };
        timeout(millis(2000), all).await.expect("one is forgotten");
        let accepted = accepted.borrow();
        let unique: HashSet<_> = accepted.iter().map(|(addr, _)| *addr).collect();
        assert_eq!((unique.len(), unique), (clients.len(), names(&clients)));
        let ways: HashSet<_> = accepted.iter().map(|(_, way)| way).collect();
        assert!(ways.len() >= 2, "all went to {ways:?}");
    });
}

#[test]
fn try_accept_takes_who_is_there() {
    run(async {
        let (listener, addr) = bind().await;
        let would_block = || {
            let error = listener.try_accept().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        };
        would_block();
        let clients = connect(3, addr);
        let accepted: HashSet<_> = (0..3).map(|_| listener.try_accept().unwrap().1).collect();
        assert_eq!(accepted, names(&clients));
        would_block();
        // What it remembers is true: the next accept waits, and is woken.
        assert!(timeout(millis(5), listener.accept()).await.is_err());
        let client = TcpStream::connect(addr).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
    });
}

/// N05: an accept that is given up has taken nobody.
#[test]
fn a_cancelled_accept_loses_no_client() {
    run(async {
        let (listener, addr) = bind().await;
        let connecting = std::thread::spawn(move || {
            (0..200).map(|_| connect(1, addr).remove(0)).collect::<Vec<_>>()
        });
        let (mut accepted, mut cancelled) = (HashSet::new(), 0);
        let mut random = support::Random(9);
        while accepted.len() < 200 {
            let giving_up = async {
                for _ in 0..random.below(3) {
                    yield_now().await;
                }
                None
            };
            let accepting = async { Some(listener.accept().await.unwrap().1) };
            match futures_lite::future::or(accepting, giving_up).await {
                Some(from) => assert!(accepted.insert(from)),
                None => cancelled += 1,
            }
        }
        assert_eq!(accepted, names(&connecting.join().unwrap()));
        assert!(cancelled > 0);
    });
}

/// L10: the kernel resets those that were never accepted.
#[test]
fn clients_in_the_queue_of_a_dropped_listener_are_reset() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (listener, addr) = bind().await;
            let listener = Rc::new(listener);
            let mut clients = connect(20, addr);
            drop(listener.accept().await.unwrap());
            let waiting = listener.clone();
            let task = spawn(async move {
                for _ in 0..19 {
                    waiting.accept().await.unwrap();
                }
                waiting.accept().await.map(drop)
            });
            clients.extend(connect(5, addr));
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            drop(listener);
            assert_eq!(runtime.metrics().sources_alive, 0);
            for client in &mut clients[1..] {
                assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
            assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            drop(clients);
            assert!(!fds().iter().any(|fd| fd.contains("socket:")), "{:?}", fds());
        });
    });
}

/// L08: rebinding right after its connections were closed works; taking somebody's place does not.
#[test]
fn an_address_in_use_is_an_error_and_one_in_time_wait_is_not() {
    run(async {
        let (listener, addr) = bind().await;
        let error = AsyncTcpListener::bind(addr).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        let bound = socket.bind(addr);
        let error = bound.and_then(|()| socket.listen(1).map(drop)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        // Of several addresses the first that is free.
        let two = [addr, "127.0.0.1:0".parse().unwrap()];
        let other = AsyncTcpListener::bind(&two[..]).await.unwrap();
        assert_ne!(other.local_addr().unwrap(), addr);

        let mut client = TcpStream::connect(addr).unwrap();
        // We close first, so the time of waiting is on this side's address.
        drop(listener.accept().await.unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, listener));
        sleep(millis(5)).await;
        let again = AsyncTcpListener::bind(addr).await.unwrap();
        assert_eq!(again.local_addr().unwrap(), addr);
        let not_here = AsyncTcpListener::bind("192.0.2.1:0").await.unwrap_err();
        assert_eq!(not_here.kind(), ErrorKind::AddrNotAvailable);
    });
}

/// L08: by an option on both sockets, and only then.
#[test]
fn two_listeners_share_an_address_when_both_want_to() {
    run(async {
        let shared = |addr: SocketAddr, reuse| {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(reuse)?;
            socket.bind(addr)?;
            socket.listen(64)
        };
        let one = shared("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let addr = one.local_addr().unwrap();
        assert_eq!(shared(addr, false).unwrap_err().kind(), ErrorKind::AddrInUse);
        let two = shared(addr, true).unwrap();
        let clients = connect(100, addr);
        let mut accepted = [HashSet::new(), HashSet::new()];
        for (listener, accepted) in [&one, &two].into_iter().zip(&mut accepted) {
            while let Ok(next) = timeout(millis(10), listener.accept()).await {
                accepted.insert(next.unwrap().1);
            }
        }
        assert!(accepted.iter().all(|accepted| !accepted.is_empty()), "one got all: {accepted:?}");
        assert_eq!(&accepted[0] | &accepted[1], names(&clients));
    });
}

#[test]
fn buffer_sizes_of_a_listener_are_those_of_its_connections() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(50_000).unwrap();
        socket.set_send_buffer_size(60_000).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(8).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        // The kernel doubles them, socket(7).
        assert_eq!(get_option(&stream, libc::SO_RCVBUF), 100_000);
        assert_eq!(get_option(&stream, libc::SO_SNDBUF), 120_000);
        client.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 1);
    });
}

/// L09: as std, on a system with and on one without IPv6.
#[test]
fn ipv6_works_where_std_has_it_and_fails_likewise_where_not() {
    run(async {
        let ours = AsyncTcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await;
        let ours = match (TcpListener::bind((Ipv6Addr::LOCALHOST, 0)), ours) {
            (Err(std), Err(ours)) => return assert_eq!(std.kind(), ours.kind()),
            (std, ours) => (std.unwrap(), ours.unwrap()).1,
        };
        let addr = ours.local_addr().unwrap();
        assert!(addr.is_ipv6());
        let client = AsyncTcpStream::connect(addr).await.unwrap();
        let (stream, from) = ours.accept().await.unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert_eq!(stream.local_addr().unwrap(), addr);

        // Both families on one socket, unless it is told otherwise.
        for only_v6 in [false, true] {
            let socket = TcpSocket::new_v6().unwrap();
            socket.set_only_v6(only_v6).unwrap();
            socket.bind("[::]:0".parse().unwrap()).unwrap();
            let port = socket.local_addr().unwrap().port();
            let listener = socket.listen(8).unwrap();
            let v4 = TcpStream::connect(("127.0.0.1", port));
            assert_eq!(v4.is_err(), only_v6);
            if let Ok(client) = v4 {
                let (_, from) = listener.accept().await.unwrap();
                let SocketAddr::V6(from) = from else { panic!("{from}") };
                assert_eq!(from.ip().to_ipv4_mapped().unwrap().to_string(), "127.0.0.1");
                assert_eq!(from.port(), client.local_addr().unwrap().port());
            }
            let v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
            assert_eq!(listener.accept().await.unwrap().1, v6.local_addr().unwrap());
        }
        assert!(TcpSocket::new_v4().unwrap().set_only_v6(true).is_err());
    });
}

#[test]
fn a_listener_outside_of_a_runtime_is_an_error_that_says_so() {
    watched(10, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = AsyncTcpListener::try_from(listener).unwrap_err();
        assert!(error.to_string().contains("block_on"), "{error}");
        let bound = futures_lite::future::block_on(AsyncTcpListener::bind("127.0.0.1:0"));
        assert!(bound.unwrap_err().to_string().contains("block_on"));
    });
}

/// X06: a descriptor of the wrong kind is the caller's mistake, and an error each time: not a loop without end.
#[test]
fn accepting_on_what_does_not_listen_is_an_error() {
    run(async {
        let wrong: [OwnedFd; 3] = [
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            UnixDatagram::unbound().unwrap().into(),
            UnixStream::pair().unwrap().0.into(),
        ];
        for fd in wrong {
            let tcp = AsyncTcpListener::try_from(fd.try_clone().unwrap()).unwrap();
            assert!(tcp.try_accept().is_err_and(|error| error.raw_os_error().is_some()));
            assert!(tcp.accept().await.is_err());
            drop(tcp);
            let unix = AsyncUnixListener::try_from(fd).unwrap();
            assert!(unix.accept().await.is_err());
        }
    });
}
