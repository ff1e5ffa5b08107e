//! A descriptor's number is used again and again: what belongs to its last owner does not reach the next.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_io::AsyncRead;
use peer::{duplicate_from, millis, pair, replace, reset, run, std_pair};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use support::{fds, guard, watched};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, Runtime, spawn};

/// F03: taken out of epoll before it is closed, so that a duplicate keeps nothing alive.
#[test]
fn a_duplicate_of_a_closed_stream_brings_no_events() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = pair();
            let duplicate = ours.as_fd().try_clone_to_owned().unwrap();
            sleep(millis(2)).await;
            drop(ours);
            assert_eq!(runtime.metrics().sources_alive, 0);
            let before = runtime.metrics().epoll_events;
            for _ in 0..100 {
                peer.write_all(b"x").unwrap();
                sleep(millis(0)).await;
            }
            sleep(millis(5)).await;
            assert_eq!(runtime.metrics().epoll_events, before);
            drop(duplicate);
        });
    });
}

/// F03, F04, k12: other code has put another file in the descriptor's place, so it cannot be taken out of epoll any
/// more: its ghost goes on reporting. Nobody is woken for it, and a new stream is not taken for it.
#[test]
fn ghosts_of_a_descriptor_that_was_replaced_are_ignored() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (haunted, mut old_peer) = pair();
            let duplicate = haunted.as_fd().try_clone_to_owned().unwrap();
            sleep(millis(2)).await;
            let null = std::fs::File::open("/dev/null").unwrap();
            replace(&haunted, &null);
            drop(haunted);
            assert_eq!(runtime.metrics().sources_alive, 0, "the bookkeeping is done all the same");

            // The same place in every table.
            let (ours, mut peer) = pair();
            let reader = spawn(async move {
                let n = ours.read(&mut [0; 9]).await.unwrap();
                (ours, n)
            });
            sleep(millis(2)).await;
            let before = runtime.metrics();
            for _ in 0..100 {
                old_peer.write_all(b"boo").unwrap();
                sleep(millis(0)).await;
                sleep(millis(1)).await;
            }
            let after = runtime.metrics();
            assert!(after.epoll_events > before.epoll_events, "there was no ghost");
            assert_eq!(after.polls, before.polls, "a ghost has woken somebody");
            assert!(after.spurious_events > before.spurious_events);
            // They are cheap: an event each.
            assert!(after.epoll_events - before.epoll_events <= 110);
            peer.write_all(b"x").unwrap();
            assert_eq!(reader.await.unwrap().1, 1);
            drop(duplicate);
        });
    });
}

/// F01, F09: many lives of one number, each with events of the last life under way.
#[test]
fn a_number_that_is_used_again_starts_afresh() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            // The helper opens a listener once.
            drop(pair());
            let before = fds();
            let mut numbers = Vec::new();
            for round in 0..1000u32 {
                let (ours, mut peer) = pair();
                numbers.push(ours.as_raw_fd());
                let ours = Rc::new(ours);
                let reading = ours.clone();
                let reader = spawn(async move {
                    let mut buf = [0; 4];
                    reading.read_exact(&mut buf).await.unwrap();
                    u32::from_be_bytes(buf)
                });
                if round % 3 == 0 {
                    sleep(millis(0)).await;
                }
                peer.write_all(&round.to_be_bytes()).unwrap();
                if round % 2 == 0 {
                    assert_eq!(reader.await.unwrap(), round);
                } else {
                    // Cancelled with the event on its way.
                    reader.abort();
                    let _cancelled_or_done = reader.await;
                }
                assert_eq!(runtime.metrics().sources_alive, 1);
                // Now and then it leaves an error behind.
                if round % 5 == 0 {
                    reset(peer);
                }
            }
            assert_eq!(runtime.metrics().sources_alive, 0);
            assert_eq!(fds(), before);
            numbers.sort();
            numbers.dedup();
            assert!(numbers.len() < 10, "the kernel gives low numbers first: {numbers:?}");
        });
    });
}

/// E18, F01: whoever is polled first closes the other, whose event is in the same batch, and opens something new.
#[test]
fn a_stream_may_be_closed_while_its_event_is_in_the_batch() {
    run(async {
        type Place = Rc<RefCell<Option<AsyncTcpStream>>>;
        for round in 0..200 {
            let ((one, mut one_peer), (two, mut two_peer)) = (pair(), pair());
            let places: [Place; 2] = [one, two].map(|stream| Rc::new(RefCell::new(Some(stream))));
            let mut new = Vec::new();
            let tasks: Vec<_> = [(0, 1), (1, 0)]
                .into_iter()
                .map(|(mine, other)| {
                    let (mine, other) = (places[mine].clone(), places[other].clone());
                    spawn(async move {
                        let n = poll_fn(|cx| match &mut *mine.borrow_mut() {
                            // The other one was first, and has closed this stream.
                            None => Poll::Ready(None),
                            Some(stream) => Pin::new(stream).poll_read(cx, &mut [0; 9]).map(Some),
                        });
                        let n = n.await?.unwrap();
                        drop(other.borrow_mut().take());
                        Some((n, pair()))
                    })
                })
                .collect();
            if round % 2 == 0 {
                sleep(millis(1)).await;
            } else {
                waken::task::yield_now().await;
            }
            // Both events come in one batch.
            one_peer.write_all(b"x").unwrap();
            two_peer.write_all(b"x").unwrap();
            for task in tasks {
                if let Some((n, pair)) = task.await.unwrap() {
                    assert_eq!(n, 1);
                    new.push(pair);
                }
            }
            assert_eq!(new.len(), 1, "both were read, so their events were not in one batch");
            for (stream, mut peer) in new {
                // The closed streams' events have not made the new ones readable.
                assert!(timeout(millis(1), stream.read(&mut [0; 9])).await.is_err());
                peer.write_all(b"new").unwrap();
                assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 3);
            }
        }
    });
}

/// F13: no table is indexed by descriptors.
#[test]
fn a_high_number_is_a_number() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut streams = Vec::new();
            let most = peer::room_for(19_500, 1) as i32;
            for least in [1_000, 4_096, 19_000].map(|least: i32| least.min(most - 10)) {
                let (ours, peer) = std_pair();
                let high = duplicate_from(&ours, least).unwrap();
                assert!(high.as_raw_fd() >= least);
                streams.push((AsyncTcpStream::try_from(high).unwrap(), peer));
            }
            for (ours, peer) in &mut streams {
                assert!(timeout(millis(1), ours.read(&mut [0; 9])).await.is_err());
                peer.write_all(b"abc").unwrap();
                assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 3);
                ours.write_all(b"d").await.unwrap();
                assert_eq!(peer.read(&mut [0; 9]).unwrap(), 1);
            }
            assert_eq!(runtime.metrics().sources_alive, 3);
        });
    });
}

/// F08, F09: another descriptor is put into the place of one that is watched. Whoever does that waits for the wrong one, as the
/// documentation says; nobody else is to lose anything, on whichever thread it is dropped.
#[test]
fn a_descriptor_that_was_replaced_by_its_owner_takes_nobody_elses_place() {
    watched(10, || {
        waken::block_on(async {
            for elsewhere in [false, true] {
                let (one, _one_peer) = std_pair();
                let (other, _other_peer) = std_pair();
                let (plain, mut peer) = std_pair();
                let mut replaced = waken::io::AsyncFd::new(one).unwrap();
                let number = replaced.as_raw_fd();
                // The old one is closed by that, and its number is free for whoever is next.
                *replaced.get_mut() = other;
                let next = duplicate_from(&plain, 0).unwrap();
                assert_eq!(next.as_raw_fd(), number);
                let next = AsyncTcpStream::try_from(next).unwrap();
                assert!(timeout(millis(2), next.read(&mut [0; 9])).await.is_err());
                match elsewhere {
                    true => std::thread::spawn(move || drop(replaced)).join().unwrap(),
                    false => drop(replaced),
                }
                sleep(millis(1)).await;
                peer.write_all(b"abc").unwrap();
                let read = timeout(millis(1000), next.read(&mut [0; 9])).await;
                assert_eq!(read.expect("its registration was taken away").unwrap(), 3);
            }
        });
    });
}

/// F09: a stream that is dropped by a panic, or by another value's destructor, is taken out once: the next one at its number
/// keeps its own registration.
#[test]
fn a_stream_that_a_panic_or_a_destructor_drops_takes_nothing_from_the_next() {
    struct Closes(Rc<RefCell<Vec<AsyncTcpStream>>>);
    impl Drop for Closes {
        fn drop(&mut self) {
            self.0.borrow_mut().clear();
        }
    }
    guard(20).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            drop(pair());
            let before = fds();
            for round in 0..100 {
                let (ours, peer) = pair();
                let number = ours.as_raw_fd();
                let kept = Rc::new(RefCell::new(Vec::new()));
                let closes = Closes(kept.clone());
                let task = spawn(async move {
                    match round % 2 {
                        // In the unwinding, after it has waited.
                        0 => {
                            let waited = timeout(millis(0), ours.read(&mut [0; 9])).await;
                            assert!(waited.is_ok(), "on purpose");
                        }
                        // In the destructor of another value, while that is unwound.
                        _ => {
                            kept.borrow_mut().push(ours);
                            let _closes = closes;
                            panic!("on purpose");
                        }
                    }
                });
                assert!(task.await.unwrap_err().is_panic());
                assert_eq!(runtime.metrics().sources_alive, 0);
                drop(peer);
                let (plain, mut peer) = std_pair();
                let next = AsyncTcpStream::try_from(plain).unwrap();
                assert!([next.as_raw_fd(), peer.as_raw_fd()].contains(&number));
                assert!(timeout(millis(0), next.read(&mut [0; 9])).await.is_err());
                peer.write_all(b"abc").unwrap();
                let read = timeout(millis(2000), next.read(&mut [0; 9])).await;
                assert_eq!(read.expect("stalls").unwrap(), 3, "round {round}");
            }
            assert_eq!(fds(), before);
        });
    });
}
