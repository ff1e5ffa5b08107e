//! A Unix stream transfers bytes as a TCP stream does, and stops at nothing that can be sent along with them.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::future::{poll_once, zip};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use kernel::{is_blocking, pipe, recv_with, send_with};
use peer::{let_sigpipe_kill, millis, recv_urgent, run, send_urgent};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::{Random, cpu, fds, wait_of, watched};
use waken::io::Interest;
use waken::net::AsyncUnixStream;
use waken::task::WaitOn;
use waken::time::{sleep, timeout};
use waken::{Runtime, spawn};

/// Our side, and the peer's.
fn pair() -> (AsyncUnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    (ours.try_into().unwrap(), peer)
}

/// Writes until there is no more room.
fn fill(stream: &AsyncUnixStream) -> usize {
    let mut written = 0;
    loop {
        match stream.try_write(&[b'f'; 4096]) {
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
            Err(error) => panic!("{error}"),
        }
    }
}

/// One read of at most `size`, which must not wait for ever.
async fn read(stream: &AsyncUnixStream, size: usize) -> Vec<u8> {
    let mut buf = vec![0; size];
    let n = timeout(millis(2000), stream.read(&mut buf)).await.expect("stalls").unwrap();
    buf.truncate(n);
    buf
}

async fn nothing_is_left(stream: &AsyncUnixStream) {
    assert!(timeout(millis(2), stream.read(&mut [0; 8])).await.is_err());
}

// ---- bytes ------------------------------------------------------------------------------------

#[test]
fn megabytes_go_both_ways_at_the_same_time() {
    run(async {
        let (one, other) = AsyncUnixStream::pair().unwrap();
        let mut random = Random(9);
        let block: Vec<u8> = (0..65_521).map(|_| random.below(256) as u8).collect();
        let sent: Rc<Vec<u8>> = Rc::new(block.into_iter().cycle().take(8 << 20).collect());
        let sides = [one, other].map(|stream| {
            let sent = sent.clone();
            spawn(async move {
                let mut received = vec![0; sent.len()];
                let both = zip(stream.write_all(&sent), stream.read_exact(&mut received)).await;
                both.0.and(both.1).unwrap();
                assert!(received == *sent);
            })
        });
        for side in sides {
            timeout(Duration::from_secs(8), side).await.expect("stalls").unwrap();
        }
    });
}

#[test]
fn an_end_of_sending_leaves_the_other_direction_open() {
    run(async {
        let (ours, mut peer) = pair();
        peer.write_all(b"request").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&ours, 64).await, b"request");
        assert_eq!(read(&ours, 64).await, b"");
        assert_eq!(read(&ours, 64).await, b"");
        ours.write_all(b"answer").await.unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        assert_eq!(ours.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// E06.
#[test]
fn who_waits_learns_that_the_peer_has_gone() {
    watched(10, || {
        let_sigpipe_kill();
        waken::block_on(async {
            let (ours, peer) = pair();
            let ours = Rc::new(ours);
            fill(&ours);
            let (reading, writing) = (ours.clone(), ours.clone());
            let reader = spawn(async move { reading.read(&mut [0; 8]).await });
            let writer = spawn(async move { writing.write_all(&[0; 8]).await });
            sleep(millis(5)).await;
            assert!(!reader.is_finished() && !writer.is_finished());
            drop(peer);
            let error = writer.await.unwrap().unwrap_err();
            // What it had not read is lost, and that is a reset.
            let reset = reader.await.unwrap().unwrap_err();
            let kinds = (reset.kind(), error.kind());
            assert_eq!(kinds, (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe));
            assert_eq!(read(&ours, 8).await, b"");
            assert_eq!(ours.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn an_end_behind_the_last_bytes_is_seen_whenever_it_comes() {
    run(async {
        for size in [1, 7, 8, 64] {
            for before_registration in [true, false] {
                let (ours, mut peer) = UnixStream::pair().unwrap();
                let mut ours = Some(ours);
                let mut registered = None;
                if !before_registration {
                    registered = Some(AsyncUnixStream::try_from(ours.take().unwrap()).unwrap());
                    nothing_is_left(registered.as_ref().unwrap()).await;
                }
                peer.write_all(b"eightend").unwrap();
                drop(peer);
                sleep(millis(1)).await;
                let ours = registered.unwrap_or_else(|| ours.unwrap().try_into().unwrap());
                let mut received = Vec::new();
                loop {
                    match read(&ours, size).await {
                        bytes if bytes.is_empty() => break,
                        bytes => received.extend(bytes),
                    }
                }
                assert_eq!(received, b"eightend");
            }
        }
    });
}

#[test]
fn several_buffers_are_one_call_and_none_is_no_call() {
    run(async {
        let (one, other) = AsyncUnixStream::pair().unwrap();
        let slices = [IoSlice::new(b"hel"), IoSlice::new(b""), IoSlice::new(b"lo")];
        assert_eq!(one.write_vectored(&slices).await.unwrap(), 5);
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(other.read_vectored(&mut slices).await.unwrap(), 5);
        assert_eq!((&first, &second[..3]), (b"he", &b"llo"[..]));
        // Nothing to transfer is ready at once, also when nothing is there and the peer has gone.
        drop(one);
        for _ in 0..2 {
            assert_eq!(poll_once(other.read(&mut [])).await.unwrap().unwrap(), 0);
            assert_eq!(poll_once(other.write(&[])).await.unwrap().unwrap(), 0);
            poll_once(other.read_exact(&mut [])).await.unwrap().unwrap();
            assert_eq!(poll_once(other.read_vectored(&mut [])).await.unwrap().unwrap(), 0);
            assert_eq!(poll_once(other.write_vectored(&[])).await.unwrap().unwrap(), 0);
            assert_eq!((other.try_read(&mut []).unwrap(), other.try_write(&[]).unwrap()), (0, 0));
        }
        let error = other.read_exact(&mut [0; 2]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn trying_and_peeking_never_wait() {
    run(async {
        let (ours, mut peer) = pair();
        let would_block =
            |n: std::io::Result<usize>| n.unwrap_err().kind() == ErrorKind::WouldBlock;
        assert!(would_block(ours.try_read(&mut [0; 8])));
        assert!(timeout(millis(2), ours.peek(&mut [0; 8])).await.is_err());
        peer.write_all(b"abc").unwrap();
        ours.readable().await.unwrap();
        for _ in 0..2 {
            assert_eq!(ours.peek(&mut [0; 8]).await.unwrap(), 3);
        }
        assert_eq!(ours.try_read(&mut [0; 8]).unwrap(), 3);
        assert!(would_block(ours.try_read(&mut [0; 8])));
        assert!(timeout(millis(2), ours.readable()).await.is_err());
        fill(&ours);
        assert!(timeout(millis(2), ours.writable()).await.is_err());
        // k20: room is told of when most of it is there.
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut [0; 4096]).is_ok() {}
        timeout(millis(2000), ours.writable()).await.expect("stalls").unwrap();
        assert_eq!(ours.try_write(b"x").unwrap(), 1);
    });
}

// ---- what is sent along -----------------------------------------------------------------------

/// E04, k7: a read ends where a descriptor was sent along, and no event tells of what is behind it.
#[test]
fn bytes_around_descriptors_arrive_whole_at_a_plain_reader() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let before = fds();
        runtime.block_on(async {
            for size in [1, 3, 64] {
                let (ours, mut peer) = pair();
                nothing_is_left(&ours).await;
                send_with(&peer, b"abc", &peer);
                peer.write_all(b"def").unwrap();
                send_with(&peer, b"ghi", &peer);
                send_with(&peer, b"jkl", &peer);
                peer.write_all(b"mno").unwrap();
                let mut received = Vec::new();
                while received.len() < 15 {
                    // Slowly, so that no event of one's own making helps.
                    sleep(millis(1)).await;
                    received.extend(read(&ours, size).await);
                }
                assert_eq!(received, b"abcdefghijklmno");
                nothing_is_left(&ours).await;
                drop(peer);
                assert_eq!(read(&ours, size).await, b"");
            }
        });
        // Nobody took them: they are closed.
        assert_eq!(fds(), before);
    });
}

#[test]
fn descriptors_arrive_through_a_call_of_ones_own() {
    run(async {
        let (ours, mut peer) = pair();
        let ours = Rc::new(ours);
        let inside = ours.clone();
        let receiver = spawn(async move {
            let (mut text, mut descriptors) = (Vec::new(), Vec::new());
            while text.len() < 13 {
                let mut buf = [0; 64];
                let receive = |stream: &_| recv_with(stream, &mut buf);
                let (n, fd) = inside.async_io(Interest::READABLE, receive).await.unwrap();
                text.extend_from_slice(&buf[..n]);
                descriptors.extend(fd);
            }
            (text, descriptors)
        });
        sleep(millis(2)).await;
        let ((mut first, from_first), (mut second, from_second)) = (pipe(), pipe());
        send_with(&peer, b"one", &from_first);
        peer.write_all(b"none").unwrap();
        send_with(&peer, b"two", &from_second);
        sleep(millis(2)).await;
        peer.write_all(b"end").unwrap();
        let received = timeout(millis(2000), receiver).await.expect("stalls").unwrap();
        let (text, mut descriptors) = received;
        assert_eq!((&text[..], descriptors.len()), (&b"onenonetwoend"[..], 2));
        drop((from_first, from_second));
        descriptors[0].write_all(b"1").unwrap();
        descriptors[1].write_all(b"2").unwrap();
        drop(descriptors);
        let (mut one, mut two) = (String::new(), String::new());
        first.read_to_string(&mut one).unwrap();
        second.read_to_string(&mut two).unwrap();
        assert_eq!((one, two), ("1".into(), "2".into()));
    });
}

/// E03, k8: Unix streams have urgent bytes since Linux 5.15, if the kernel was built so.
#[test]
fn a_stream_with_an_urgent_byte_in_it_arrives_whole() {
    run(async {
        for size in [1, 3, 64] {
            let (ours, mut peer) = pair();
            nothing_is_left(&ours).await;
            peer.write_all(b"abc").unwrap();
            if !send_urgent(&peer, b'X') {
                return eprintln!("this kernel has no urgent data on Unix sockets");
            }
            peer.write_all(b"def").unwrap();
            let mut received = Vec::new();
            while received.len() < 6 {
                sleep(millis(1)).await;
                received.extend(read(&ours, size).await);
            }
            assert_eq!(received, b"abcdef");
            nothing_is_left(&ours).await;
            peer.write_all(b"ghi").unwrap();
            assert!(send_urgent(&peer, b'Y'));
            let take = |stream: &UnixStream| match recv_urgent(stream) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    Err(ErrorKind::WouldBlock.into())
                }
                taken => taken,
            };
            let taken = timeout(millis(2000), ours.async_io(Interest::PRIORITY, take)).await;
            assert_eq!(taken.expect("stalls").unwrap(), b'Y');
            assert_eq!(read(&ours, 64).await, b"ghi");
        }
    });
}

// ---- halves, and the way in and out -----------------------------------------------------------

#[test]
fn a_writing_half_that_is_dropped_ends_the_sending() {
    run(async {
        let (ours, peer) = AsyncUnixStream::pair().unwrap();
        let (mut reader, mut writer) = ours.into_split();
        writer.write_all(b"bye").await.unwrap();
        drop(writer);
        let mut text = String::new();
        (&peer).read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "bye");
        peer.write_all(b"still here").await.unwrap();
        (&peer).close().await.unwrap();
        text.clear();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "still here");
    });
}

#[test]
fn halves_are_reunited_with_their_own_kind() {
    run(async {
        let (one, other) = AsyncUnixStream::pair().unwrap();
        let ((reader, writer), (other_reader, other_writer)) =
            (one.into_split(), other.into_split());
        let (reader, other_writer) = reader.reunite(other_writer).unwrap_err();
        let (one, other) =
            (reader.reunite(writer).unwrap(), other_reader.reunite(other_writer).unwrap());
        one.write_all(b"whole").await.unwrap();
        assert_eq!(read(&other, 8).await, b"whole");
        let (reader, writer) = one.into_split();
        writer.forget();
        drop(reader);
        assert_eq!(read(&other, 8).await, b"");
    });
}

/// F05, F12.
#[test]
fn a_blocking_socket_comes_in_and_goes_out_and_nothing_is_left() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let before = fds();
        let (blocking, mut peer) = UnixStream::pair().unwrap();
        let mut plain = runtime.block_on(async {
            let ours = AsyncUnixStream::try_from(blocking).unwrap();
            nothing_is_left(&ours).await;
            assert!(format!("{ours:?}").starts_with("AsyncUnixStream { fd: "));
            ours.into_std()
        });
        assert_eq!((runtime.metrics().sources_alive, is_blocking(&plain)), (0, false));
        peer.write_all(b"x").unwrap();
        assert_eq!(plain.read(&mut [0; 8]).unwrap(), 1);
        let (one, other) = runtime.block_on(async { AsyncUnixStream::pair().unwrap() });
        thread::spawn(move || drop(one)).join().unwrap();
        runtime.block_on(async {
            assert_eq!(read(&other, 8).await, b"");
            // A turn, in which the letter of the other thread is read.
            sleep(millis(1)).await;
        });
        drop((plain, peer, other));
        assert_eq!((runtime.metrics().sources_alive, fds()), (0, before));
    });
}

#[test]
fn one_that_waits_uses_no_time_and_is_in_the_wait_graph() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = pair();
            peer.write_all(b"x").unwrap();
            // The end is there, and nobody asks for it: only for room.
            peer.shutdown(Shutdown::Write).unwrap();
            fill(&ours);
            let (fd, wrote) = (ours.as_raw_fd(), line!() + 1);
            let writer = spawn(async move { ours.write_all(b"more").await });
            let before = cpu();
            sleep(millis(200)).await;
            assert!(cpu() - before < millis(60), "{:?}", cpu() - before);
            let (on, at) = wait_of(writer.id()).await;
            assert_eq!((on, at.file(), at.line()), (WaitOn::Writable(fd), file!(), wrote));
        });
    });
}
