//! Readiness: waiting without reading, and calls of one's own.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::future::poll_once;
use peer::{fill, millis, narrow_pair, pair, recv_urgent, reset, run, send_urgent};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use waken::io::Interest;
use waken::time::{sleep, timeout};

fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A new stream is taken to be ready: the first try is the cheapest way to ask.
#[test]
fn readiness_is_a_hint_until_a_call_says_would_block() {
    run(async {
        let (ours, mut peer) = pair();
        // At once, although nothing is there; and again, since it consumes nothing.
        assert!(poll_once(ours.readable()).await.is_some());
        assert!(poll_once(ours.readable()).await.is_some());
        assert!(poll_once(ours.writable()).await.is_some());
        would_block(ours.try_read(&mut [0; 9]));
        assert!(timeout(millis(10), ours.readable()).await.is_err());
        peer.write_all(b"abc").unwrap();
        ours.readable().await.unwrap();
        ours.readable().await.unwrap();
        assert_eq!(ours.try_read(&mut [0; 9]).unwrap(), 3);
        would_block(ours.try_read(&mut [0; 9]));
        assert!(timeout(millis(10), ours.readable()).await.is_err());
        // An end is something to read.
        drop(peer);
        ours.readable().await.unwrap();
        assert_eq!(ours.try_read(&mut [0; 9]).unwrap(), 0);
    });
}

/// E08, E13: also a read that waits has learned that nothing is there; nobody asks again before an edge.
#[test]
fn a_read_that_waits_has_learned_that_it_would_block() {
    run(async {
        let (ours, mut peer) = pair();
        assert!(poll_once(ours.read(&mut [0; 9])).await.is_none());
        assert!(timeout(millis(10), ours.readable()).await.is_err());
        peer.write_all(b"abc").unwrap();
        ours.readable().await.unwrap();
        assert_eq!(ours.read(&mut [0; 3]).await.unwrap(), 3);
    });
}

#[test]
fn writable_waits_while_there_is_no_room() {
    run(async {
        let (ours, mut peer) = narrow_pair();
        let written = fill(&ours).await;
        assert!(timeout(millis(10), ours.writable()).await.is_err());
        let drain = thread::spawn(move || {
            thread::sleep(millis(5));
            peer.read_exact(&mut vec![0; written]).unwrap();
            peer
        });
        ours.writable().await.unwrap();
        assert!(ours.try_write(b"x").is_ok());
        drop(drain.join().unwrap());
    });
}

#[test]
fn ready_says_for_what() {
    run(async {
        let (ours, mut peer) = pair();
        would_block(ours.try_read(&mut [0; 9]));
        let both = Interest::READABLE | Interest::WRITABLE;
        let ready = ours.ready(both).await.unwrap();
        assert!(ready.is_writable() && !ready.is_readable() && !ready.is_priority());
        peer.write_all(b"x").unwrap();
        let ready = ours.ready(Interest::READABLE).await.unwrap();
        assert!(ready.is_readable() && !ready.is_writable());
        assert!(!ready.is_read_closed() && !ready.is_write_closed() && !ready.is_error());
        assert_eq!(ours.try_read(&mut [0; 9]).unwrap(), 1);
        would_block(ours.try_read(&mut [0; 9]));
        // RDHUP: the peer writes no more, and we may.
        peer.shutdown(Shutdown::Write).unwrap();
        let ready = ours.ready(Interest::READABLE).await.unwrap();
        assert!(ready.is_read_closed() && !ready.is_write_closed() && !ready.is_error());
        assert_eq!(ours.try_read(&mut [0; 9]).unwrap(), 0);
        reset(peer);
        sleep(millis(5)).await;
        let ready = ours.ready(both).await.unwrap();
        assert!(ready.is_read_closed() && ready.is_write_closed() && ready.is_error());
    });
}

#[test]
fn a_call_of_ones_own_that_would_block_is_remembered() {
    run(async {
        let (ours, mut peer) = pair();
        would_block(ours.try_io(Interest::READABLE, |mut socket| socket.read(&mut [0; 9])));
        assert!(timeout(millis(5), ours.readable()).await.is_err());
        assert!(poll_once(ours.writable()).await.is_some(), "the other direction is not touched");
        let error = ours.try_io(Interest::READABLE, |_| Err::<(), _>(io::Error::other("mine")));
        assert_eq!(error.unwrap_err().to_string(), "mine");
        peer.write_all(b"abc").unwrap();
        ours.readable().await.unwrap();
        assert_eq!(
            ours.try_io(Interest::READABLE, |mut socket| socket.read(&mut [0; 9])).unwrap(),
            3
        );

        // The same, waiting: it is called until it says something else.
        let mut calls = 0;
        let reading = ours.async_io(Interest::READABLE, |mut socket| {
            calls += 1;
            match socket.read(&mut [0; 9])? {
                1 => Err(ErrorKind::Interrupted.into()),
                2 => Err(ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        });
        let writing = async {
            for bytes in [&b"a"[..], b"bc", b"def"] {
                sleep(millis(5)).await;
                peer.write_all(bytes).unwrap();
            }
        };
        let (n, ()) = futures_lite::future::zip(reading, writing).await;
        assert_eq!(n.unwrap(), 3);
        assert!((4..=8).contains(&calls), "{calls}");
        let error = ours.async_io(Interest::WRITABLE, |_| Err::<(), _>(io::Error::other("mine")));
        assert_eq!(error.await.unwrap_err().to_string(), "mine");
    });
}

/// E19: urgent data is a readiness of its own, and does not stay ready by itself.
#[test]
fn urgent_data_is_waited_for_by_priority() {
    run(async {
        let (ours, peer) = pair();
        // Unlike the others it is not assumed.
        assert!(timeout(millis(5), ours.ready(Interest::PRIORITY)).await.is_err());
        for byte in *b"XYZ" {
            assert!(send_urgent(&peer, byte));
            let ready = ours.ready(Interest::PRIORITY).await.unwrap();
            assert!(ready.is_priority() && !ready.is_readable());
            let take = |socket: &_| match recv_urgent(socket) {
                // The kernel's way to say that there is none.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    Err(ErrorKind::WouldBlock.into())
                }
                result => result,
            };
            assert_eq!(ours.async_io(Interest::PRIORITY, take).await.unwrap(), byte);
            would_block(ours.try_io(Interest::PRIORITY, take));
            assert!(timeout(millis(5), ours.ready(Interest::PRIORITY)).await.is_err());
        }
        // Ordinary bytes are none.
        (&peer).write_all(b"abc").unwrap();
        assert!(timeout(millis(5), ours.ready(Interest::PRIORITY)).await.is_err());
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 3);
    });
}

/// E06: no urgent data will come any more, so there is nothing to wait for.
#[test]
fn a_wait_for_urgent_data_ends_with_the_connection() {
    run(async {
        for by_reset in [true, false] {
            let (ours, peer) = pair();
            // The first event is over.
            sleep(millis(1)).await;
            if by_reset {
                reset(peer)
            } else {
                drop(peer)
            }
            let waiting = timeout(millis(500), ours.ready(Interest::PRIORITY)).await;
            let ready = waiting.unwrap_or_else(|_| panic!("waits for ever, by reset: {by_reset}"));
            assert!(ready.unwrap().is_read_closed());
        }
    });
}

/// E08: and yet a call that has nothing to say does not spin on a closed connection.
#[test]
fn a_call_for_urgent_data_does_not_spin_on_a_closed_connection() {
    run(async {
        let (ours, peer) = pair();
        drop(peer);
        sleep(millis(1)).await;
        let mut calls = 0;
        let never = ours.async_io(Interest::PRIORITY, |_| {
            calls += 1;
            Err::<(), _>(ErrorKind::WouldBlock.into())
        });
        assert!(timeout(millis(50), never).await.is_err());
        assert!(calls <= 3, "{calls}");
    });
}
