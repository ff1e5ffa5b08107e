//! A runtime's descriptor: readable when a turn would find something to do, and at no other time.
#[path = "support/outer.rs"]
mod outer;
#[path = "support/peer.rs"]
mod peer;
mod support;

use outer::{LONG, drain, drive, is_readable, poll, turns_within};
use peer::{millis, std_pair};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use support::{Random, poll_once, watched};
use waken::runtime::Next;
use waken::task::yield_now;
use waken::time::{sleep, sleep_until};
use waken::{AsyncTcpListener, AsyncTcpStream, Builder, Runtime, spawn};

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

fn self_waking() -> Runtime {
    Builder::new().self_waking_fd(true).build().unwrap()
}

fn both() -> [Runtime; 2] {
    [Runtime::new().unwrap(), self_waking()]
}

/// A task that counts the bytes it reads from the other end.
fn reader(runtime: &Runtime) -> (Rc<Cell<usize>>, TcpStream) {
    let ((ours, peer), read) = (std_pair(), Rc::new(Cell::new(0)));
    let count = read.clone();
    runtime.spawn(async move {
        let ours = AsyncTcpStream::try_from(ours).unwrap();
        let mut buf = [0; 64];
        while let n @ 1.. = ours.read(&mut buf).await.unwrap() {
            count.set(count.get() + n);
        }
    });
    (read, peer)
}

/// An echo server, and where it listens.
fn echo_server(runtime: &Runtime) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        let listener = AsyncTcpListener::try_from(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn(async move {
                let mut buf = [0; 256];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    stream.write_all(&buf[..n]).await.unwrap();
                }
            });
        }
    });
    address
}

// ---- with and without `self_waking_fd` --------------------------------------------------------

#[test]
fn an_event_of_a_socket_makes_the_descriptor_readable() {
    watched(10, || {
        for runtime in both() {
            let (read, mut peer) = reader(&runtime);
            for _ in 0..3 {
                runtime.turn(NO_WAIT).unwrap();
            }
            for round in 1..=100 {
                assert!(!is_readable(&runtime, Duration::ZERO));
                peer.write_all(b"x").unwrap();
                drive(&runtime, || read.get() == round);
                drain(&runtime);
            }
        }
    });
}

#[test]
fn what_another_thread_wants_makes_the_descriptor_readable_also_before_the_first_turn() {
    watched(10, || {
        for runtime in both() {
            assert!(!is_readable(&runtime, Duration::ZERO), "a new one");
            let done = Arc::new(Mutex::new(0));
            for round in 1..=50 {
                let (remote, count) = (runtime.remote(), done.clone());
                let spawner = thread::spawn(move || {
                    drop(remote.spawn(move || async move { *count.lock().unwrap() += 1 }));
                });
                drive(&runtime, || *done.lock().unwrap() == round);
                spawner.join().unwrap();
                drain(&runtime);
            }
            let remote = runtime.remote();
            thread::spawn(move || remote.wake()).join().unwrap();
            assert!(is_readable(&runtime, Duration::ZERO));
            drain(&runtime);
        }
    });
}

#[test]
fn a_waker_that_is_woken_outside_of_a_turn_makes_the_descriptor_readable() {
    watched(10, || {
        for runtime in both() {
            let kept = Rc::new(RefCell::new(None));
            let polls = Rc::new(Cell::new(0));
            let (keep, count) = (kept.clone(), polls.clone());
            runtime.spawn(poll_fn(move |cx| {
                *keep.borrow_mut() = Some(cx.waker().clone());
                count.set(count.get() + 1);
                Poll::<()>::Pending
            }));
            runtime.turn(NO_WAIT).unwrap();
            drain(&runtime);
            for round in 2..100 {
                let waker = kept.borrow().clone().unwrap();
                match round % 2 {
                    0 => waker.wake(),
                    _ => thread::spawn(|| waker.wake()).join().unwrap(),
                }
                drive(&runtime, || polls.get() == round);
                drain(&runtime);
            }
        }
    });
}

/// A guard keeps the runtime current, so that callbacks of the outer loop may spawn.
#[test]
fn letters_arrive_also_while_a_guard_is_held_around_the_turns() {
    watched(10, || {
        for runtime in both() {
            let _current = runtime.enter();
            let done = Arc::new(Mutex::new(0));
            for round in 1..=20 {
                let (remote, count) = (runtime.remote(), done.clone());
                let spawner = thread::spawn(move || {
                    drop(remote.spawn(move || async move { *count.lock().unwrap() += 1 }));
                });
                drive(&runtime, || *done.lock().unwrap() == round);
                spawner.join().unwrap();
                runtime.block_on(yield_now());
            }
        }
    });
}

#[test]
fn the_descriptor_is_not_readable_when_there_is_nothing_to_do() {
    watched(20, || {
        for runtime in both() {
            let address = echo_server(&runtime);
            runtime.turn(NO_WAIT).unwrap();
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"hello").unwrap();
            while !is_readable(&client, Duration::ZERO) {
                assert!(is_readable(&runtime, LONG));
                runtime.turn(NO_WAIT).unwrap();
            }
            client.read_exact(&mut [0; 5]).unwrap();
            drain(&runtime);
            assert_eq!(runtime.next_turn(), Next::Event);
            assert_eq!(turns_within(&runtime, millis(300)), 0);
        }
    });
}

#[test]
fn a_plain_descriptor_is_readable_neither_for_timers_nor_for_tasks_that_are_left() {
    watched(10, || {
        let runtime = Builder::new().polls_per_turn(1).build().unwrap();
        for _ in 0..3 {
            runtime.spawn(sleep(millis(1)));
        }
        assert_eq!(turns_within(&runtime, millis(20)), 0);
        assert_eq!(runtime.turn(NO_WAIT).unwrap(), Next::Now, "two are left");
        assert_eq!(turns_within(&runtime, millis(20)), 0);
        while runtime.next_turn() != Next::Idle {
            runtime.turn(NO_WAIT).unwrap();
        }
    });
}

/// What a plain descriptor leaves out, the result of the last turn says.
#[test]
fn with_what_a_turn_returns_a_plain_descriptor_is_enough() {
    watched(20, || {
        let runtime = Builder::new().polls_per_turn(2).events_per_poll(1).build().unwrap();
        let done = Rc::new(Cell::new(0));
        let peers: Vec<_> = (0..10)
            .map(|n| {
                let ((ours, peer), done) = (std_pair(), done.clone());
                runtime.spawn(async move {
                    let ours = AsyncTcpStream::try_from(ours).unwrap();
                    for round in 0..20 {
                        sleep(Duration::from_micros(n * 100 * round)).await;
                        ours.write_all(b"?").await.unwrap();
                        ours.read_exact(&mut [0]).await.unwrap();
                    }
                    done.set(done.get() + 1);
                });
                thread::spawn(move || {
                    let mut peer = peer;
                    for _ in 0..20 {
                        peer.read_exact(&mut [0]).unwrap();
                        peer.write_all(b"!").unwrap();
                    }
                })
            })
            .collect();
        let mut next = runtime.next_turn();
        while done.get() < 10 {
            let at_most = match next {
                Next::Now => Duration::ZERO,
                Next::At(deadline) => deadline.saturating_duration_since(Instant::now()),
                Next::Event => LONG,
                Next::Idle => panic!("ten tasks are alive"),
            };
            let readable = is_readable(&runtime, at_most);
            assert!(readable || next != Next::Event, "{runtime:?}");
            next = runtime.turn(NO_WAIT).unwrap();
        }
        peers.into_iter().for_each(|peer| peer.join().unwrap());
    });
}

// ---- with `self_waking_fd` --------------------------------------------------------------------

#[test]
fn a_spawn_and_an_abort_outside_of_a_turn_make_a_self_waking_descriptor_readable() {
    watched(10, || {
        let runtime = self_waking();
        for _ in 0..50 {
            let task = runtime.spawn(async {});
            drive(&runtime, || task.is_finished());
            drain(&runtime);
            let guard = runtime.enter();
            let task = spawn(pending::<()>());
            drop(guard);
            assert!(drive(&runtime, || runtime.next_turn() == Next::Event) > 0);
            drain(&runtime);
            task.abort();
            drive(&runtime, || task.is_finished());
            drain(&runtime);
        }
    });
}

#[test]
fn tasks_that_are_left_by_a_short_turn_make_a_self_waking_descriptor_readable() {
    watched(10, || {
        let runtime = Builder::new().polls_per_turn(1).self_waking_fd(true).build().unwrap();
        let tasks: Vec<_> = (0..50).map(|_| runtime.spawn(yield_now())).collect();
        let turns = drive(&runtime, || tasks.iter().all(|task| task.is_finished()));
        assert_eq!(turns, 100, "one poll each");
        drain(&runtime);
    });
}

/// However few fit, and however the turns wait.
#[test]
fn events_that_are_left_by_a_turn_make_a_self_waking_descriptor_readable() {
    watched(20, || {
        for events in [1, 2, 3, 7] {
            for max_wait in [NO_WAIT, Some(LONG), None] {
                let builder = Builder::new().self_waking_fd(true).events_per_poll(events);
                let runtime = builder.build().unwrap();
                let mut readers: Vec<_> = (0..20).map(|_| reader(&runtime)).collect();
                drain(&runtime);
                for round in 1..=5 {
                    for (_, peer) in &mut readers {
                        peer.write_all(b"x").unwrap();
                    }
                    while readers.iter().any(|(read, _)| read.get() < round) {
                        assert!(is_readable(&runtime, LONG), "{events} events, {max_wait:?}");
                        runtime.turn(max_wait).unwrap();
                    }
                    drain(&runtime);
                    assert_eq!(turns_within(&runtime, millis(5)), 0, "{events} events");
                }
            }
        }
    });
}

// ---- timers -----------------------------------------------------------------------------------

#[test]
fn a_due_timer_makes_a_self_waking_descriptor_readable_and_never_early() {
    watched(20, || {
        let runtime = self_waking();
        let mut random = Random(0x5eed);
        for _ in 0..100 {
            let deadline = Instant::now() + Duration::from_micros(random.below(4000));
            let task = runtime.spawn(sleep_until(deadline));
            runtime.turn(NO_WAIT).unwrap();
            if task.is_finished() {
                continue; // It took so long to come here.
            }
            // What the spawn has announced, which the turn has not asked the kernel for.
            runtime.turn(NO_WAIT).unwrap();
            while !task.is_finished() {
                assert!(is_readable(&runtime, LONG));
                assert!(Instant::now() >= deadline, "early");
                runtime.turn(NO_WAIT).unwrap();
            }
            drain(&runtime);
        }
    });
}

/// Outside of a turn, where nobody but the descriptor can tell.
#[test]
fn a_timer_that_is_moved_or_dropped_between_two_turns_moves_the_descriptor() {
    watched(20, || {
        let runtime = self_waking();
        let under = |sleep: &mut waken::time::Sleep| {
            let _current = runtime.enter();
            poll_once(sleep).is_ready()
        };
        let mut moved = sleep(Duration::from_secs(3600));
        assert!(!under(&mut moved));
        assert_eq!(turns_within(&runtime, millis(5)), 0);

        let earlier = Instant::now() + millis(10);
        moved.reset(earlier);
        assert!(is_readable(&runtime, LONG) && Instant::now() >= earlier);
        drain(&runtime);
        assert!(under(&mut moved), "it has fired");

        moved.reset(Instant::now() + millis(10));
        assert!(!under(&mut moved));
        let later = Instant::now() + millis(60);
        moved.reset(later);
        assert!(is_readable(&runtime, LONG) && Instant::now() >= later);
        drain(&runtime);

        moved.reset(Instant::now() + millis(10));
        assert!(!under(&mut moved));
        drop(moved);
        thread::sleep(millis(20));
        assert_eq!(turns_within(&runtime, millis(5)), 0, "it is gone");
    });
}

/// The descriptor has told of that very time already.
#[test]
fn a_timer_that_is_moved_to_a_time_that_is_past_makes_the_descriptor_readable() {
    watched(10, || {
        let runtime = self_waking();
        let deadline = Instant::now() + millis(5);
        let other = Rc::new(RefCell::new(sleep(Duration::from_secs(3600))));
        let waiting = other.clone();
        let waits = runtime
            .spawn(poll_fn(move |cx| std::pin::Pin::new(&mut *waiting.borrow_mut()).poll(cx)));
        runtime.spawn(async move {
            sleep_until(deadline).await;
            other.borrow_mut().reset(deadline);
        });
        drive(&runtime, || waits.is_finished());
    });
}

#[test]
fn the_outer_loop_may_watch_something_of_its_own_beside_the_runtime() {
    watched(10, || {
        let (runtime, (mut here, there)) = (self_waking(), std_pair());
        let task = runtime.spawn(async move {
            let there = AsyncTcpStream::try_from(there).unwrap();
            for n in 1..=50 {
                sleep(Duration::from_micros(100)).await;
                there.write_all(&[n]).await.unwrap();
                there.read_exact(&mut [0]).await.unwrap();
            }
        });
        while !task.is_finished() {
            let ready = poll(&[runtime.as_fd(), here.as_fd()], LONG);
            if ready[0] {
                runtime.turn(NO_WAIT).unwrap();
            }
            if ready[1] {
                let mut byte = [0];
                here.read_exact(&mut byte).unwrap();
                here.write_all(&byte).unwrap();
            }
        }
    });
}

/// What the eventfds of this process have counted.
fn eventfd_counts() -> u64 {
    let folder = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = folder.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let count = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("eventfd-count:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    texts.filter_map(count).sum()
}

#[test]
fn what_is_done_between_two_turns_is_announced_once() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        runtime.remote().wake();
        let before = eventfd_counts();
        for _ in 0..1000 {
            runtime.metrics();
        }
        assert!(eventfd_counts() - before < 10);
        let runtime = Runtime::builder().self_waking_fd(true).build().unwrap();
        let before = eventfd_counts();
        for _ in 0..1000 {
            drop(runtime.spawn(async {}));
        }
        assert!((1..10).contains(&(eventfd_counts() - before)));
    });
}
