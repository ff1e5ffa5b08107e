//! Looking before sleeping: it happens when it pays, ends when it does not, and changes nothing that can be seen
//! otherwise.
#[path = "support/peer.rs"]
mod peer;
mod support;

use peer::pair;
use std::env;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{cpu, guard, sleeps, watched};
use waken::runtime::Next;
use waken::task::yield_now;
use waken::time::sleep;
use waken::{AsyncTcpStream, Builder, Runtime};

/// They need two cores each, so they run one after another. How much of the processor it takes until looking pays is
/// the machine's affair, and so is how long: what is looked at is what comes then, by the asserts inside.
fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of a test that begins by waiting until looking pays.
#[track_caller]
fn looking(body: impl FnOnce()) {
    let _turn = in_turn();
    guard(300).cpu_ms(300_000).run(body);
}

/// A peer that answers each byte so long after it came. It stays awake, so that its answers do not wait for a core.
fn answer_after(mut peer: TcpStream, thought: Duration) {
    peer.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let mut byte = [0];
        loop {
            match peer.read(&mut byte) {
                Ok(1) => {
                    let came = Instant::now();
                    while came.elapsed() < thought {}
                    peer.write_all(&byte).unwrap();
                }
                Ok(_) => return,
                Err(_) => thread::yield_now(),
            }
        }
    });
}

async fn ask(stream: &AsyncTcpStream) {
    stream.write_all(b"?").await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 1);
}

/// Asks peers that answer at once, until looking has paid so often.
fn until_it_looks(runtime: &Runtime, looks: u64) {
    let cores = thread::available_parallelism().unwrap().get();
    assert!(cores > 1, "a peer that answers while this thread looks needs a core of its own");
    runtime.block_on(async {
        let (stream, peer) = pair();
        answer_after(peer, Duration::ZERO);
        while runtime.metrics().looks < looks {
            ask(&stream).await;
        }
    });
}

/// More than enough for a runtime that may look to learn that it pays.
fn looks_of_600_requests(runtime: &Runtime) -> u64 {
    runtime.block_on(async {
        let (stream, peer) = pair();
        answer_after(peer, Duration::ZERO);
        for _ in 0..600 {
            ask(&stream).await;
        }
    });
    runtime.metrics().looks
}

/// What a look before the next wait may expect an answer to.
fn talk(runtime: &Runtime, stream: &AsyncTcpStream) {
    let _entered = runtime.enter();
    assert_eq!(stream.try_write(b"?").unwrap(), 1);
}

/// Less than a look may take, and more than a busy machine needs.
const LATE: Duration = Duration::from_millis(40);

/// Longer than a peer needs to answer on a machine that does something else as well.
const LIMIT: Duration = Duration::from_millis(2);

fn patient() -> Runtime {
    Builder::new().spin(LIMIT).build().unwrap()
}

#[test]
fn by_default_it_looks_for_at_most_40_microseconds() {
    let default = format!("{:?}", Builder::new());
    assert!(default.contains("spin: 40µs"), "{default}");
}

#[test]
fn what_comes_soon_is_looked_for() {
    looking(|| until_it_looks(&patient(), 32));
}

#[test]
fn with_zero_the_thread_always_sleeps() {
    let _turn = in_turn();
    watched(300, || {
        let runtime = Builder::new().spin(Duration::ZERO).build().unwrap();
        assert_eq!(looks_of_600_requests(&runtime), 0);
    });
}

#[test]
fn a_program_is_overruled_by_the_environment() {
    let _turn = in_turn();
    watched(300, || {
        #[allow(unsafe_code)]
        // SAFETY: no other thread of this process looks at the environment.
        let set = |value: &str| unsafe { env::set_var("WAKEN_SPIN_US", value) };
        set("0");
        let runtime = patient();
        assert_eq!(looks_of_600_requests(&runtime), 0);
        set("2000");
        until_it_looks(&Builder::new().spin(Duration::ZERO).build().unwrap(), 1);
        set("ten");
        let error = Runtime::new().unwrap_err();
        assert!(error.to_string().contains("WAKEN_SPIN_US"), "{error}");
    });
}

#[test]
fn whoever_is_idle_does_not_look() {
    looking(|| {
        let runtime = patient();
        until_it_looks(&runtime, 16);
        runtime.block_on(async {
            let (stream, _peer) = pair();
            let (before, begin, slept) = (runtime.metrics(), cpu(), sleeps());
            stream.write_all(b"?").await.unwrap(); // And no answer comes.
            sleep(Duration::from_millis(300)).await;
            assert!(cpu() - begin < 3 * LIMIT, "it looks for {:?}", cpu() - begin);
            assert!(sleeps() - slept <= 3);
            assert_eq!(runtime.metrics().looks, before.looks);
        });
    });
}

#[test]
fn timers_alone_are_slept_for() {
    let _turn = in_turn();
    watched(300, || {
        let runtime = patient();
        runtime.block_on(async {
            let (stream, _peer) = pair();
            for _ in 0..700 {
                stream.write_all(b"?").await.unwrap();
                sleep(Duration::from_micros(100)).await;
            }
        });
        let waits = runtime.metrics().epoll_waits;
        assert!(waits < 800, "it looked, and made {waits} calls");
    });
}

#[test]
fn looking_ends_when_it_does_not_pay_any_more() {
    looking(|| {
        let runtime = patient();
        until_it_looks(&runtime, 16);
        runtime.block_on(async {
            let (stream, peer) = pair();
            // A sleep of three milliseconds is short, so it would look again after many of them.
            answer_after(peer, LIMIT + LIMIT / 2);
            // The credit of sixteen looks that paid is spent.
            for _ in 0..20 {
                ask(&stream).await;
            }
            let begin = cpu();
            for _ in 0..100 {
                ask(&stream).await;
            }
            assert!(cpu() - begin < 10 * LIMIT, "it looks for {:?}", cpu() - begin);
        });
    });
}

#[test]
fn a_letter_is_found_by_looking() {
    looking(|| {
        let runtime = patient();
        until_it_looks(&runtime, 16);
        let (ask, asked) = mpsc::channel::<Waker>();
        let answers = Arc::new(AtomicU64::new(0));
        let theirs = answers.clone();
        let thread = thread::spawn(move || {
            for waker in asked {
                theirs.fetch_add(1, SeqCst);
                waker.wake();
            }
        });
        // Nothing is registered: there is nobody to ask but the mailbox.
        runtime.block_on(async {
            let before = runtime.metrics();
            for n in 1.. {
                let mut question = Some(&ask);
                poll_fn(|cx| {
                    if answers.load(SeqCst) == n {
                        return Poll::Ready(());
                    }
                    if let Some(ask) = question.take() {
                        ask.send(cx.waker().clone()).unwrap();
                    }
                    Poll::Pending
                })
                .await;
                if runtime.metrics().looks >= before.looks + 32 {
                    break;
                }
            }
        });
        drop(ask);
        thread.join().unwrap();
    });
}

#[test]
fn neither_a_timer_nor_a_turn_is_late_or_early_because_of_a_look() {
    looking(|| {
        let runtime = Builder::new().spin(Duration::from_millis(50)).build().unwrap();
        until_it_looks(&runtime, 16);
        let (stream, _peer) = {
            let _entered = runtime.enter();
            pair()
        };
        runtime.block_on(async {
            for micros in [1, 30, 300, 3000] {
                stream.write_all(b"?").await.unwrap(); // There is something to look for.
                let time = Duration::from_micros(micros);
                let begin = Instant::now();
                sleep(time).await;
                assert!(begin.elapsed() >= time);
                assert!(begin.elapsed() < time + LATE, "{:?} for {time:?}", begin.elapsed());
            }
        });
        for time in [0, 1, 45].map(Duration::from_millis) {
            talk(&runtime, &stream);
            let begin = Instant::now();
            runtime.turn(Some(time)).unwrap();
            assert!(begin.elapsed() >= time);
            assert!(begin.elapsed() < time + LATE, "{:?} for {time:?}", begin.elapsed());
        }
    });
}

/// Each wait finds one of them, and yet they are many. Also where the last wait before the answer found none, since the task had
/// yielded.
#[test]
fn where_many_take_turns_nobody_looks() {
    looking(|| {
        let runtime = patient();
        let (_idle, _peers): (Vec<_>, Vec<_>) = {
            let _entered = runtime.enter();
            (0..64).map(|_| pair()).unzip()
        };
        for (many, yields) in [(16, false), (64, false), (64, true)] {
            until_it_looks(&runtime, runtime.metrics().looks + 16);
            let (streams, mut peers): (Vec<_>, Vec<_>) = {
                let _entered = runtime.enter();
                (0..many).map(|_| pair()).unzip()
            };
            // It stays awake: if it slept, it might be woken on the core of who looks for its answer.
            let answering = thread::spawn(move || {
                let (mut byte, mut turn) = ([0], 0);
                peers.iter().for_each(|peer| peer.set_nonblocking(true).unwrap());
                loop {
                    match peers[turn % many].read(&mut byte) {
                        Ok(1) => peers[turn % many].write_all(&byte).unwrap(),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            thread::yield_now();
                            continue;
                        }
                        _ => return,
                    }
                    turn += 1;
                }
            });
            let in_turn = async |rounds| {
                for stream in streams.iter().cycle().take(many * rounds) {
                    stream.write_all(b"?").await.unwrap();
                    if yields {
                        yield_now().await;
                    }
                    assert_eq!(stream.read(&mut [0]).await.unwrap(), 1);
                }
            };
            runtime.block_on(async {
                in_turn(2).await; // At first they are new.
                let before = runtime.metrics().looks;
                in_turn(20).await;
                while many == 16 && runtime.metrics().looks == before {
                    in_turn(20).await;
                }
                let looked = runtime.metrics().looks - before;
                assert!(many == 16 || looked == 0, "{many} in turn, yields: {yields}: {looked}");
            });
            drop(streams);
            answering.join().unwrap();
        }
    });
}

/// A peer that only sends does not send faster because we are awake.
#[test]
fn whoever_only_reads_does_not_look() {
    looking(|| {
        let runtime = patient();
        until_it_looks(&runtime, 16);
        runtime.block_on(async {
            let (stream, mut peer) = pair();
            // What is on its way from the conversation before.
            sleep(Duration::from_millis(5)).await;
            let looks = runtime.metrics().looks;
            let pouring = thread::spawn(move || {
                for _ in 0..2_000 {
                    peer.write_all(b"x").unwrap();
                    let sent = Instant::now();
                    while sent.elapsed() < Duration::from_micros(10) {}
                }
            });
            while stream.read(&mut [0]).await.unwrap() > 0 {}
            assert_eq!(runtime.metrics().looks, looks);
            pouring.join().unwrap();
        });
    });
}

/// A loop that never lets the runtime sleep while it is busy: no sleep is saved, and yet there is credit.
#[test]
fn turns_that_may_not_wait_earn_nothing() {
    let _turn = in_turn();
    watched(60, || {
        let limit = Duration::from_micros(40);
        let runtime = Builder::new().spin(limit).build().unwrap();
        let guard = runtime.enter();
        let (ours, mut peer) = pair();
        drop(guard);
        runtime.spawn(async move {
            let mut b = [0; 64];
            while ours.read(&mut b).await.unwrap() > 0 {
                ours.write_all(b"!").await.unwrap(); // Which nobody reads: there is room for all.
            }
        });
        let mut looked = 0;
        for _ in 0..20 {
            for _ in 0..1600 {
                peer.write_all(b"x").unwrap();
                let seen = runtime.metrics().epoll_events;
                while runtime.metrics().epoll_events == seen {
                    runtime.turn(Some(Duration::ZERO)).unwrap();
                }
            }
            for _ in 0..20 {
                let waits = runtime.metrics().epoll_waits;
                runtime.turn(Some(Duration::from_millis(1))).unwrap();
                looked += u32::from(runtime.metrics().epoll_waits > waits + 10);
            }
        }
        assert!(looked <= 1, "{looked} looks in vain, where no sleep was ever ended by an event");
    });
}

/// Invariant 16: what a look has found is not announced as well.
#[test]
fn a_letter_that_a_look_has_found_leaves_the_descriptor_as_it_is() {
    looking(|| {
        let runtime = patient();
        let (ask, asked) = mpsc::channel::<Waker>();
        let thread = thread::spawn(move || asked.into_iter().for_each(Waker::wake));
        let polls = Arc::new(AtomicU64::new(0));
        let counted = polls.clone();
        let waker = Arc::new(Mutex::new(None));
        let kept = waker.clone();
        runtime.spawn(poll_fn(move |cx| {
            counted.fetch_add(1, SeqCst);
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let (stream, _peer) = {
            let _entered = runtime.enter();
            pair()
        };
        let mut found = 0;
        while found < 2 {
            let looks = runtime.metrics().looks;
            until_it_looks(&runtime, looks + 2);
            while runtime.turn(Some(Duration::ZERO)).unwrap() == Next::Now {}
            let (before, looks) = (polls.load(SeqCst), runtime.metrics().looks);
            talk(&runtime, &stream);
            ask.send(waker.lock().unwrap().take().unwrap()).unwrap();
            while polls.load(SeqCst) == before {
                runtime.turn(None).unwrap();
            }
            if runtime.metrics().looks > looks {
                found += 1;
                // Whoever sent it is done with it by then.
                thread::sleep(Duration::from_millis(5));
                let waits = runtime.metrics().epoll_events;
                runtime.turn(Some(Duration::ZERO)).unwrap();
                assert_eq!(runtime.metrics().epoll_events, waits, "readable, with nothing to do");
            }
        }
        drop((ask, waker.lock().unwrap().take()));
        drop(runtime);
        thread.join().unwrap();
    });
}
