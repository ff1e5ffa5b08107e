//! A TCP stream transfers bytes: all of them, in order, and says so when it cannot.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use peer::{fill, millis, narrow_pair, pair, part_pair, reset, run};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use support::{Random, cpu, guard, watched};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, Runtime, spawn};

/// Bytes whose order shows: no power of two is a period of it.
fn pattern(length: usize) -> Vec<u8> {
    let mut random = Random(7);
    let block: Vec<u8> = (0..65_521).map(|_| random.below(256) as u8).collect();
    block.iter().copied().cycle().take(length).collect()
}

/// A thread that gives back everything it reads.
fn echo_thread(mut peer: TcpStream) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let copied = io::copy(&mut peer.try_clone().unwrap(), &mut peer).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        copied
    })
}

#[test]
fn what_is_sent_comes_back() {
    run(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            let (mut random, all) = (Random(11), pattern(10_000));
            for _ in 0..300 {
                let sent = &all[..1 + random.below(9_999) as usize];
                stream.write_all(sent).unwrap();
                let mut received = vec![0; sent.len()];
                stream.read_exact(&mut received).unwrap();
                assert!(received == sent);
            }
        });
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buf = [0; 4096];
        loop {
            match stream.read(&mut buf).await.unwrap() {
                0 => break,
                n => stream.write_all(&buf[..n]).await.unwrap(),
            }
        }
        client.join().unwrap();
    });
}

/// E07, S07: RDHUP is the end of reading, not of writing, and a writer that waits does not spin.
#[test]
fn a_peer_that_ended_its_sending_still_gets_eight_mebibytes() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = part_pair();
            let answer = pattern(8 << 20);
            let expected = answer.clone();
            let (go, gone) = mpsc::channel::<()>();
            let peer = thread::spawn(move || {
                peer.write_all(b"request").unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
                gone.recv().unwrap();
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                assert!(received == expected);
            });
            let task = spawn(async move {
                let mut request = Vec::new();
                (&ours).read_to_end(&mut request).await.unwrap();
                assert_eq!(request, b"request");
                ours.write_all(&answer).await.unwrap();
            });
            sleep(millis(100)).await;
            let (before, used) = (runtime.metrics().polls, cpu());
            sleep(millis(150)).await;
            assert!(runtime.metrics().polls - before <= 2, "the writer spins");
            assert!(cpu() - used < millis(50), "the loop spins");
            go.send(()).unwrap();
            task.await.unwrap();
            peer.join().unwrap();
        });
        // Each poll is paid for by an edge, and an edge by bytes that the peer has taken, or a used-up budget.
        assert!(runtime.metrics().polls < 20_000, "{:?}", runtime.metrics());
    });
}

/// S01: a write takes what there is room for, and `write_all` goes on.
#[test]
fn sixty_four_mebibytes_through_a_small_buffer_arrive_whole() {
    guard(40).cpu_ms(3_000).block_on(async {
        let (ours, mut peer) = part_pair();
        let sent = pattern(64 << 20);
        let first = ours.write(&sent).await.unwrap();
        assert!(first > 0 && first < sent.len(), "{first} is not a part");
        let expected = sent.clone();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert!(received == expected);
        });
        ours.write_all(&sent[first..]).await.unwrap();
        drop(ours);
        reader.join().unwrap();
    });
}

#[test]
fn two_tasks_read_and_write_one_stream_through_references() {
    guard(10).cpu_ms(1_000).block_on(async {
        let (ours, peer) = part_pair();
        let echo = echo_thread(peer);
        let (ours, sent) = (Rc::new(ours), Rc::new(pattern(4 << 20)));
        let writer = {
            let (ours, sent) = (ours.clone(), sent.clone());
            spawn(async move {
                AsyncWriteExt::write_all(&mut &*ours, &sent).await.unwrap();
                (&*ours).close().await.unwrap();
            })
        };
        let reader = spawn(async move {
            let mut received = Vec::new();
            (&*ours).read_to_end(&mut received).await.unwrap();
            received
        });
        assert!(reader.await.unwrap() == *sent);
        writer.await.unwrap();
        assert_eq!(echo.join().unwrap(), 4 << 20);
    });
}

/// W03.
#[test]
fn two_tasks_read_and_write_one_stream_through_its_halves() {
    run(async {
        let (ours, peer) = part_pair();
        let echo = echo_thread(peer);
        let (mut reader, mut writer) = ours.into_split();
        let sent = Rc::new(pattern(4 << 20));
        let all = sent.clone();
        // The half is dropped at the end of the task, and with it the sending.
        let writer = spawn(async move { writer.write_all(&all).await.unwrap() });
        let reader = spawn(async move {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.unwrap();
            received
        });
        assert!(reader.await.unwrap() == *sent);
        writer.await.unwrap();
        assert_eq!(echo.join().unwrap(), 4 << 20);
    });
}

/// S02: nothing to transfer is done at once, also where real bytes would have to wait.
#[test]
fn empty_buffers_are_done_at_once_and_change_nothing() {
    run(async {
        let (mut ours, mut peer) = narrow_pair();
        fill(&ours).await;
        // Neither direction is ready now.
        assert_eq!(ours.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(ours.try_write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        for round in 0..3 {
            let at_once = async {
                assert_eq!(ours.read(&mut []).await.unwrap(), 0);
                assert_eq!(ours.peek(&mut []).await.unwrap(), 0);
                ours.read_exact(&mut []).await.unwrap();
                assert_eq!(ours.read_vectored(&mut []).await.unwrap(), 0);
                let (mut a, mut b) = ([], []);
                let mut empty = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
                assert_eq!(ours.read_vectored(&mut empty).await.unwrap(), 0);
                assert_eq!(AsyncReadExt::read_vectored(&mut &ours, &mut empty).await.unwrap(), 0);
                assert_eq!(ours.write(b"").await.unwrap(), 0);
                ours.write_all(b"").await.unwrap();
                assert_eq!(ours.write_vectored(&[]).await.unwrap(), 0);
                assert_eq!(ours.write_vectored(&[IoSlice::new(b""); 3]).await.unwrap(), 0);
                let empty = [IoSlice::new(b"")];
                assert_eq!(AsyncWriteExt::write_vectored(&mut &ours, &empty).await.unwrap(), 0);
                assert_eq!(AsyncReadExt::read(&mut ours, &mut []).await.unwrap(), 0);
                assert_eq!(AsyncWriteExt::write(&mut ours, b"").await.unwrap(), 0);
                assert_eq!(ours.try_read(&mut []).unwrap(), 0);
                assert_eq!(ours.try_write(b"").unwrap(), 0);
            };
            let polled = futures_lite::future::poll_once(at_once).await;
            assert!(polled.is_some(), "an empty buffer waits");
            // Between them, real bytes.
            peer.write_all(&[round; 5]).unwrap();
            let mut buf = [0; 5];
            ours.read_exact(&mut buf).await.unwrap();
            assert_eq!(buf, [round; 5]);
        }
        // They have not made it ready either.
        assert!(timeout(millis(10), ours.read(&mut [0; 9])).await.is_err());
        assert!(timeout(millis(10), ours.write(b"x")).await.is_err());
    });
}

/// S08, k26: the kernel refuses more than 1,024 buffers, so they are cut.
#[test]
fn five_thousand_slices_are_written_and_read() {
    run(async {
        let (ours, mut peer) = pair();
        let sent = pattern(35_000);
        let mut written = 0;
        let mut calls = 0;
        while written < sent.len() {
            let slices: Vec<IoSlice<'_>> = sent[written..].chunks(7).map(IoSlice::new).collect();
            assert!(calls > 0 || slices.len() == 5_000);
            written += ours.write_vectored(&slices).await.unwrap();
            calls += 1;
        }
        assert!(calls >= 5, "{calls} calls for 5,000 slices");
        let mut received = vec![0; sent.len()];
        peer.read_exact(&mut received).unwrap();
        assert!(received == sent);

        peer.write_all(&sent).unwrap();
        let mut received = vec![0; sent.len()];
        let mut read = 0;
        while read < received.len() {
            let mut slices: Vec<IoSliceMut<'_>> =
                received[read..].chunks_mut(7).map(IoSliceMut::new).collect();
            let n = ours.read_vectored(&mut slices).await.unwrap();
            assert!(n > 0 && n <= 7 * 1024);
            read += n;
        }
        assert!(received == sent);
        // Full or not, what follows is still delivered.
        peer.write_all(b"abc").unwrap();
        let (mut a, mut b) = ([0; 2], [0; 9]);
        let mut slices = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        assert_eq!(ours.read_vectored(&mut slices).await.unwrap(), 3);
        assert_eq!((&a, &b[..1]), (b"ab", &b"c"[..]));
        drop(peer);
        assert_eq!(ours.read_vectored(&mut [IoSliceMut::new(&mut [0; 9])]).await.unwrap(), 0);
    });
}

#[test]
fn read_exact_fills_the_buffer_or_says_that_the_stream_ended() {
    run(async {
        let (ours, mut peer) = pair();
        let slow = thread::spawn(move || {
            for byte in b"abcdefgh" {
                peer.write_all(&[*byte]).unwrap();
                thread::sleep(millis(2));
            }
        });
        let mut buf = [0; 5];
        ours.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"abcde");
        let error = ours.read_exact(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(&buf[..3], b"fgh");
        slow.join().unwrap();
    });
}

/// S03: the signal's default action would end this process.
#[test]
fn a_write_to_a_peer_that_has_gone_is_an_error_and_no_signal() {
    watched(10, || {
        peer::let_sigpipe_kill();
        waken::block_on(async {
            let gone = || async {
                let (ours, peer) = pair();
                reset(peer);
                sleep(millis(5)).await;
                // The first call may be told of the reset; from then on the pipe is broken.
                let _reset = ours.try_read(&mut [0]);
                ours
            };
            let broken = |result: io::Result<usize>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
            };
            let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
            for _ in 0..2 {
                broken(gone().await.write(b"x").await);
                broken(gone().await.write_all(b"x").await.map(|()| 0));
                broken(gone().await.write_vectored(&slices).await);
                broken(gone().await.try_write(b"x"));
                let mut stream = gone().await;
                broken(poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"x")).await);
                broken(poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &slices)).await);
                broken(poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"x")).await);
                let (_reader, mut writer) = gone().await.into_split();
                broken(poll_fn(|cx| Pin::new(&mut writer).poll_write(cx, b"x")).await);
                broken(poll_fn(|cx| Pin::new(&mut writer).poll_write_vectored(cx, &slices)).await);
            }
        });
    });
}

#[test]
fn peeked_bytes_stay() {
    run(async {
        let (ours, mut peer) = pair();
        let peeking = spawn(async move {
            let mut buf = [0; 9];
            let n = ours.peek(&mut buf).await.unwrap();
            assert_eq!(&buf[..n], b"abc");
            assert_eq!(ours.peek(&mut buf[..2]).await.unwrap(), 2);
            assert_eq!(ours.read(&mut buf).await.unwrap(), 3);
            assert!(timeout(millis(10), ours.peek(&mut buf)).await.is_err());
            (ours, buf)
        });
        sleep(millis(5)).await;
        peer.write_all(b"abc").unwrap();
        let (ours, mut buf) = peeking.await.unwrap();
        drop(peer);
        assert_eq!(ours.peek(&mut buf).await.unwrap(), 0);
        assert_eq!(ours.read(&mut buf).await.unwrap(), 0);
    });
}

#[test]
fn the_futures_io_traits_are_there_for_the_stream_a_reference_and_the_halves() {
    async fn exchange(
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        peer: &mut TcpStream,
    ) {
        writer.write_all(b"ping").await.unwrap();
        writer.write_vectored(&[IoSlice::new(b"!")]).await.unwrap();
        writer.flush().await.unwrap();
        let mut buf = [0; 5];
        peer.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"ping!");
        peer.write_all(b"pong!").unwrap();
        reader.read_exact(&mut buf[..4]).await.unwrap();
        let n = reader.read_vectored(&mut [IoSliceMut::new(&mut buf[4..])]).await.unwrap();
        assert_eq!((&buf, n), (b"pong!", 1));
    }
    run(async {
        let (ours, mut peer) = pair();
        exchange(&ours, &ours, &mut peer).await;
        let (reader, writer) = ours.into_split();
        exchange(reader, writer, &mut peer).await;
        let ((one, mut peer), (mut two, mut other)) = (pair(), pair());
        let (from, to) = (&mut two, one);
        other.write_all(b"over").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        let mut to = to;
        assert_eq!(futures_lite::io::copy(from, &mut to).await.unwrap(), 4);
        to.close().await.unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"over");
    });
}
