//! Edge-triggered epoll tells everything once: nothing that it told is lost, and nothing is asked for twice.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::AsyncReadExt;
use peer::{FullBacklog, fill, millis, narrow_pair, pair, part_pair, reset, run};
use peer::{recv_urgent, send_urgent, set_option, start_connect, std_pair};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::{Random, cpu, guard, watched};
use waken::io::Interest;
use waken::net::TcpSocket;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, Runtime, spawn};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Fin,
    Rst,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    BeforeRegistration,
    BeforeFirstPoll,
    WhileWaiting,
    /// The event has been dispatched, and nobody waited for it.
    Unawaited,
}

/// E01, E02, E12, k1-k4: every length around that of the buffer, everything that can be behind it, at every time.
#[test]
fn bytes_and_what_is_behind_them_arrive_whenever_they_came() {
    const BUF: usize = 16;
    let times =
        [When::BeforeRegistration, When::BeforeFirstPoll, When::WhileWaiting, When::Unawaited];
    run(async {
        for when in times {
            for behind in [Behind::Fin, Behind::Rst, Behind::Nothing] {
                for length in [0, 1, BUF - 1, BUF, BUF + 1, 3 * BUF] {
                    let case = format!("{length} bytes, then {behind:?}, {when:?}");
                    let reading = one_case(when, behind, length, BUF);
                    timeout(millis(2000), reading)
                        .await
                        .unwrap_or_else(|_| panic!("stalls: {case}"));
                }
            }
        }
    });
}

async fn one_case(when: When, behind: Behind, length: usize, size: usize) {
    let (ours, mut peer) = std_pair();
    let sent: Vec<u8> = (0..length as u8).collect();
    let bytes = sent.clone();
    let send = move || {
        peer.write_all(&bytes).unwrap();
        match behind {
            Behind::Fin => peer.shutdown(Shutdown::Write).unwrap(),
            Behind::Rst => {
                reset(peer);
                return None;
            }
            Behind::Nothing => {}
        }
        Some(peer)
    };
    let mut send = Some(send);
    let mut kept = None;
    if when == When::BeforeRegistration {
        kept = send.take().unwrap()();
    }
    let ours = Rc::new(AsyncTcpStream::try_from(ours).unwrap());
    if when == When::Unawaited {
        // The first events are over, and the direction is not ready any more.
        sleep(millis(1)).await;
        assert_eq!(ours.try_read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        kept = send.take().unwrap()();
        sleep(millis(1)).await;
    }
    if when == When::BeforeFirstPoll {
        kept = send.take().unwrap()();
    }
    let reader = {
        let ours = ours.clone();
        spawn(async move {
            let mut received = Vec::new();
            let mut buf = vec![0; size];
            loop {
                if behind == Behind::Nothing && received.len() == length {
                    return (received, Ok(()));
                }
                match ours.read(&mut buf).await {
                    Ok(0) => return (received, Ok(())),
                    Ok(n) => received.extend_from_slice(&buf[..n]),
                    Err(error) => return (received, Err(error)),
                }
            }
        })
    };
    if let Some(send) = send {
        sleep(millis(1)).await;
        kept = send();
    }
    let (received, end) = reader.await.unwrap();
    assert_eq!(received, sent);
    match behind {
        Behind::Fin => {
            end.unwrap();
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
            ours.write_all(b"half open").await.unwrap();
        }
        Behind::Rst => {
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0);
        }
        Behind::Nothing => {
            let mut buf = [0; 9];
            assert!(timeout(millis(1), ours.read(&mut buf)).await.is_err());
            kept.as_mut().unwrap().write_all(b"more").unwrap();
            assert_eq!(ours.read(&mut buf).await.unwrap(), 4);
        }
    }
}

/// E01, k3: the end may come at any moment between the event and the read.
#[test]
fn an_end_that_races_with_the_read_is_seen() {
    run(async {
        let mut random = Random(3);
        for round in 0..300 {
            let (ours, mut peer) = pair();
            let pause = random.below(200);
            let sender = thread::spawn(move || {
                peer.write_all(b"last words").unwrap();
                for _ in 0..pause {
                    std::hint::spin_loop();
                }
                if round % 2 == 0 { reset(peer) } else { drop(peer) }
            });
            let mut read = 0;
            let reading = async {
                loop {
                    match ours.read(&mut [0; 64]).await {
                        Ok(0) => return ErrorKind::UnexpectedEof,
                        Ok(n) => read += n,
                        Err(error) => return error.kind(),
                    }
                }
            };
            let end = timeout(millis(2000), reading).await.expect("the end is not seen");
            let expected = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof][round % 2];
            assert_eq!((end, read), (expected, 10));
            sender.join().unwrap();
        }
    });
}

/// E03, k5: a read stops in front of an urgent byte, and no edge comes for what is behind it.
#[test]
fn a_stream_with_an_urgent_byte_in_it_arrives_whole() {
    run(async {
        for (before_registration, in_line) in
            [(true, false), (false, false), (true, true), (false, true)]
        {
            for size in [1, 3, 4, 1024] {
                let (ours, mut peer) = std_pair();
                set_option(&ours, libc::SO_OOBINLINE, in_line.into());
                // In line it is a byte of the stream, otherwise none.
                let expected: &[u8] = if in_line { b"abcXdef" } else { b"abcdef" };
                let mut ours = Some(ours);
                let mut registered: Option<AsyncTcpStream> = None;
                if !before_registration {
                    registered = Some(ours.take().unwrap().try_into().unwrap());
                    // The first event is over.
                    sleep(millis(1)).await;
                }
                peer.write_all(b"abc").unwrap();
                assert!(send_urgent(&peer, b'X'));
                peer.write_all(b"def").unwrap();
                let ours = registered.unwrap_or_else(|| ours.unwrap().try_into().unwrap());
                // The reader starts late: all of it is there, and its event has been dispatched.
                sleep(millis(2)).await;
                let mut received = Vec::new();
                while received.len() < expected.len() {
                    let mut buf = vec![0; size];
                    let read = timeout(millis(1000), ours.read(&mut buf)).await;
                    let n = read.unwrap_or_else(|_| panic!("stalls after {received:?}")).unwrap();
                    assert_ne!(n, 0);
                    received.extend_from_slice(&buf[..n]);
                    // Slowly, so that no event of one's own making helps.
                    sleep(millis(1)).await;
                }
                assert_eq!(received, expected);
                assert!(timeout(millis(2), ours.read(&mut [0; 9])).await.is_err());
                peer.write_all(b"g").unwrap();
                assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 1);
            }
        }
    });
}

/// E03, k6: also when the byte comes while the reader waits or is half way.
#[test]
fn urgent_bytes_between_waits_do_not_stall_the_reader() {
    run(async {
        let (mut ours, mut peer) = pair();
        let reader = spawn(async move {
            let mut received = Vec::new();
            ours.read_to_end(&mut received).await.unwrap();
            received
        });
        for _ in 0..50 {
            peer.write_all(b"ab").unwrap();
            assert!(send_urgent(&peer, b'X'));
            sleep(millis(1)).await;
            peer.write_all(b"cd").unwrap();
        }
        drop(peer);
        let received = timeout(millis(2000), reader).await.expect("stalls").unwrap();
        // A byte that is urgent no more, since a later one is, is an ordinary one to the kernel.
        let ordinary: Vec<u8> = received.into_iter().filter(|byte| *byte != b'X').collect();
        assert_eq!(ordinary, b"abcd".repeat(50));
    });
}

/// E03, k5: the byte was taken by a call of its own, so the next event does not speak of it; but reads still stop where it was.
#[test]
fn an_urgent_byte_that_was_taken_still_divides_the_stream() {
    run(async {
        let (ours, mut peer) = pair();
        peer.write_all(b"abc").unwrap();
        assert!(send_urgent(&peer, b'X'));
        sleep(millis(1)).await;
        assert_eq!(ours.try_io(Interest::PRIORITY, recv_urgent).unwrap(), b'X');
        peer.write_all(b"def").unwrap();
        sleep(millis(1)).await;
        let mut buf = [0; 64];
        for expected in [b"abc", b"def"] {
            let read = timeout(millis(1000), ours.read(&mut buf)).await;
            let n = read.unwrap_or_else(|_| panic!("stalls before {expected:?}")).unwrap();
            assert_eq!(&buf[..n], expected);
        }
        assert!(timeout(millis(2), ours.read(&mut buf)).await.is_err());
        peer.write_all(b"g").unwrap();
        assert_eq!(ours.read(&mut buf).await.unwrap(), 1);
    });
}

/// E19, X04: urgent bytes cost their sender's events at most.
#[test]
fn ten_thousand_urgent_bytes_do_not_make_the_reader_spin() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (mut ours, mut peer) = pair();
            let reader = spawn(async move {
                let mut received = Vec::new();
                ours.read_to_end(&mut received).await.unwrap();
                received
            });
            let peer = thread::spawn(move || {
                for _ in 0..10_000 {
                    assert!(send_urgent(&peer, b'X'));
                }
                peer.write_all(b"end").unwrap();
                peer
            });
            while !peer.is_finished() {
                sleep(millis(2)).await;
            }
            sleep(millis(20)).await;
            let seen = runtime.metrics();
            // One poll an event, and those in which its budget ended.
            let bound = seen.epoll_events + seen.budget_yields + 10;
            assert!(seen.polls <= bound && seen.epoll_events < 21_000, "{seen:?}");
            // They are still there, unread; nobody is woken for them.
            let used = cpu();
            sleep(millis(200)).await;
            assert!(runtime.metrics().polls - seen.polls <= 1);
            assert!(cpu() - used < millis(40));
            drop(peer.join().unwrap());
            assert!(reader.await.unwrap().ends_with(b"end"));
        });
    });
}

/// E06, E02: an error or a hang-up is for both directions.
#[test]
fn a_reset_makes_both_directions_ready() {
    run(async {
        let (ours, peer) = narrow_pair();
        fill(&ours).await;
        assert!(ours.try_read(&mut [0; 9]).is_err());
        let ours = Rc::new(ours);
        let waits: Vec<_> = [Interest::READABLE, Interest::WRITABLE]
            .into_iter()
            .map(|interest| {
                let ours = ours.clone();
                spawn(async move { ours.ready(interest).await.unwrap() })
            })
            .collect();
        sleep(millis(5)).await;
        assert!(!waits.iter().any(|wait| wait.is_finished()));
        reset(peer);
        for wait in waits {
            let ready = timeout(millis(1000), wait).await.expect("both are woken").unwrap();
            assert!(ready.is_error() && ready.is_read_closed() && ready.is_write_closed());
        }
    });
}

/// E07: the end of the peer's sending says nothing to a writer.
#[test]
fn the_end_of_the_peers_sending_does_not_wake_a_writer() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, peer) = narrow_pair();
            fill(&ours).await;
            let calls = Rc::new(Cell::new(0));
            let counted = calls.clone();
            let writer = spawn(async move {
                let call = |mut socket: &TcpStream| {
                    counted.set(counted.get() + 1);
                    socket.write(b"x")
                };
                ours.async_io(Interest::WRITABLE, call).await
            });
            sleep(millis(5)).await;
            let before = calls.get();
            peer.shutdown(Shutdown::Write).unwrap();
            sleep(millis(50)).await;
            assert!(calls.get() == before && !writer.is_finished());
            drop(peer);
        });
    });
}

/// E08, E09, k10: a socket that reported a hang-up while it was new, and then connects to where nobody answers.
#[test]
fn a_hang_up_from_before_the_connection_does_not_spin() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let nobody = FullBacklog::new();
        runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            let stream = AsyncTcpStream::try_from(socket.as_fd().try_clone_to_owned().unwrap());
            let stream = stream.unwrap();
            // Long enough for `OUT | HUP` to be dispatched.
            sleep(millis(5)).await;
            assert!(stream.ready(Interest::WRITABLE).await.unwrap().is_write_closed());
            start_connect(&stream, nobody.addr);
            let (used, before) = (cpu(), runtime.metrics());
            assert!(timeout(millis(200), stream.read(&mut [0; 64])).await.is_err());
            // What asks for readiness first, again and again, would not end at all.
            let mut calls = 0;
            let calling = stream.async_io(Interest::READABLE, |mut stream| {
                calls += 1;
                assert!(calls <= 5, "asked again and again");
                stream.read(&mut [0; 64])
            });
            assert!(timeout(millis(50), calling).await.is_err());
            assert!(cpu() - used < millis(50), "{:?}", cpu() - used);
            let after = runtime.metrics();
            assert!(after.turns - before.turns <= 5, "{before:?} {after:?}");
            assert!(after.budget_yields == before.budget_yields, "{after:?}");
        });
    });
}

/// E13, k19: an edge of incoming bytes says "writable" as well. That is no reason for the writer to feed itself.
#[test]
fn an_idle_writer_is_tried_once_an_event_at_most() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = pair();
            let (ours, calls) = (Rc::new(ours), Rc::new(Cell::new(0)));
            let (writing, counted) = (ours.clone(), calls.clone());
            let never = spawn(async move {
                let call = |_: &TcpStream| {
                    counted.set(counted.get() + 1);
                    Err::<(), _>(ErrorKind::WouldBlock.into())
                };
                writing.async_io(Interest::WRITABLE, call).await
            });
            let sender = thread::spawn(move || {
                peer.set_nodelay(true).unwrap();
                (0..10_000).for_each(|_| peer.write_all(b"x").unwrap());
                peer
            });
            let mut received = 0;
            while received < 10_000 {
                received += ours.read(&mut [0; 64]).await.unwrap();
            }
            let seen = runtime.metrics();
            assert!(calls.get() <= seen.epoll_events + 2, "{} {seen:?}", calls.get());
            let peer = sender.join().unwrap();
            sleep(millis(5)).await;
            let before = calls.get();
            sleep(millis(50)).await;
            assert_eq!(calls.get(), before, "it goes on by itself");
            drop((peer, never));
        });
    });
}

/// E13: and one that has no room is not polled more often than the kernel says something.
#[test]
fn a_writer_without_room_is_polled_once_an_event_at_most() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = part_pair();
            fill(&ours).await;
            let ours = Rc::new(ours);
            let writing = ours.clone();
            let writer = spawn(async move { writing.write_all(&vec![b'x'; 64 << 20]).await });
            sleep(millis(2)).await;
            let before = runtime.metrics();
            peer.set_nodelay(true).unwrap();
            for _ in 0..1000 {
                peer.write_all(b"x").unwrap();
                assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 1);
            }
            // The reader is the root, whose polls are not counted.
            let after = runtime.metrics();
            let events = after.epoll_events - before.epoll_events;
            assert!(after.polls - before.polls <= events + 1, "{before:?} {after:?}");
            assert!(!writer.is_finished());
            // Nothing comes in, nothing goes on.
            sleep(millis(50)).await;
            let before = runtime.metrics().polls;
            sleep(millis(50)).await;
            assert!(runtime.metrics().polls - before <= 2);
        });
    });
}

/// E03, k5: also when the urgent byte was read before the reactor had heard of it: its mark stays, and reads end there.
#[test]
fn a_stream_arrives_whole_whose_urgent_byte_was_read_before_its_event() {
    run(async {
        let (ours, peer) = pair();
        // The first events, and a read that waits.
        let first = timeout(millis(20), ours.read(&mut [0; 8])).await;
        assert!(first.is_err());
        (&peer).write_all(b"abc").unwrap();
        assert!(send_urgent(&peer, b'X'));
        (&peer).write_all(b"def").unwrap();
        thread::sleep(millis(20));
        let urgent = ours.try_io(Interest::PRIORITY, recv_urgent);
        assert_eq!(urgent.unwrap(), b'X');
        // A turn: the event comes, and does not speak of urgent data any more.
        sleep(millis(20)).await;
        let mut buf = [0; 64];
        assert_eq!(ours.read(&mut buf).await.unwrap(), 3);
        let behind = timeout(millis(2000), ours.read(&mut buf)).await;
        assert_eq!(behind.expect("the rest stalls").unwrap(), 3);
    });
}

/// E10: what comes between the `WouldBlock` and its being noted is not lost. Whoever is called in between may not run
/// the loop, which would take the event.
#[test]
fn an_edge_that_comes_while_a_call_says_would_block_is_not_lost() {
    guard(20).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            for _ in 0..200 {
                let (ours, mut peer) = pair();
                let mut calls = 0;
                let operation = |mut socket: &TcpStream| {
                    calls += 1;
                    let result = socket.read(&mut [0; 9]);
                    if result.is_err() && calls == 1 {
                        // It is here before `WouldBlock` is returned, and the loop is not run.
                        peer.write_all(b"now").unwrap();
                        let turn = AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO)));
                        assert!(catch_unwind(turn).is_err(), "a turn within a turn");
                    }
                    result
                };
                let reading = ours.async_io(Interest::READABLE, operation);
                let read = timeout(millis(2000), reading).await.expect("the edge is lost");
                assert_eq!(read.unwrap(), 3);
                assert_eq!(calls, 2);
            }
        });
    });
}

/// E11: what happens in one direction says nothing of the other.
#[test]
fn a_reader_that_waits_is_not_tried_because_of_a_writers_edges() {
    run(async {
        let (ours, mut peer) = part_pair();
        let (ours, reads) = (Rc::new(ours), Rc::new(Cell::new(0)));
        let (reading, counted) = (ours.clone(), reads.clone());
        let reader = spawn(async move {
            let call = |mut socket: &TcpStream| {
                counted.set(counted.get() + 1);
                socket.read(&mut [0; 9])
            };
            reading.async_io(Interest::READABLE, call).await
        });
        let drain = thread::spawn(move || {
            let mut received = vec![0; 32 << 20];
            peer.read_exact(&mut received).unwrap();
            peer
        });
        sleep(millis(2)).await;
        let before = waken::runtime::metrics();
        ours.write_all(&vec![b'x'; 32 << 20]).await.unwrap();
        let events = waken::runtime::metrics().epoll_events - before.epoll_events;
        assert!(events > 10, "the writer hardly ever waited: {events} events");
        // At first, and again for the event of its registration.
        assert!(reads.get() <= 2 && !reader.is_finished(), "{} reads", reads.get());
        let tasks = waken::runtime::tasks();
        let polls = tasks.iter().find(|task| task.id == reader.id()).unwrap().polls;
        assert!(polls <= 3, "it is polled {polls} times for {events} events");
        let mut peer = drain.join().unwrap();
        peer.write_all(b"abc").unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 3);
        assert!(reads.get() <= 3, "{} reads", reads.get());
    });
}
