//! Who waits for a stream is woken, all of them; who waits no more leaves nothing behind.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::future::{or, poll_once};
use peer::{Foreign, fill, millis, narrow_pair, pair, reset, run};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use support::watched;
use waken::io::Interest;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, Runtime, spawn};

fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Polls once with `waker` instead of the task's own.
fn poll_with<F: Future + ?Sized>(waker: &std::task::Waker, future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// S04, k4: whoever waits is told, and whoever asks later as well, as often as he asks.
#[test]
fn a_reset_reaches_readers_and_writers_whether_they_wait_or_not() {
    run(async {
        for (ending, reads, writes) in (0..12).map(|case| (case / 4, case & 1 != 0, case & 2 != 0))
        {
            let case = format!("ending {ending}, reader {reads}, writer {writes}");
            let (ours, mut peer) = narrow_pair();
            let ours = Rc::new(ours);
            if writes {
                fill(&ours).await;
            }
            let reader = ours.clone();
            let reader = reads.then(|| spawn(async move { reader.read(&mut [0; 64]).await }));
            let writer = ours.clone();
            let writer = writes.then(|| spawn(async move { writer.write(b"x").await }));
            sleep(millis(2)).await;
            assert!(!reader.as_ref().is_some_and(|task| task.is_finished()), "{case}");
            assert!(!writer.as_ref().is_some_and(|task| task.is_finished()), "{case}");
            let gone = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            let ended = |result: io::Result<usize>| match result {
                Ok(n) => assert_eq!(n, 0, "{case}"),
                Err(error) => assert!(gone(error.kind()), "{case}: {error}"),
            };
            match ending {
                // RST.
                0 => reset(peer),
                // RST after FIN.
                1 => {
                    peer.shutdown(Shutdown::Write).unwrap();
                    sleep(millis(2)).await;
                    reset(peer);
                }
                // FIN alone: the end of reading only. The writer goes on when there is room.
                _ => {
                    peer.shutdown(Shutdown::Write).unwrap();
                    if let Some(reader) = reader {
                        assert_eq!(reader.await.unwrap().unwrap(), 0, "{case}");
                    }
                    if let Some(writer) = writer {
                        sleep(millis(2)).await;
                        assert!(!writer.is_finished(), "{case}");
                        let drain = thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
                        assert_eq!(writer.await.unwrap().unwrap(), 1, "{case}");
                        ours.shutdown(Shutdown::Write).unwrap();
                        drain.join().unwrap().unwrap();
                    }
                    for _ in 0..3 {
                        assert_eq!(ours.read(&mut [0; 64]).await.unwrap(), 0, "{case}");
                    }
                    continue;
                }
            }
            if let Some(reader) = reader {
                let result = reader.await.unwrap();
                if writer.is_none() && ending == 0 {
                    let kind = result.as_ref().unwrap_err().kind();
                    assert_eq!(kind, ErrorKind::ConnectionReset, "{case}");
                }
                ended(result);
            }
            if let Some(writer) = writer {
                assert!(gone(writer.await.unwrap().unwrap_err().kind()), "{case}");
            }
            // A kernel that is busy delivers it a little later.
            let both = Interest::READABLE | Interest::WRITABLE;
            while !ours.ready(both).await.unwrap().is_write_closed() {
                sleep(millis(1)).await;
            }
            for _ in 0..3 {
                ended(ours.read(&mut [0; 64]).await);
                assert!(gone(ours.write(b"x").await.unwrap_err().kind()), "{case}");
                ours.readable().await.unwrap();
                ours.writable().await.unwrap();
            }
        }
    });
}

/// S11, N05: a read that is dropped before it is ready has taken nothing.
#[test]
fn fifty_thousand_dropped_reads_lose_no_byte() {
    watched(40, || {
        waken::block_on(async {
            let (ours, mut peer) = pair();
            let sender = thread::spawn(move || {
                for number in 0u32.. {
                    if peer.write_all(&number.to_be_bytes()).is_err() {
                        return;
                    }
                    // Now a burst, now a gap.
                    if number % 97 == 0 {
                        thread::sleep(millis(1));
                    }
                }
            });
            let (mut dropped, mut read, mut buf) = (0, 0u64, [0; 1024]);
            let mut random = support::Random(5);
            while dropped < 50_000 || read < 20_000 {
                let length = 1 + random.below(64) as usize;
                let reading = async { Some(ours.read(&mut buf[..length]).await.unwrap()) };
                let giving_up = async {
                    for _ in 0..random.below(3) {
                        waken::task::yield_now().await;
                    }
                    None
                };
                match or(reading, giving_up).await {
                    Some(n) => {
                        for byte in &buf[..n] {
                            let (number, at) = ((read / 4) as u32, (read % 4) as usize);
                            assert_eq!(*byte, number.to_be_bytes()[at], "byte {read}");
                            read += 1;
                        }
                    }
                    None => dropped += 1,
                }
            }
            drop(ours);
            sender.join().unwrap();
        });
    });
}

/// S17, W14: whatever waited, after its drop nobody holds its waker.
#[test]
fn a_dropped_wait_leaves_no_waker() {
    run(async {
        let (ours, mut peer) = narrow_pair();
        fill(&ours).await;
        would_block(ours.try_read(&mut [0; 9]));
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let (foreign, waker) = Foreign::new();
        let idle = Arc::strong_count(&foreign);
        let mut buf = [0; 9];
        let both = Interest::READABLE | Interest::WRITABLE;
        let waits: [Pin<Box<dyn Future<Output = ()>>>; 8] = [
            Box::pin(async { drop(ours.read(&mut buf).await) }),
            Box::pin(async { drop(ours.write(b"x").await) }),
            Box::pin(async { drop(ours.write_all(b"x").await) }),
            Box::pin(async { drop(ours.readable().await) }),
            Box::pin(async { drop(ours.writable().await) }),
            Box::pin(async { drop(ours.ready(both).await) }),
            Box::pin(async {
                drop(ours.async_io(both, |_| Err::<(), _>(ErrorKind::WouldBlock.into())).await)
            }),
            Box::pin(async { drop(listener.accept().await) }),
        ];
        for (index, mut wait) in waits.into_iter().enumerate() {
            for _ in 0..3 {
                assert!(poll_with(&waker, wait.as_mut()).is_pending(), "wait {index}");
            }
            assert!(Arc::strong_count(&foreign) > idle, "wait {index} holds no waker");
            drop(wait);
            assert_eq!(Arc::strong_count(&foreign), idle, "wait {index} leaves a waker");
        }
        peer.write_all(b"x").unwrap();
        ours.readable().await.unwrap();
        assert_eq!(foreign.woken(), 0);
    });
}

/// W14.
#[test]
fn a_closed_stream_leaves_no_waker() {
    run(async {
        let (mut ours, _peer) = pair();
        let (foreign, waker) = Foreign::new();
        let idle = Arc::strong_count(&foreign);
        let mut cx = Context::from_waker(&waker);
        // The poll traits keep the last waker, since there is no future to be dropped.
        assert!(Pin::new(&mut ours).poll_read(&mut cx, &mut [0; 9]).is_pending());
        assert_eq!(Arc::strong_count(&foreign), idle + 1);
        drop(ours);
        assert_eq!(Arc::strong_count(&foreign), idle);
    });
}

/// W14, D02.
#[test]
fn an_ended_runtime_leaves_no_waker_of_a_stream_that_lives_on() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let guard = runtime.enter();
        let (mut ours, _peer) = pair();
        let (foreign, waker) = Foreign::new();
        let idle = Arc::strong_count(&foreign);
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut ours).poll_read(&mut cx, &mut [0; 9]).is_pending());
        assert_eq!(Arc::strong_count(&foreign), idle + 1);
        drop(guard);
        drop(runtime);
        assert_eq!(Arc::strong_count(&foreign), idle);
        thread::spawn(move || drop(ours)).join().unwrap();
    });
}

/// W02.
#[test]
fn all_tasks_that_wait_for_one_stream_are_woken() {
    run(async {
        let (ours, mut peer) = pair();
        let ours = Rc::new(ours);
        would_block(ours.try_read(&mut [0; 9]));
        let (foreign, waker) = Foreign::new();
        let mut aside = pin!(ours.readable());
        assert!(poll_with(&waker, aside.as_mut()).is_pending());
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let ours = ours.clone();
                spawn(async move { ours.readable().await })
            })
            .collect();
        sleep(millis(5)).await;
        assert!(!tasks.iter().any(|task| task.is_finished()));
        peer.write_all(b"x").unwrap();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(foreign.woken(), 1);
        assert!(poll_with(&waker, aside).is_ready());
    });
}

/// Of twenty readers every one gets its byte, whoever is woken first.
#[test]
fn readers_of_one_stream_share_it_without_a_loss() {
    run(async {
        let (ours, mut peer) = pair();
        let ours = Rc::new(ours);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let ours = ours.clone();
                spawn(async move {
                    let mut byte = [0];
                    ours.read_exact(&mut byte).await.unwrap();
                    byte[0]
                })
            })
            .collect();
        let mut bytes = Vec::new();
        for byte in 0..20 {
            sleep(millis(1)).await;
            peer.write_all(&[byte]).unwrap();
        }
        for task in tasks {
            bytes.push(task.await.unwrap());
        }
        bytes.sort();
        assert_eq!(bytes, (0..20).collect::<Vec<u8>>());
    });
}

/// What this side does to the socket ends this side's waits, too.
#[test]
fn a_shutdown_here_wakes_those_who_wait_here() {
    run(async {
        let (ours, peer) = narrow_pair();
        fill(&ours).await;
        let ours = Rc::new(ours);
        let (reading, writing) = (ours.clone(), ours.clone());
        let reader = spawn(async move { reading.read(&mut [0; 9]).await });
        let writer = spawn(async move { writing.write(b"x").await });
        sleep(millis(2)).await;
        assert!(!reader.is_finished() && !writer.is_finished());
        ours.shutdown(Shutdown::Both).unwrap();
        let ended = async { (reader.await.unwrap(), writer.await.unwrap()) };
        let (read, written) = timeout(millis(1000), ended).await.expect("both are woken");
        assert_eq!(read.unwrap(), 0);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop(peer);
    });
}

/// W14: one task, one direction, two futures: each has a claim of its own.
#[test]
fn of_two_waits_in_one_task_either_may_be_dropped() {
    run(async {
        for drop_first in [true, false] {
            let (ours, mut peer) = pair();
            would_block(ours.try_read(&mut [0; 9]));
            let (finished, ours) = (Rc::new(Cell::new(false)), Rc::new(ours));
            let task = {
                let (finished, ours) = (finished.clone(), ours.clone());
                spawn(async move {
                    let (mut first, mut second) =
                        (Some(Box::pin(ours.readable())), Some(Box::pin(ours.readable())));
                    for wait in [&mut first, &mut second] {
                        assert!(poll_once(wait.as_mut().unwrap()).await.is_none());
                    }
                    let left = match drop_first {
                        true => (first.take(), second).1,
                        false => (second.take(), first).1,
                    };
                    left.unwrap().await.unwrap();
                    finished.set(true);
                })
            };
            sleep(millis(2)).await;
            assert!(!finished.get());
            peer.write_all(b"x").unwrap();
            timeout(millis(1000), task).await.expect("woken").unwrap();
        }
    });
}

/// W04.
#[test]
fn the_last_waker_of_poll_read_is_the_one_that_is_woken() {
    run(async {
        let (mut ours, mut peer) = pair();
        let ((first, old), (last, new)) = (Foreign::new(), Foreign::new());
        let mut buf = [0; 9];
        for _ in 0..2 {
            for waker in [&old, &new] {
                let mut cx = Context::from_waker(waker);
                assert!(Pin::new(&mut ours).poll_read(&mut cx, &mut buf).is_pending());
            }
            // A task's own waker in between, which the foreign one replaces.
            let own = poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_read(cx, &mut buf))).await;
            assert!(own.is_pending());
            let mut cx = Context::from_waker(&new);
            assert!(Pin::new(&mut ours).poll_read(&mut cx, &mut buf).is_pending());
            let before = last.woken();
            peer.write_all(b"x").unwrap();
            sleep(millis(5)).await;
            assert_eq!((first.woken(), last.woken()), (0, before + 1));
            assert!(Pin::new(&mut ours).poll_read(&mut cx, &mut buf).is_ready());
        }
        // Both were let go when they were no longer needed.
        drop((old, new));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 1));
    });
}

/// U10: the kernel never has a buffer beyond a call. So a read that is leaked while it waits writes nothing, ever after.
#[test]
fn a_read_that_is_leaked_leaves_its_buffer_alone() {
    run(async {
        let (ours, mut peer) = pair();
        let mut buf = [7; 64];
        let mut reading = Box::pin(ours.read(&mut buf));
        assert!(poll_once(&mut reading).await.is_none());
        std::mem::forget(reading);
        peer.write_all(&[1; 64]).unwrap();
        ours.readable().await.unwrap();
        sleep(millis(5)).await;
        assert_eq!(buf, [7; 64]);
        // Nor has it taken anything, and whoever reads now is served.
        assert_eq!(ours.read(&mut buf).await.unwrap(), 64);
        assert_eq!(buf, [1; 64]);
    });
}

/// W03: a flush and a close have nothing to wait for, so they take the place of nobody who reads or writes.
#[test]
fn flushing_and_closing_leave_alone_who_reads_and_who_writes() {
    run(async {
        let (ours, mut peer) = narrow_pair();
        let sent = fill(&ours).await;
        would_block(ours.try_read(&mut [0; 9]));
        let ((reader, reads), (writer, writes), (other, waker)) =
            (Foreign::new(), Foreign::new(), Foreign::new());
        let mut buf = [0; 9];
        let (mut reading, mut writing, mut ending) = (&ours, &ours, &ours);
        let mut cx = Context::from_waker(&reads);
        assert!(Pin::new(&mut reading).poll_read(&mut cx, &mut buf).is_pending());
        let mut cx = Context::from_waker(&writes);
        assert!(Pin::new(&mut writing).poll_write(&mut cx, b"x").is_pending());

        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut ending).poll_flush(&mut cx).is_ready());
        let mut received = vec![0; sent];
        peer.read_exact(&mut received).unwrap();
        eventually(|| writer.woken() == 1).await;
        assert_eq!(reader.woken(), 0, "the reader has nothing yet");

        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut ending).poll_close(&mut cx).is_ready());
        peer.write_all(b"y").unwrap();
        eventually(|| reader.woken() == 1).await;
        let mut cx = Context::from_waker(&reads);
        assert!(Pin::new(&mut reading).poll_read(&mut cx, &mut buf).is_ready());
        assert_eq!(other.woken(), 0, "who flushed and closed never waited");
    });
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(millis(1)).await;
    }
}

/// W03: the two halves of a stream, polled by two tasks with wakers of their own.
#[test]
fn halves_are_woken_each_for_its_own_direction() {
    run(async {
        let (ours, mut peer) = narrow_pair();
        let sent = fill(&ours).await;
        would_block(ours.try_read(&mut [0; 9]));
        let (mut read, mut write) = ours.into_split();
        let ((reader, reads), (writer, writes)) = (Foreign::new(), Foreign::new());
        let mut buf = [0; 9];
        let mut cx = Context::from_waker(&writes);
        assert!(Pin::new(&mut write).poll_write(&mut cx, b"x").is_pending());
        let mut cx = Context::from_waker(&reads);
        assert!(Pin::new(&mut read).poll_read(&mut cx, &mut buf).is_pending());
        peer.read_exact(&mut vec![0; sent]).unwrap();
        eventually(|| writer.woken() == 1).await;
        assert_eq!(reader.woken(), 0);
        peer.write_all(b"y").unwrap();
        eventually(|| reader.woken() == 1).await;
        assert_eq!(writer.woken(), 1);
    });
}

/// A wait that is not woken is not polled: many streams, one of which has something.
#[test]
fn only_the_task_whose_stream_is_ready_is_polled() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, peers): (Vec<_>, Vec<_>) = (0..50).map(|_| pair()).unzip();
            let readers: Vec<_> = ours
                .into_iter()
                .map(|ours| spawn(async move { ours.read(&mut [0; 9]).await }))
                .collect();
            sleep(millis(5)).await;
            for (mut peer, reader) in peers.into_iter().zip(readers) {
                let before = runtime.metrics().polls;
                peer.write_all(b"x").unwrap();
                assert_eq!(reader.await.unwrap().unwrap(), 1);
                assert_eq!(runtime.metrics().polls - before, 1);
            }
        });
    });
}
