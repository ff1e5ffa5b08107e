//! Unix datagrams: in order, none lost, and a sender without room waits in the one way that is there.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::future::poll_once;
use kernel::{Folder, is_blocking};
use peer::{millis, run, set_option};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::rc::Rc;
use std::thread;
use std::time::Instant;
use support::{cpu, fds, wait_of, watched};
use waken::io::Interest;
use waken::net::AsyncUnixDatagram;
use waken::runtime::metrics;
use waken::task::WaitOn;
use waken::time::{sleep, timeout};
use waken::{JoinSet, Runtime, spawn};

/// An abstract name that is nobody else's.
fn name(of: &str) -> SocketAddr {
    let name = format!("waken-{}-{of}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

/// One datagram, which must be on its way.
async fn recv(socket: &AsyncUnixDatagram) -> io::Result<Vec<u8>> {
    let mut buf = [0; 4096];
    let n = timeout(millis(2000), socket.recv(&mut buf)).await.expect("stalls")?;
    Ok(buf[..n].to_vec())
}

async fn nothing_comes_to(socket: &AsyncUnixDatagram) {
    assert!(timeout(millis(3), socket.recv(&mut [0; 8])).await.is_err());
}

/// A receiver whose queue is full, and of how many datagrams. Its sender still lives, and waits for nothing.
fn full(to: &SocketAddr) -> (AsyncUnixDatagram, usize) {
    let receiver = AsyncUnixDatagram::bind_addr(to).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while filler.send_to_addr(b"filler", to).is_ok() {
        sent += 1;
    }
    (receiver, sent)
}

// ---- messages ---------------------------------------------------------------------------------

#[test]
fn datagrams_come_in_order_one_by_one_with_their_sender() {
    run(async {
        let folder = Folder::new();
        let (from, to) = (folder.join("from"), folder.join("to"));
        let one = AsyncUnixDatagram::bind(&from).unwrap();
        let other = AsyncUnixDatagram::bind(&to).unwrap();
        assert_eq!(AsyncUnixDatagram::bind(&to).unwrap_err().kind(), ErrorKind::AddrInUse);
        for round in 0..3 {
            for n in 0..8u8 {
                assert_eq!(one.send_to(&[n; 5], &to).await.unwrap(), 5, "{round}");
            }
            for n in 0..8u8 {
                // All are queued, and there is room for several: no further event comes.
                let mut buf = [0; 64];
                let received = timeout(millis(2000), other.recv_from(&mut buf)).await;
                let (n_read, sender) = received.expect("stalls").unwrap();
                assert_eq!((&buf[..n_read], sender.as_pathname()), (&[n; 5][..], Some(&*from)));
            }
            nothing_comes_to(&other).await;
        }
        // It can be answered, and spoken with alone.
        other.connect(&from).unwrap();
        assert_eq!(other.peer_addr().unwrap().as_pathname(), Some(&*from));
        other.send(b"answer").await.unwrap();
        assert_eq!(recv(&one).await.unwrap(), b"answer");
    });
}

#[test]
fn empty_datagrams_and_empty_buffers_are_messages() {
    run(async {
        let (one, other) = AsyncUnixDatagram::pair().unwrap();
        assert!(timeout(millis(3), other.recv(&mut [])).await.is_err());
        for datagram in [&b""[..], b"", b"x", b"", b"lost"] {
            assert_eq!(one.send(datagram).await.unwrap(), datagram.len());
        }
        for expected in [&b""[..], b"", b"x", b""] {
            assert_eq!(recv(&other).await.unwrap(), expected);
        }
        one.send(b"next").await.unwrap();
        assert_eq!(poll_once(other.recv(&mut [])).await.unwrap().unwrap(), 0);
        assert_eq!(recv(&other).await.unwrap(), b"next");
        nothing_comes_to(&other).await;
    });
}

#[test]
fn what_has_no_room_in_the_buffer_is_lost_and_nothing_else() {
    run(async {
        let (one, other) = AsyncUnixDatagram::pair().unwrap();
        one.send(b"a long one").await.unwrap();
        one.send(b"next").await.unwrap();
        let mut buf = [0; 4];
        assert_eq!(other.recv(&mut buf).await.unwrap(), 4);
        assert_eq!(&buf, b"a lo");
        assert_eq!(recv(&other).await.unwrap(), b"next");
        let error = one.send(&vec![0; 4 << 20]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    });
}

#[test]
fn a_socket_without_an_address_cannot_be_answered() {
    run(async {
        let to = name("unbound");
        let unbound = AsyncUnixDatagram::unbound().unwrap();
        let bound = AsyncUnixDatagram::bind_addr(&to).unwrap();
        assert_eq!(unbound.send(b"x").await.unwrap_err().kind(), ErrorKind::NotConnected);
        unbound.send_to_addr(b"x", &to).await.unwrap();
        let (n, from) = bound.recv_from(&mut [0; 8]).await.unwrap();
        assert!((n, from.is_unnamed()) == (1, true) && unbound.local_addr().unwrap().is_unnamed());
        assert!(bound.send_to_addr(b"x", &from).await.is_err());
        unbound.connect_addr(&to).unwrap();
        unbound.send(b"y").await.unwrap();
        assert_eq!(recv(&bound).await.unwrap(), b"y");
    });
}

#[test]
fn where_nobody_receives_is_an_error() {
    // What is closed here is open for a moment in a process that another test starts.
    watched(10, || {
        waken::block_on(async {
            let folder = Folder::new();
            let socket = AsyncUnixDatagram::unbound().unwrap();
            let missing = folder.join("missing");
            assert_eq!(socket.connect(&missing).unwrap_err().kind(), ErrorKind::NotFound);
            let error = socket.send_to(b"x", &missing).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let closed = folder.join("closed");
            drop(UnixDatagram::bind(&closed).unwrap());
            let refused = ErrorKind::ConnectionRefused;
            assert_eq!(socket.connect(&closed).unwrap_err().kind(), refused);
            assert_eq!(socket.send_to(b"x", &closed).await.unwrap_err().kind(), refused);
            let to = name("nobody");
            assert_eq!(socket.send_to_addr(b"x", &to).await.unwrap_err().kind(), refused);
            let long = folder.join(&"p".repeat(108));
            let error = socket.send_to(b"x", &long).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        });
    });
}

#[test]
fn a_peer_that_has_gone_refuses() {
    // What is closed here is open for a moment in a process that another test starts.
    watched(10, || {
        waken::block_on(async {
            let (ours, peer) = AsyncUnixDatagram::pair().unwrap();
            peer.send(b"last").await.unwrap();
            drop(peer);
            // What it has sent arrives nevertheless.
            assert_eq!(recv(&ours).await.unwrap(), b"last");
            assert_eq!(ours.send(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);

            // Also for a sender that waits.
            let to = name("goes");
            let (receiver, _) = full(&to);
            let ours = AsyncUnixDatagram::unbound().unwrap();
            ours.connect_addr(&to).unwrap();
            let sender = spawn(async move { ours.send(b"x").await });
            let patient = AsyncUnixDatagram::unbound().unwrap();
            let by_address = spawn(async move { patient.send_to_addr(b"x", &to).await });
            sleep(millis(5)).await;
            assert!(!sender.is_finished() && !by_address.is_finished());
            drop(receiver);
            for task in [sender, by_address] {
                let error =
                    timeout(millis(2000), task).await.expect("stalls").unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
        });
    });
}

// ---- a receiver without room ------------------------------------------------------------------

/// Sends 300 numbers by `ours`, which has to wait soon, and receives them at `peer`, slowly at first.
async fn all_of_them_arrive(ours: AsyncUnixDatagram, peer: AsyncUnixDatagram) {
    let sent = Rc::new(Cell::new(0u32));
    let counted = sent.clone();
    let sender = spawn(async move {
        for n in 0..300u32 {
            ours.send(&n.to_ne_bytes()).await.unwrap();
            counted.set(n + 1);
        }
    });
    let before = cpu();
    sleep(millis(200)).await;
    assert!(cpu() - before < millis(60), "{:?}", cpu() - before);
    assert!((1..300).contains(&sent.get()), "{}", sent.get());
    for n in 0..300u32 {
        if n < 30 {
            sleep(millis(1)).await;
        }
        assert_eq!(recv(&peer).await.unwrap(), n.to_ne_bytes());
    }
    sender.await.unwrap();
    nothing_comes_to(&peer).await;
}

#[test]
fn a_sender_waits_for_the_receiver_that_it_is_connected_with() {
    run(async {
        let to = name("connected");
        let receiver = AsyncUnixDatagram::bind_addr(&to).unwrap();
        let ours = AsyncUnixDatagram::unbound().unwrap();
        ours.connect_addr(&to).unwrap();
        all_of_them_arrive(ours, receiver).await;
    });
}

#[test]
fn a_sender_waits_for_the_other_of_a_pair() {
    run(async {
        let (ours, peer) = AsyncUnixDatagram::pair().unwrap();
        set_option(&ours, libc::SO_SNDBUF, 4096);
        all_of_them_arrive(ours, peer).await;
    });
}

#[test]
fn twenty_senders_wait_for_one_receiver_and_none_is_left_behind() {
    run(async {
        let to = name("twenty");
        let receiver = AsyncUnixDatagram::bind_addr(&to).unwrap();
        let mut senders = JoinSet::new();
        for n in 0..20u8 {
            let ours = AsyncUnixDatagram::unbound().unwrap();
            ours.connect_addr(&to).unwrap();
            senders.spawn(async move {
                for _ in 0..10 {
                    ours.send(&[n]).await.unwrap();
                }
            });
        }
        let mut counts = [0; 20];
        for _ in 0..200 {
            counts[usize::from(recv(&receiver).await.unwrap()[0])] += 1;
        }
        assert_eq!(counts, [10; 20]);
        while let Some(ended) = senders.join_next().await {
            ended.unwrap();
        }
    });
}

/// What says `WouldBlock` is the receiver. No event tells when it would not, and of the sender it says nothing.
#[test]
fn a_full_receiver_elsewhere_is_asked_again_and_holds_up_nobody_else() {
    run(async {
        let (to, elsewhere) = (name("crowded"), name("empty"));
        let (receiver, queued) = full(&to);
        let free = AsyncUnixDatagram::bind_addr(&elsewhere).unwrap();
        let ours = Rc::new(AsyncUnixDatagram::unbound().unwrap());
        ours.connect_addr(&elsewhere).unwrap();
        let (inside, address) = (ours.clone(), to.clone());
        let sender = spawn(async move { inside.send_to_addr(b"patient", &address).await });
        let (before, polls) = (cpu(), metrics().polls);
        sleep(millis(300)).await;
        assert!(!sender.is_finished());
        assert!(cpu() - before < millis(60), "{:?}", cpu() - before);
        assert!(metrics().polls - polls <= 24, "{} polls", metrics().polls - polls);
        // Meanwhile the same socket works at once, for others.
        let others = async {
            ours.writable().await.unwrap();
            assert_eq!(ours.send(b"by send").await.unwrap(), 7);
            ours.writable().await.unwrap();
            assert_eq!(ours.send_to_addr(b"by address", &elsewhere).await.unwrap(), 10);
        };
        assert!(poll_once(others).await.is_some(), "it waits");
        assert_eq!(recv(&free).await.unwrap(), b"by send");
        assert_eq!(recv(&free).await.unwrap(), b"by address");
        // And goes on when there is room, in the end at most a tenth of a second later.
        assert_eq!(recv(&receiver).await.unwrap(), b"filler");
        let drained = Instant::now();
        assert_eq!(timeout(millis(3000), sender).await.expect("hangs").unwrap().unwrap(), 7);
        assert!(drained.elapsed() < millis(2000), "{:?}", drained.elapsed());
        for _ in 1..queued {
            assert_eq!(recv(&receiver).await.unwrap(), b"filler");
        }
        assert_eq!(recv(&receiver).await.unwrap(), b"patient");
        let others = async { ours.send(b"after").await.unwrap() };
        assert_eq!(poll_once(others).await, Some(5));
    });
}

#[test]
fn a_send_by_address_that_is_given_up_sends_nothing() {
    run(async {
        let to = name("given up");
        let (receiver, queued) = full(&to);
        let ours = AsyncUnixDatagram::unbound().unwrap();
        for n in 0..20 {
            assert!(timeout(millis(n % 3), ours.send_to_addr(b"x", &to)).await.is_err());
        }
        assert_eq!(metrics().timers_alive, 0);
        for _ in 0..queued {
            assert_eq!(recv(&receiver).await.unwrap(), b"filler");
        }
        nothing_comes_to(&receiver).await;
    });
}

#[test]
fn a_waiting_send_goes_on_when_it_is_connected_elsewhere() {
    run(async {
        let (to, elsewhere) = (name("before"), name("after"));
        let (_receiver, _) = full(&to);
        let free = AsyncUnixDatagram::bind_addr(&elsewhere).unwrap();
        let ours = Rc::new(AsyncUnixDatagram::unbound().unwrap());
        ours.connect_addr(&to).unwrap();
        let inside = ours.clone();
        let sender = spawn(async move { inside.send(b"x").await });
        sleep(millis(5)).await;
        assert!(!sender.is_finished());
        ours.connect_addr(&elsewhere).unwrap();
        assert_eq!(recv(&free).await.unwrap(), b"x");
        sender.await.unwrap().unwrap();
    });
}

#[test]
fn the_wait_graph_tells_both_ways_to_wait_for_room() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let to = name("graph");
            let (_receiver, _) = full(&to);
            let (one, other) =
                (AsyncUnixDatagram::unbound().unwrap(), AsyncUnixDatagram::unbound().unwrap());
            one.connect_addr(&to).unwrap();
            let (connected, by_address) = (line!() + 1, line!() + 2);
            let sender = spawn(async move { one.send(b"x").await });
            let patient = spawn(async move { other.send_to_addr(b"x", &to).await });
            sleep(millis(5)).await;
            for (task, line, is_timer) in [(sender, connected, false), (patient, by_address, true)]
            {
                let (on, at) = wait_of(task.id()).await;
                assert_eq!((at.file(), at.line()), (file!(), line));
                assert_eq!(matches!(on, WaitOn::Writable(_)), !is_timer, "{on:?}");
            }
        });
    });
}

// ---- the way in and out -----------------------------------------------------------------------

/// F05, F12.
#[test]
fn a_blocking_socket_comes_in_and_goes_out_and_nothing_is_left() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let before = fds();
        let (blocking, peer) = UnixDatagram::pair().unwrap();
        let plain = runtime.block_on(async {
            let ours = AsyncUnixDatagram::try_from(blocking).unwrap();
            let receive = |socket: &UnixDatagram| socket.recv(&mut [0; 8]);
            let error = ours.try_io(Interest::READABLE, receive).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(timeout(millis(2), ours.readable()).await.is_err());
            peer.send(b"x").unwrap();
            assert_eq!(ours.async_io(Interest::READABLE, receive).await.unwrap(), 1);
            ours.into_std()
        });
        assert_eq!((runtime.metrics().sources_alive, is_blocking(&plain)), (0, false));
        let (one, other) = runtime.block_on(async { AsyncUnixDatagram::pair().unwrap() });
        thread::spawn(move || {
            let sent = futures_lite::future::block_on(one.send(b"x"));
            assert!(sent.unwrap_err().to_string().contains("another thread"));
            let sent = futures_lite::future::block_on(one.send_to_addr(b"x", &name("elsewhere")));
            assert!(sent.unwrap_err().to_string().contains("another thread"));
        })
        .join()
        .unwrap();
        drop((plain, peer, other, runtime));
        assert_eq!(fds().len(), before.len() - 3);
    });
}
