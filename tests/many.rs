//! Thousands of connections at once: all are served, and idle ones cost nothing.
#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::{millis, room_for};
use std::cell::Cell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{Random, cpu, guard, sleeps, watched};
use waken::task::yield_now;
use waken::time::{sleep, sleep_until};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Runtime, spawn};

/// How many are and were open at once.
#[derive(Default)]
struct Open {
    now: Cell<usize>,
    most: Cell<usize>,
    ever: Cell<usize>,
}

async fn echo(stream: AsyncTcpStream, open: Rc<Open>) -> io::Result<()> {
    open.ever.set(open.ever.get() + 1);
    open.now.set(open.now.get() + 1);
    open.most.set(open.most.get().max(open.now.get()));
    let mut buf = [0; 1024];
    let result = loop {
        match stream.read(&mut buf).await {
            Ok(0) => break Ok(()),
            Ok(n) => stream.write_all(&buf[..n]).await?,
            Err(error) => break Err(error),
        }
    };
    open.now.set(open.now.get() - 1);
    result
}

async fn serve() -> (SocketAddr, Rc<Open>) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, open) = (listener.local_addr().unwrap(), Rc::new(Open::default()));
    let counting = open.clone();
    drop(spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            drop(spawn(echo(stream, counting.clone())));
        }
    }));
    (addr, open)
}

/// Sends what only this connection sends in this round, and expects it back.
async fn exchange(stream: &AsyncTcpStream, number: usize, round: usize) {
    let mut random = Random((2 * number + round + 1) as u64);
    let sent: Vec<u8> = (0..1 + random.below(200)).map(|_| random.below(256) as u8).collect();
    let mut received = vec![0; sent.len()];
    stream.write_all(&sent).await.unwrap();
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(received, sent, "connection {number}, round {round}");
}

/// Opens `count` connections, some at a time, each with an exchange, and keeps them; then all exchange once more.
async fn clients(count: usize, addr: SocketAddr) -> Vec<(usize, AsyncTcpStream)> {
    let mut open = Vec::new();
    let mut set = JoinSet::new();
    for number in 0..count {
        set.spawn(async move {
            let stream = AsyncTcpStream::connect(addr).await.unwrap();
            exchange(&stream, number, 0).await;
            (number, stream)
        });
        // Not more than the kernel keeps in its queues.
        if set.len() == 1000 {
            open.push(set.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(client) = set.join_next().await {
        open.push(client.unwrap());
    }
    for (number, stream) in open.drain(..) {
        set.spawn(async move {
            exchange(&stream, number, 1).await;
            (number, stream)
        });
    }
    while let Some(client) = set.join_next().await {
        open.push(client.unwrap());
    }
    open
}

/// F13: both ends in this process, so ten thousand descriptors.
#[test]
fn five_thousand_connections_are_open_at_once_and_all_are_served() {
    guard(30).cpu_ms(2_000).run(|| {
        let count = room_for(5_000, 2);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (addr, open) = serve().await;
            let clients = clients(count, addr).await;
            assert_eq!((clients.len(), open.now.get()), (count, count));
            assert_eq!(runtime.metrics().sources_alive, 2 * count as u64 + 1);
            drop(clients);
            while open.now.get() > 0 {
                sleep(millis(5)).await;
            }
            sleep(millis(5)).await;
            assert_eq!(runtime.metrics().sources_alive, 1);
            assert_eq!(runtime.metrics().tasks_alive, 1);
        });
    });
}

/// Ten thousand, so that the other ends need a process of their own.
#[test]
fn ten_thousand_connections_are_open_at_once_and_all_are_served() {
    const NAME: &str = "ten_thousand_connections_are_open_at_once_and_all_are_served";
    const CLIENTS: &str = "WAKEN_TEST_CLIENTS_OF";
    let count = room_for(10_000, 1);
    if let Ok(addr) = std::env::var(CLIENTS) {
        // This is the process of the clients.
        return guard(30).cpu_ms(3_000).run(|| {
            let clients = waken::block_on(clients(count, addr.parse().unwrap()));
            assert_eq!(clients.len(), count);
        });
    }
    guard(40).cpu_ms(3_000).run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (addr, open) = serve().await;
            let mut process = Command::new(std::env::current_exe().unwrap())
                .args([NAME, "--exact", "--nocapture"])
                .env_remove(support::INSIDE)
                .env(CLIENTS, addr.to_string())
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let status = loop {
                if let Some(status) = process.try_wait().unwrap() {
                    break status;
                }
                sleep(millis(10)).await;
            };
            assert!(status.success(), "the clients: {status}, {} came", open.ever.get());
            while open.now.get() > 0 {
                sleep(millis(5)).await;
            }
            assert_eq!((open.most.get(), open.ever.get()), (count, count));
        });
    });
}

/// X03: silent connections are not asked how they are. Five thousand, where the limit of descriptors allows.
#[test]
fn thousands_of_idle_connections_cost_no_cpu() {
    guard(40).cpu_ms(2_000).run(|| {
        let count = room_for(5_000, 2);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (addr, open) = serve().await;
            let clients = clients(count, addr).await;
            assert_eq!(open.now.get(), count);
            sleep(millis(50)).await;
            let (used, slept, before) = (cpu(), sleeps(), runtime.metrics());
            sleep(millis(2000)).await;
            let (used, slept, after) = (cpu() - used, sleeps() - slept, runtime.metrics());
            // The one sleep is that of the timer which ends this wait.
            assert!(slept <= 2, "{slept} sleeps");
            assert!(used < millis(10), "{used:?} of CPU");
            assert_eq!(after.polls, before.polls);
            assert_eq!(after.epoll_events, before.epoll_events);
            assert!(after.epoll_waits - before.epoll_waits <= 2);
            // They are all still there.
            for (number, stream) in &clients {
                exchange(stream, *number, 2).await;
            }
        });
    });
}

/// How long each of `count` exchanges took, from the longest to the shortest.
async fn latencies(stream: AsyncTcpStream, count: usize, pause: Duration) -> Vec<Duration> {
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        sleep(pause).await;
        let start = Instant::now();
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        took.push(start.elapsed());
    }
    took
}

/// Of a hundred of them the slowest but one.
fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

/// Q02: one connection that always has something to read, and a hundred that echo.
#[test]
fn beside_a_fire_hose_a_hundred_connections_are_answered_within_50_ms() {
    watched(60, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = peer::pair();
            // It is looked at, and never taken: there is always something.
            peer.write_all(&[0; 64]).unwrap();
            let drunk = Rc::new(Cell::new(0));
            let count = drunk.clone();
            let drinking = spawn(async move {
                let mut byte = [0; 64];
                while ours.peek(&mut byte).await.unwrap() > 0 {
                    count.set(count.get() + 1);
                }
            })
            .abort_on_drop();
            let (addr, _open) = serve().await;
            let mut set = JoinSet::new();
            for _ in 0..100 {
                let stream = AsyncTcpStream::connect(addr).await.unwrap();
                set.spawn(latencies(stream, 20, millis(1)));
            }
            let mut took = Vec::new();
            while let Some(some) = set.join_next().await {
                took.extend(some.unwrap());
            }
            let slow = p99(took);
            println!("beside {} looks at a fire hose, p99 {slow:?}", drunk.get());
            assert!(drunk.get() > 10_000, "{} looks meanwhile", drunk.get());
            assert!(slow < millis(50), "p99 {slow:?}");
            drop(drinking);
        });
    });
}

/// M15: 100,000 timers that are due at once only queue their tasks. An echo waits for its turns among these, and for no more.
#[test]
fn while_100_000_timers_fire_at_once_echoes_come_back() {
    guard(60).cpu_ms(2_000).run(|| {
        const TIMERS: u64 = 100_000;
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (addr, _open) = serve().await;
            let stream = AsyncTcpStream::connect(addr).await.unwrap();
            let due = waken::time::now() + millis(700);
            let (polls, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            for _ in 0..TIMERS {
                let (polls, ended) = (polls.clone(), ended.clone());
                drop(spawn(async move {
                    sleep_until(due).await;
                    for _ in 0..10 {
                        polls.set(polls.get() + 1);
                        yield_now().await;
                    }
                    ended.set(ended.get() + 1);
                }));
            }
            sleep_until(due).await;
            let (mut echoes, mut most) = (0, 0);
            while ended.get() < TIMERS {
                let before = polls.get();
                stream.write_all(b"ping").await.unwrap();
                stream.read_exact(&mut [0; 4]).await.unwrap();
                most = most.max(polls.get() - before);
                echoes += 1;
            }
            println!("{echoes} echoes meanwhile, at most {most} polls of others in one");
            // To the server, and back: each time past the others once, and a turn for what has just missed one.
            assert!(echoes >= 3 && most <= 3 * TIMERS, "{echoes} echoes, {most} polls in one");
        });
        assert_eq!(runtime.metrics().timers_alive, 0);
        assert!(
            runtime.metrics().timers_fired > TIMERS / 2,
            "the others were due before their first poll"
        );
    });
}
