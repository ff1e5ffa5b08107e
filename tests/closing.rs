//! A stream ends when this side says so, in the direction that it says.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use peer::{millis, pair, reset, run};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use waken::time::sleep;

/// S06: closing ends the sending, may be repeated, and leaves the reading alone.
#[test]
fn closing_twice_is_closing_and_reading_goes_on() {
    run(async {
        let (mut ours, mut peer) = pair();
        ours.write_all(b"bye").await.unwrap();
        for _ in 0..3 {
            AsyncWriteExt::flush(&mut ours).await.unwrap();
            ours.close().await.unwrap();
            (&ours).close().await.unwrap();
        }
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"bye");
        assert_eq!(ours.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        peer.write_all(b"late").unwrap();
        drop(peer);
        received.clear();
        ours.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"late");
        ours.close().await.unwrap();
    });
}

/// S06: after a reset there is nothing left to close, which is no error.
#[test]
fn closing_after_a_reset_is_fine() {
    run(async {
        let (mut ours, peer) = pair();
        reset(peer);
        ours.readable().await.unwrap();
        sleep(millis(5)).await;
        ours.close().await.unwrap();
        (&ours).close().await.unwrap();
        assert!(ours.shutdown(Shutdown::Write).is_err(), "std's own call does say so");
    });
}

/// N02.
#[test]
fn dropping_the_write_half_ends_the_sending_and_forgetting_it_does_not() {
    run(async {
        let (ours, mut peer) = pair();
        let (reader, writer) = ours.into_split();
        writer.as_ref().write_all(b"a").await.unwrap();
        writer.forget();
        peer.set_read_timeout(Some(millis(30))).unwrap();
        assert_eq!(peer.read(&mut [0; 9]).unwrap(), 1);
        assert_eq!(peer.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // The reading half keeps the connection, and can even write.
        reader.as_ref().write_all(b"b").await.unwrap();
        assert_eq!(peer.read(&mut [0; 9]).unwrap(), 1);

        let (ours, mut peer) = pair();
        let (mut reader, writer) = ours.into_split();
        drop(writer);
        assert_eq!(peer.read(&mut [0; 9]).unwrap(), 0);
        peer.write_all(b"still read").unwrap();
        drop(peer);
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"still read");
    });
}

#[test]
fn halves_of_one_stream_reunite_and_halves_of_two_do_not() {
    run(async {
        let ((one, _one_peer), (two, mut peer)) = (pair(), pair());
        let (one_reader, one_writer) = one.into_split();
        let (reader, writer) = two.into_split();
        let (reader, one_writer) = reader.reunite(one_writer).unwrap_err();
        let whole = reader.reunite(writer).unwrap();
        one_reader.reunite(one_writer).unwrap();
        // Reuniting has not shut down anything.
        whole.write_all(b"x").await.unwrap();
        assert_eq!(peer.read(&mut [0; 9]).unwrap(), 1);
        peer.write_all(b"yz").unwrap();
        assert_eq!(whole.read(&mut [0; 9]).await.unwrap(), 2);
    });
}

/// S05, k27, N02: what `drop` costs when input is unread, and how not to pay it.
#[test]
fn dropping_with_unread_input_resets_and_reading_to_the_end_first_does_not() {
    run(async {
        let (ours, mut peer) = pair();
        peer.write_all(b"never read").unwrap();
        ours.write_all(b"reply").await.unwrap();
        drop(ours);
        let mut buf = [0; 16];
        assert_eq!(peer.read(&mut buf).unwrap(), 5);
        assert_eq!(peer.read(&mut buf).unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (ours, mut peer) = pair();
        peer.write_all(b"read after all").unwrap();
        ours.write_all(b"reply").await.unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let peer = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        while ours.read(&mut buf).await.unwrap() > 0 {}
        drop(ours);
        assert_eq!(peer.join().unwrap(), b"reply");
    });
}
