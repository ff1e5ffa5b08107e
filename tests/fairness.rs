//! Fairness: whoever is ready gets its turn, however busy the others are, and so do sockets and timers.
mod support;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::net;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use support::{cpu, guard, watched};
use waken::task::{consume_budget, yield_now};
use waken::time::{interval, sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Builder, JoinSet, Runtime, spawn};

async fn pair() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// A stream that has a byte to peek at, as long as the other end lives.
async fn always_ready() -> (AsyncTcpStream, AsyncTcpStream) {
    let (one, other) = pair().await;
    other.write_all(b"x").await.unwrap();
    one.readable().await.unwrap();
    (one, other)
}

async fn peek_for_ever(stream: &AsyncTcpStream, count: &Cell<u64>) {
    loop {
        assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
        count.set(count.get() + 1);
    }
}

/// A thread that sends a byte back for each that it gets.
fn echo_thread() -> net::SocketAddr {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0];
        while matches!(stream.read(&mut buf), Ok(1)) && stream.write_all(&buf).is_ok() {}
    });
    address
}

async fn round_trips(address: net::SocketAddr, count: u32) {
    let stream = AsyncTcpStream::connect(address).await.unwrap();
    for _ in 0..count {
        stream.write_all(b"?").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    }
}

/// Q04. Two tasks wake each other for ever; a third one has as many turns as they.
#[test]
fn a_task_that_is_woken_during_a_turn_waits_for_the_next() {
    watched(10, || {
        waken::block_on(async {
            let wakers = Rc::new(RefCell::new([const { None::<std::task::Waker> }; 2]));
            let polls = Rc::new(RefCell::new([0u32; 3]));
            for n in 0..2 {
                let (wakers, polls) = (wakers.clone(), polls.clone());
                spawn(poll_fn(move |cx| {
                    polls.borrow_mut()[n] += 1;
                    wakers.borrow_mut()[n] = Some(cx.waker().clone());
                    let other = wakers.borrow()[1 - n].clone();
                    other.into_iter().for_each(std::task::Waker::wake);
                    Poll::<()>::Pending
                }));
            }
            let inside = polls.clone();
            spawn(async move {
                loop {
                    inside.borrow_mut()[2] += 1;
                    yield_now().await;
                }
            });
            for turn in 1..100 {
                yield_now().await;
                let polls = *polls.borrow();
                assert_eq!(polls[2], turn, "once a turn");
                assert!(polls[0] <= turn && polls[1] <= turn, "{polls:?} after {turn} turns");
                assert!(polls[0] + polls[1] >= turn, "{polls:?} after {turn} turns");
            }
        });
    });
}

/// The place of an ended task is used again, and a wake that it has left behind belongs to nobody.
#[test]
fn a_task_in_the_place_of_one_that_ended_while_it_was_woken_has_one_poll_a_turn() {
    watched(10, || {
        waken::block_on(async {
            // Wakes itself and ends: what a `race` does that loses to the other branch.
            drop(spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            })));
            let polls = Rc::new(Cell::new(0));
            let inside = polls.clone();
            let spawner = spawn(async move {
                let lone = async move {
                    loop {
                        inside.set(inside.get() + 1);
                        yield_now().await;
                    }
                };
                drop(spawn(lone));
            });
            spawner.await.unwrap();
            let before = polls.get();
            for turn in 1..=10 {
                yield_now().await;
                assert_eq!(polls.get() - before, turn, "polls after {turn} turns");
            }
        });
    });
}

/// As above, seen by the others: it must not be polled before tasks that were ready first.
#[test]
fn a_task_in_the_place_of_one_that_ended_while_it_was_woken_queues_at_the_back() {
    watched(10, || {
        waken::block_on(async {
            let order = Rc::new(RefCell::new(Vec::new()));
            drop(spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            })));
            let log = order.clone();
            spawn(async move {
                yield_now().await;
                log.borrow_mut().push("was ready first");
            });
            let log = order.clone();
            spawn(async move {
                spawn(async move { log.borrow_mut().push("was spawned after that") });
            });
            yield_now().await;
            yield_now().await;
            assert_eq!(*order.borrow(), ["was ready first", "was spawned after that"]);
        });
    });
}

#[test]
fn polls_per_turn_bounds_a_turn() {
    watched(10, || {
        for most in [1, 3, 10, 100] {
            let runtime = Rc::new(Builder::new().polls_per_turn(most).build().unwrap());
            let turns = Rc::new(RefCell::new(Vec::new()));
            for _ in 0..10 {
                let (runtime, turns) = (runtime.clone(), turns.clone());
                drop(Runtime::spawn(&runtime.clone(), async move {
                    turns.borrow_mut().push(runtime.metrics().turns as usize);
                }));
            }
            runtime.block_on(async {
                while runtime.metrics().tasks_alive > 0 {
                    yield_now().await;
                }
            });
            let expected: Vec<usize> = (0..10).map(|n| n / most).collect();
            assert_eq!(*turns.borrow(), expected, "{most} a turn");
        }
    });
}

#[test]
fn a_short_turn_costs_the_same_however_many_tasks_are_ready() {
    let cost = |tasks: u32| {
        let runtime = Builder::new().polls_per_turn(1).build().unwrap();
        for _ in 0..tasks {
            drop(runtime.spawn(async {}));
        }
        let before = cpu();
        runtime.block_on(async {
            while runtime.metrics().tasks_alive > 0 {
                yield_now().await;
            }
        });
        (cpu() - before).as_nanos() as f64 / f64::from(tasks)
    };
    guard(60).cpu_ms(2_000).run(|| {
        let (few, many) = (cost(20_000), cost(200_000));
        // Ten times as many cost ten times as much each when a turn moves what is left.
        assert!(
            many < 4.0 * few,
            "{few:.0} ns a turn with 20,000 tasks, {many:.0} ns with 200,000"
        );
    });
}

/// Q01. With one poll a turn, the kernel and the clock are asked between any two.
#[test]
fn a_socket_is_served_between_the_polls_of_one_long_turn() {
    watched(20, || {
        let runtime = Builder::new().polls_per_turn(1).build().unwrap();
        for _ in 0..1000 {
            runtime.spawn(async {
                loop {
                    yield_now().await;
                }
            });
        }
        runtime.block_on(async {
            let (one, other) = pair().await;
            let before = runtime.metrics();
            other.write_all(b"x").await.unwrap();
            one.read_exact(&mut [0]).await.unwrap();
            let polls = runtime.metrics().polls - before.polls;
            assert!(polls < 500, "{polls} polls of other tasks until a byte came over loopback");
        });
    });
}

/// Q02.
#[test]
fn an_always_ready_socket_starves_neither_a_ticker_nor_another_connection() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (one, _other) = always_ready().await;
            let peeks = Rc::new(Cell::new(0));
            let count = peeks.clone();
            let hog = spawn(async move { peek_for_ever(&one, &count).await }).abort_on_drop();
            let echo = spawn(round_trips(echo_thread(), 100));
            let ticker = spawn(async {
                let mut interval = interval(Duration::from_millis(1));
                for _ in 0..50 {
                    interval.tick().await;
                }
            });
            ticker.await.unwrap();
            echo.await.unwrap();
            assert!(peeks.get() > 128, "{} peeks meanwhile", peeks.get());
            drop(hog);
        });
        assert!(runtime.metrics().budget_yields > 0);
    });
}

/// Q03. The deadline is looked at, whatever is left of the budget.
#[test]
fn a_timeout_around_what_is_always_ready_fires() {
    watched(10, || {
        waken::block_on(async {
            let (one, _other) = always_ready().await;
            let peeks = Rc::new(Cell::new(0));
            for in_a_task in [false, true] {
                let start = Instant::now();
                if in_a_task {
                    let (count, stream) = (peeks.clone(), pair().await);
                    stream.1.write_all(b"x").await.unwrap();
                    let body = async move {
                        let hog = peek_for_ever(&stream.0, &count);
                        timeout(Duration::from_millis(50), hog).await.is_err()
                    };
                    assert!(spawn(body).await.unwrap());
                } else {
                    let hog = peek_for_ever(&one, &peeks);
                    assert!(timeout(Duration::from_millis(50), hog).await.is_err());
                }
                let took = start.elapsed();
                assert!(
                    took >= Duration::from_millis(50) && took < Duration::from_secs(2),
                    "{took:?}"
                );
            }
            assert!(peeks.get() > 1000);
        });
    });
}

/// Q03.
#[test]
fn the_budget_is_a_number_of_operations_per_poll() {
    watched(10, || {
        let runtime = Builder::new().budget(3).build().unwrap();
        let log = Rc::new(RefCell::new(String::new()));
        for name in ['a', 'b'] {
            let log = log.clone();
            runtime.spawn(async move {
                for _ in 0..7 {
                    consume_budget().await;
                    log.borrow_mut().push(name);
                }
            });
        }
        runtime.block_on(async {
            while runtime.metrics().tasks_alive > 0 {
                yield_now().await;
            }
        });
        assert_eq!(*log.borrow(), "aaabbbaaabbbab");
        assert_eq!(runtime.metrics().budget_yields, 4);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            for _ in 0..1280 {
                consume_budget().await;
            }
        });
        assert_eq!(runtime.metrics().budget_yields, 9, "128 each, and the last ends with the loop");
    });
}

/// Q03. Two of each in one poll of a task that may have one: the second has to yield.
#[test]
fn every_operation_that_is_ready_spends_one() {
    async fn costs_one<F: Future>(runtime: &Runtime, name: &str, mut operation: impl FnMut() -> F) {
        yield_now().await; // A new poll, and a whole budget.
        let before = runtime.metrics().budget_yields;
        operation().await;
        assert_eq!(runtime.metrics().budget_yields, before, "{name}: the first is free");
        operation().await;
        assert_eq!(runtime.metrics().budget_yields, before + 1, "{name}");
    }
    watched(10, || {
        let runtime = Builder::new().budget(1).build().unwrap();
        runtime.block_on(async {
            costs_one(&runtime, "consume_budget", consume_budget).await;
            costs_one(&runtime, "sleep", || sleep(Duration::ZERO)).await;
            let mut tasks: Vec<_> = (0..2).map(|_| spawn(async {})).collect();
            yield_now().await;
            costs_one(&runtime, "join", || tasks.pop().unwrap()).await;
            let set = RefCell::new(JoinSet::new());
            for _ in 0..2 {
                set.borrow_mut().spawn(async {});
            }
            yield_now().await;
            let next = || poll_fn(|cx| set.borrow_mut().poll_join_next(cx));
            costs_one(&runtime, "join_next", next).await;

            let (one, other) = always_ready().await;
            costs_one(&runtime, "peek", || async { one.peek(&mut [0]).await.unwrap() }).await;
            costs_one(&runtime, "readable", || async { one.readable().await.unwrap() }).await;
            costs_one(&runtime, "write", || async { other.write(b"y").await.unwrap() }).await;
            costs_one(&runtime, "read", || async { one.read(&mut [0]).await.unwrap() }).await;
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let _clients = [(); 2].map(|()| net::TcpStream::connect(address).unwrap());
            costs_one(&runtime, "accept", || async { listener.accept().await.unwrap() }).await;
            one.shutdown(net::Shutdown::Write).unwrap();
            let broken = || async { one.write(b"z").await.unwrap_err() };
            costs_one(&runtime, "an error", broken).await;
        });
    });
}

/// Q03. Whatever else the task does first in each of its polls.
#[test]
fn a_timeout_beside_what_uses_up_the_budget_fires() {
    watched(10, || {
        waken::block_on(async {
            let hog = async {
                loop {
                    consume_budget().await;
                }
            };
            let limit = timeout(Duration::from_millis(20), pending::<()>());
            let race = futures_lite::future::or(hog, async { limit.await.is_err() });
            assert!(spawn(race).await.unwrap());
        });
    });
}

/// Q03. "Is there something?" asked by a timeout of zero, again and again.
#[test]
fn a_loop_of_timeouts_that_are_over_lets_the_others_have_their_turn() {
    watched(20, || {
        waken::block_on(async {
            let stop = Rc::new(Cell::new(false));
            let theirs = stop.clone();
            spawn(async move {
                yield_now().await;
                theirs.set(true);
            });
            let hog = spawn(async move {
                for round in 0..100_000 {
                    if stop.get() {
                        return Some(round);
                    }
                    assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
                }
                None
            });
            let rounds = hog.await.unwrap();
            assert!(rounds.is_some(), "100,000 timeouts in one poll, and nobody else had a turn");
        });
    });
}

/// Q08.
#[test]
fn a_lone_task_that_yields_lets_a_timer_and_a_socket_have_their_turn() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let waiting = Rc::new(Cell::new(2));
            let done = waiting.clone();
            spawn(async move {
                sleep(Duration::from_millis(20)).await;
                done.set(done.get() - 1);
            });
            let (one, done) =
                (AsyncTcpStream::connect(echo_thread()).await.unwrap(), waiting.clone());
            one.write_all(b"?").await.unwrap();
            spawn(async move {
                one.read_exact(&mut [0]).await.unwrap();
                done.set(done.get() - 1);
            });
            let lone = spawn(async move {
                let start = Instant::now();
                while waiting.get() > 0 {
                    yield_now().await;
                }
                start.elapsed()
            });
            let took = lone.await.unwrap();
            assert!(took < Duration::from_secs(2), "{took:?}");
        });
    });
}

/// L07: a storm of clients has no more than its share of a turn, and whoever is connected is served meanwhile.
#[test]
fn a_flood_of_clients_does_not_starve_who_is_connected() {
    // Three threads of it never rest, for as long as the machine needs for three thousand round trips.
    guard(60).cpu_ms(60_000).run(|| {
        let runtime = Runtime::new().unwrap();
        let best = (0..3).map(|_| runtime.block_on(flooded())).min().unwrap();
        assert!(best < Duration::from_millis(50), "the 99th percentile of an echo is {best:?}");
    });
}

/// The 99th percentile of a round trip during a flood, in which no turn may be one of accepts alone.
async fn flooded() -> Duration {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let over = done.clone();
    let mut client = net::TcpStream::connect(address).unwrap();
    let (served, _) = listener.accept().await.unwrap();
    let echo = spawn(async move {
        let mut byte = [0];
        while matches!(served.read(&mut byte).await, Ok(1)) {
            served.write_all(&byte).await.unwrap();
        }
    });
    let flood = thread::spawn(move || {
        let mut came = 0u64;
        while !over.load(std::sync::atomic::Ordering::SeqCst) {
            came += u64::from(net::TcpStream::connect(address).is_ok());
        }
        came
    });
    let asking = thread::spawn(move || {
        let mut times: Vec<Duration> = (0..1_000)
            .map(|_| {
                let start = Instant::now();
                client.write_all(b"?").unwrap();
                client.read_exact(&mut [0]).unwrap();
                start.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() * 99 / 100]
    });
    let accepted = Rc::new(Cell::new(0u64));
    let counted = accepted.clone();
    let accepting = spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            counted.set(counted.get() + 1);
        }
    });
    let mut before = 0;
    while !asking.is_finished() {
        yield_now().await;
        let in_a_turn = accepted.get() - before;
        assert!(in_a_turn <= 128, "{in_a_turn} clients are accepted in one poll");
        before = accepted.get();
    }
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    let came = flood.join().unwrap();
    accepting.abort();
    assert!(came > 20, "{came} clients are no flood");
    echo.await.unwrap();
    asking.join().unwrap()
}

/// X04, L07: hundreds of clients are in the queue already: the first turn takes 128 of them, and no more.
#[test]
fn a_queue_of_clients_is_taken_in_portions() {
    watched(20, || {
        waken::block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> =
                (0..600).map(|_| net::TcpStream::connect(address).unwrap()).collect();
            let accepted = Rc::new(Cell::new(0));
            let counted = accepted.clone();
            let accepting = spawn(async move {
                loop {
                    drop(listener.accept().await.unwrap());
                    counted.set(counted.get() + 1);
                }
            });
            for turn in 1..=4 {
                yield_now().await;
                assert_eq!(accepted.get(), 128 * turn, "after {turn} turns");
            }
            drop((clients, accepting));
        });
    });
}

/// X04: what a peer can make us do for each of its segments: at most three calls.
#[test]
fn a_peer_of_single_bytes_costs_three_calls_a_segment_at_most() {
    watched(20, || {
        let runtime = Builder::new().spin(Duration::ZERO).build().unwrap();
        runtime.block_on(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ours = AsyncTcpStream::try_from(listener.accept().unwrap().0).unwrap();
            peer.set_nodelay(true).unwrap();
            let sender = thread::spawn(move || {
                for _ in 0..5_000 {
                    peer.write_all(b"x").unwrap();
                    thread::yield_now();
                }
                peer
            });
            let before = runtime.metrics();
            let (mut received, mut reads) = (0, 0u64);
            while received < 5_000 {
                received += ours.read(&mut [0; 64]).await.unwrap();
                reads += 1;
            }
            let after = runtime.metrics();
            // A read that says `WouldBlock` needs an event that has made the stream ready before.
            let calls = after.epoll_waits - before.epoll_waits + reads + after.epoll_events
                - before.epoll_events;
            assert!(calls <= 3 * 5_000 + 100, "{calls} calls: {before:?} {after:?}");
            drop(sender.join().unwrap());
        });
    });
}

/// X04: connections that are reset as soon as they are there.
#[test]
fn a_flood_of_resets_costs_the_server_its_share_and_no_connection_stays() {
    // Up to 20,000 connections, of which both sides are in this process.
    guard(60).cpu_ms(20_000).run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            drop(spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(spawn(async move {
                        let mut byte = [0];
                        while matches!(stream.read(&mut byte).await, Ok(1)) {
                            if stream.write_all(&byte).await.is_err() {
                                return;
                            }
                        }
                    }));
                }
            }));
            // Before the flood: where a queue is full, the kernel tries a connection once more after a second.
            let client = AsyncTcpStream::connect(address).await.unwrap();
            // Until the round trips are made, so that they are made in it however fast either side is.
            let over = Arc::new(AtomicBool::new(false));
            let is_over = over.clone();
            let flood = thread::spawn(move || {
                let mut resets = 0;
                while resets < 2_000 || !is_over.load(Relaxed) && resets < 20_000 {
                    let stream = net::TcpStream::connect(address).unwrap();
                    (&stream).write_all(b"x").unwrap();
                    // With unread input, if the echo is there already; in any case an end.
                    drop(stream);
                    resets += 1;
                }
                resets
            });
            // A turn takes 128 clients at most, and a round trip two turns.
            for _ in 0..40 {
                client.write_all(b"?").await.unwrap();
                client.read_exact(&mut [0]).await.unwrap();
            }
            over.store(true, Relaxed);
            while !flood.is_finished() {
                client.write_all(b"?").await.unwrap();
                client.read_exact(&mut [0]).await.unwrap();
            }
            let resets = flood.join().unwrap();
            assert!(resets < 20_000, "{resets} resets before 40 round trips were made");
            drop(client);
            let gone = async {
                while runtime.metrics().sources_alive > 1 {
                    sleep(Duration::from_millis(2)).await;
                }
            };
            timeout(Duration::from_secs(10), gone).await.expect("connections stay");
            assert_eq!(runtime.metrics().tasks_alive, 1);
        });
    });
}
