//! Random waits on a few sockets, against a model: own and foreign wakers, futures and poll traits, drops here and on other
//! threads, sockets that go while others wait, the runtime's end.
#[path = "support/peer.rs"]
mod peer;
mod support;
use futures_io::{AsyncRead, AsyncWrite};
use peer::{Foreign, pair};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{Random, guard};
use waken::io::Interest;
use waken::{AsyncTcpStream, Runtime};

type Wait = Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>;
struct One {
    on: usize,
    reads: bool,
    writes: bool,
    future: Wait,
    armed: Option<usize>,
}
struct Sock {
    ours: Arc<AsyncTcpStream>,
    peer: TcpStream,
    poll: [Option<usize>; 2],
}

fn sock() -> Sock {
    let (ours, peer) = pair();
    Sock { ours: Arc::new(ours), peer, poll: [None; 2] }
}
fn clear(s: &Sock) {
    let mut b = [0; 64];
    while s.ours.try_read(&mut b).is_ok() {}
    let _ = s.ours.try_io(Interest::WRITABLE, |_| Err::<(), _>(ErrorKind::WouldBlock.into()));
    let _ = s.ours.try_io(Interest::READABLE, |_| Err::<(), _>(ErrorKind::WouldBlock.into()));
}
fn turns(runtime: &Runtime) {
    for _ in 0..3 {
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn one_seed(seed: u64) {
    let mut random = Random(seed * 7919 + 1);
    let runtime = Runtime::new().unwrap();
    let log: Rc<RefCell<Vec<usize>>> = Rc::default();
    let wakers: Rc<RefCell<Vec<Option<Waker>>>> = Rc::new(RefCell::new(vec![None; 4]));
    for id in 0..4 {
        let (log, wakers) = (log.clone(), wakers.clone());
        runtime.spawn(std::future::poll_fn(move |cx| {
            wakers.borrow_mut()[id].get_or_insert_with(|| cx.waker().clone());
            log.borrow_mut().push(id);
            Poll::<()>::Pending
        }));
    }
    turns(&runtime);
    let guard = runtime.enter();
    let foreign: Vec<(Arc<Foreign>, Waker)> = (0..4).map(|_| Foreign::new()).collect();
    let idle: Vec<usize> = foreign.iter().map(|(f, _)| Arc::strong_count(f)).collect();
    let mut all: Vec<Waker> = wakers.borrow().iter().map(|w| w.clone().unwrap()).collect();
    all.extend(foreign.iter().map(|(_, w)| w.clone()));
    let extra = 1;
    let mut socks: Vec<Sock> = (0..3).map(|_| sock()).collect();
    // The first events of new sockets.
    for _ in 0..3 {
        thread::sleep(Duration::from_micros(200));
        turns(&runtime);
    }
    socks.iter().for_each(clear);
    let mut waits: Vec<One> = Vec::new();
    let mut foreign_seen = [0; 4];
    for step in 0..300 {
        let who = format!("seed {seed} step {step}");
        let on = random.below(3) as usize;
        match random.below(12) {
            0..=2 => {
                let ours = socks[on].ours.clone();
                let kind = random.below(3);
                let future: Wait = match kind {
                    0 => Box::pin(async move { ours.readable().await }),
                    1 => Box::pin(async move { ours.writable().await }),
                    _ => Box::pin(async move {
                        ours.ready(Interest::READABLE | Interest::WRITABLE).await.map(drop)
                    }),
                };
                waits.push(One { on, reads: kind != 1, writes: kind != 0, future, armed: None });
            }
            3..=6 if !waits.is_empty() => {
                let n = random.below(waits.len() as u64) as usize;
                let by = random.below(8) as usize;
                let one = &mut waits[n];
                let polled = one.future.as_mut().poll(&mut Context::from_waker(&all[by]));
                assert!(polled.is_pending(), "{who}");
                one.armed = Some(by);
            }
            7 if !waits.is_empty() => {
                let n = random.below(waits.len() as u64) as usize;
                let one = waits.swap_remove(n);
                if random.below(3) == 0 {
                    thread::spawn(move || drop(one)).join().unwrap();
                } else {
                    drop(one)
                }
            }
            8 => {
                let by = random.below(8) as usize;
                let mut cx = Context::from_waker(&all[by]);
                let mut s = &*socks[on].ours;
                let mut b = [0; 8];
                assert!(Pin::new(&mut s).poll_read(&mut cx, &mut b).is_pending(), "{who}");
                socks[on].poll[0] = Some(by);
            }
            9 => {
                let by = random.below(8) as usize;
                let mut cx = Context::from_waker(&all[by]);
                let mut s = &*socks[on].ours;
                // It was cleared, so it waits.
                assert!(Pin::new(&mut s).poll_write(&mut cx, b"y").is_pending(), "{who}");
                socks[on].poll[1] = Some(by);
            }
            10 => {
                // An event of both directions.
                log.borrow_mut().clear();
                socks[on].peer.write_all(b"x").unwrap();
                let seen = runtime.metrics().epoll_events;
                while runtime.metrics().epoll_events == seen {
                    runtime.turn(Some(Duration::from_millis(5))).unwrap();
                }
                turns(&runtime);
                let mut expected: BTreeSet<usize> = BTreeSet::new();
                for one in waits.iter_mut().filter(|one| one.on == on) {
                    expected.extend(one.armed.take());
                }
                for p in &mut socks[on].poll {
                    expected.extend(p.take());
                }
                let mut woken: BTreeSet<usize> = log.borrow().iter().copied().collect();
                assert_eq!(woken.len(), log.borrow().len(), "{who}: woken twice");
                for (n, (f, _)) in foreign.iter().enumerate() {
                    if f.woken() != foreign_seen[n] {
                        foreign_seen[n] = f.woken();
                        woken.insert(4 + n);
                    }
                }
                assert_eq!(woken, expected, "{who}");
                clear(&socks[on]);
            }
            11 if random.below(4) == 0 => {
                // The socket goes, and another takes its place.
                waits.retain(|one| one.on != on);
                turns(&runtime);
                let old = std::mem::replace(&mut socks[on], sock());
                let Sock { ours, .. } = old;
                assert_eq!(Arc::strong_count(&ours), 1);
                if random.below(2) == 0 {
                    thread::spawn(move || drop(ours)).join().unwrap();
                    turns(&runtime);
                } else {
                    drop(ours);
                }
                thread::sleep(Duration::from_micros(300));
                // Others have no events here.
                turns(&runtime);
                clear(&socks[on]);
            }
            _ => {}
        }
        turns(&runtime);
        // Nobody's waker is kept but that of those who are armed.
        for n in 0..4 {
            let held: usize = waits
                .iter()
                .filter(|one| one.armed == Some(4 + n))
                .map(|one| usize::from(one.reads) + usize::from(one.writes))
                .sum::<usize>()
                + socks.iter().flat_map(|s| s.poll).filter(|p| *p == Some(4 + n)).count();
            assert_eq!(
                Arc::strong_count(&foreign[n].0),
                idle[n] + extra + held,
                "{who}: foreign {n}"
            );
        }
    }
    drop(guard);
    if seed % 2 == 0 {
        drop(runtime);
        for n in 0..4 {
            assert_eq!(
                Arc::strong_count(&foreign[n].0),
                idle[n] + extra,
                "seed {seed}: after the end"
            );
        }
        drop(waits);
    } else {
        drop(waits);
        drop(socks);
        for n in 0..4 {
            assert_eq!(
                Arc::strong_count(&foreign[n].0),
                idle[n] + extra,
                "seed {seed}: all dropped"
            );
        }
    }
}

/// W02, W04, W14, W15.
#[test]
fn random_waits_agree_with_a_model() {
    guard(300).cpu_ms(3_000).run(|| {
        for seed in 0..200 {
            one_seed(seed)
        }
    });
}
