//! A runtime whose descriptor is all that the outer loop knows of it loses nothing, whatever that loop is.
#[path = "support/outer.rs"]
mod outer;
#[path = "support/peer.rs"]
mod peer;
mod support;

use outer::{LONG, drive, is_readable};
use peer::{millis, std_pair};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{Random, guard, watched};
use waken::io::{AsyncFd, Interest};
use waken::runtime::Next;
use waken::task::yield_now;
use waken::time::{interval, sleep, timeout, timeout_at};
use waken::{AsyncTcpListener, AsyncTcpStream, Builder, JoinSet, Runtime, block_on, spawn};

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);
const MESSAGES: usize = 10_000;

/// What keeps a runtime busy, and how much of it is done.
struct Work {
    echoed: Rc<Cell<usize>>,
    slept: Rc<Cell<usize>>,
    letters: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Work {
    /// 10,000 messages over ten connections, a hundred timers a connection, and 10,000 wakes from another thread.
    fn give(runtime: &Runtime) -> Work {
        let (echoed, slept) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut threads = Vec::new();
        for n in 0..10 {
            let (ours, mut peer) = std_pair();
            let (echoed, slept) = (echoed.clone(), slept.clone());
            runtime.spawn(async move {
                let ours = AsyncTcpStream::try_from(ours).unwrap();
                let mut random = Random(n + 1);
                for round in 0..MESSAGES / 10 {
                    ours.write_all(&[round as u8]).await.unwrap();
                    let mut answer = [0];
                    ours.read_exact(&mut answer).await.unwrap();
                    assert_eq!(answer, [round as u8]);
                    echoed.set(echoed.get() + 1);
                    if round % 10 == 0 {
                        let start = Instant::now();
                        let time = Duration::from_micros(random.below(300));
                        sleep(time).await;
                        assert!(start.elapsed() >= time);
                        slept.set(slept.get() + 1);
                    }
                }
            });
            threads.push(thread::spawn(move || {
                let mut byte = [0];
                while let Ok(1) = peer.read(&mut byte) {
                    peer.write_all(&byte).unwrap();
                }
            }));
        }
        let (letters, remote) = (Arc::new(AtomicUsize::new(0)), runtime.remote());
        let count = letters.clone();
        threads.push(thread::spawn(move || {
            for n in 0..MESSAGES {
                let count = count.clone();
                drop(remote.spawn(move || async move { count.fetch_add(1, SeqCst) }).unwrap());
                if n % 100 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
        }));
        Work { echoed, slept, letters, threads }
    }

    fn is_done(&self) -> bool {
        self.state() == (MESSAGES, MESSAGES / 10, MESSAGES)
    }

    fn state(&self) -> (usize, usize, usize) {
        (self.echoed.get(), self.slept.get(), self.letters.load(SeqCst))
    }

    fn end(self) {
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// As few events and polls a turn as there can be, and as many as there are.
fn inner_runtimes(self_waking: bool) -> impl Iterator<Item = Runtime> {
    [(1, 1), (3, 7), (256, usize::MAX)].into_iter().map(move |(events, polls)| {
        let builder = Builder::new().events_per_poll(events).polls_per_turn(polls);
        builder.self_waking_fd(self_waking).build().unwrap()
    })
}

/// One turn for each edge.
async fn turn_at_every_edge(inner: &AsyncFd<Runtime>, work: &Work) -> io::Result<()> {
    let turn = |inner: &Runtime| {
        inner.turn(NO_WAIT)?;
        if work.is_done() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    };
    inner.async_io(Interest::READABLE, turn).await
}

/// One turn when the last one, or an edge, says so.
async fn turn_when_told(inner: &AsyncFd<Runtime>, work: &Work) -> io::Result<()> {
    let turn = |inner: &Runtime| inner.turn(NO_WAIT);
    let mut next = inner.get_ref().next_turn();
    while !work.is_done() {
        match next {
            Next::Now => yield_now().await,
            Next::At(deadline) => drop(timeout_at(deadline, inner.readable()).await),
            Next::Event => inner.readable().await?,
            Next::Idle => panic!("{:?} is all there was", work.state()),
        }
        // All that was ready is looked at now: wait for the next edge.
        let _cleared = inner.try_io(Interest::READABLE, |_| {
            Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
        });
        next = turn(inner.get_ref())?;
    }
    Ok(())
}

fn under_another_runtime(self_waking: bool) {
    for inner in inner_runtimes(self_waking) {
        let work = Work::give(&inner);
        block_on(async {
            let inner = AsyncFd::with_interest(inner, Interest::READABLE).unwrap();
            let ticks = Rc::new(Cell::new(0));
            let count = ticks.clone();
            let ticker = spawn(async move {
                let mut interval = interval(millis(1));
                loop {
                    interval.tick().await;
                    count.set(count.get() + 1);
                }
            });
            let driven = async {
                match self_waking {
                    true => turn_at_every_edge(&inner, &work).await,
                    false => turn_when_told(&inner, &work).await,
                }
            };
            let driven = timeout(Duration::from_secs(60), driven).await;
            driven.unwrap_or_else(|_| panic!("stuck at {:?}", work.state())).unwrap();
            assert!(ticks.get() > 3, "the outer runtime has gone on: {} ticks", ticks.get());
            ticker.abort();
        });
        work.end();
    }
}

#[test]
fn a_self_waking_runtime_inside_another_loses_no_message_no_timer_and_no_letter() {
    guard(120).cpu_ms(2_000).run(|| under_another_runtime(true));
}

#[test]
fn a_plain_runtime_inside_another_loses_nothing_when_what_a_turn_returns_is_heeded() {
    guard(120).cpu_ms(2_000).run(|| under_another_runtime(false));
}

#[test]
fn a_self_waking_runtime_under_poll_loses_no_message_no_timer_and_no_letter() {
    guard(120).cpu_ms(2_000).run(|| {
        for runtime in inner_runtimes(true) {
            let work = Work::give(&runtime);
            drive(&runtime, || work.is_done());
            work.end();
        }
    });
}

// ---- a server ---------------------------------------------------------------------------------

const CONNECTIONS: usize = 200;
const ROUNDS: u32 = 50;

async fn serve(listener: TcpListener, ended: Rc<Cell<usize>>) {
    let listener = AsyncTcpListener::try_from(listener).unwrap();
    for seed in 1.. {
        let (stream, _) = listener.accept().await.unwrap();
        let ended = ended.clone();
        spawn(async move {
            let (mut random, mut buf) = (Random(seed), [0; 4]);
            // An idle timeout that is moved at every message, and a pause that is over sooner.
            while timeout(LONG, stream.read_exact(&mut buf)).await.is_ok_and(|read| read.is_ok()) {
                match random.below(3) {
                    0 => sleep(Duration::from_micros(random.below(2000))).await,
                    1 => drop(timeout(Duration::from_micros(random.below(500)), yield_now()).await),
                    _ => {}
                }
                stream.write_all(&buf).await.unwrap();
            }
            ended.set(ended.get() + 1);
        });
    }
}

async fn clients(address: SocketAddr) -> usize {
    let mut set = JoinSet::new();
    for n in 0..CONNECTIONS as u32 {
        set.spawn(async move {
            let stream = AsyncTcpStream::connect(address).await?;
            for round in 0..ROUNDS {
                let message = (n * ROUNDS + round).to_le_bytes();
                stream.write_all(&message).await?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await?;
                assert_eq!(answer, message);
            }
            io::Result::Ok(())
        });
    }
    let mut served = 0;
    while let Some(client) = set.join_next().await {
        client.unwrap().unwrap();
        served += 1;
    }
    served
}

#[test]
fn a_server_embedded_in_a_poll_loop_answers_200_clients_50_times_each() {
    watched(60, || {
        let runtime = Builder::new().self_waking_fd(true).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Rc::new(Cell::new(0));
        runtime.spawn(serve(listener, ended.clone()));
        let clients = thread::spawn(move || block_on(clients(address)));
        drive(&runtime, || ended.get() == CONNECTIONS);
        assert_eq!(clients.join().unwrap(), CONNECTIONS);
        outer::drain(&runtime);
        assert!(!is_readable(&runtime, millis(20)), "nobody is connected any more");
    });
}
