//! Out of descriptors nothing spins, nothing stalls, and nothing is lost.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::StreamExt;
use peer::{limit_descriptors, millis};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Instant;
use support::{cpu, fds, watched};
use waken::net::{AsyncUnixListener, AsyncUnixStream};
use waken::task::{JoinHandle, WaitOn};
use waken::time::{interval, sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

/// Opens files until there is no descriptor left.
fn exhaust() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return files;
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMFILE)
}

/// What an accept loop has seen.
#[derive(Default)]
struct Seen {
    accepted: RefCell<Vec<AsyncTcpStream>>,
    errors: Cell<u64>,
}

impl Seen {
    fn note(&self, result: io::Result<AsyncTcpStream>) {
        match result {
            Ok(stream) => self.accepted.borrow_mut().push(stream),
            Err(error) => {
                assert!(is_exhaustion(&error), "{error}");
                self.errors.set(self.errors.get() + 1);
            }
        }
    }
}

type Loop = fn(Rc<AsyncTcpListener>, Rc<Seen>) -> Pin<Box<dyn Future<Output = ()>>>;

/// The loops that people write, which ignore every error.
fn by_accept(listener: Rc<AsyncTcpListener>, seen: Rc<Seen>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        loop {
            seen.note(listener.accept().await.map(|(stream, _)| stream));
        }
    })
}

fn by_incoming(
    listener: Rc<AsyncTcpListener>,
    seen: Rc<Seen>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut incoming = listener.incoming();
        while let Some(result) = incoming.next().await {
            seen.note(result);
        }
    })
}

fn by_poll_accept(
    listener: Rc<AsyncTcpListener>,
    seen: Rc<Seen>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        loop {
            let accepted = poll_fn(|cx| listener.poll_accept(cx)).await;
            seen.note(accepted.map(|(stream, _)| stream));
        }
    })
}

/// Clients in the queue, and no descriptor to accept them with.
struct Scene {
    listener: Rc<AsyncTcpListener>,
    seen: Rc<Seen>,
    clients: Vec<TcpStream>,
    fillers: Vec<File>,
}

impl Scene {
    async fn new(clients: usize) -> Scene {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let clients = (0..clients).map(|_| TcpStream::connect(addr).unwrap()).collect();
        limit_descriptors(40);
        let fillers = exhaust();
        assert!(fillers.len() >= 10, "too few to be given back");
        Scene { listener: Rc::new(listener), seen: Rc::default(), clients, fillers }
    }

    fn start(&self, accept: Loop) -> JoinHandle<()> {
        spawn(accept(self.listener.clone(), self.seen.clone()))
    }

    fn accepted(&self) -> usize {
        self.seen.accepted.borrow().len()
    }

    /// Until all clients are accepted.
    async fn served(&self, within: u64) {
        let all = async {
            while self.accepted() < self.clients.len() {
                sleep(millis(5)).await;
            }
        };
        let served = timeout(millis(within), all).await;
        assert!(served.is_ok(), "{} of {} are served", self.accepted(), self.clients.len());
    }
}

/// L01, L02, k15.
fn a_naive_loop_neither_spins_nor_stalls(accept: Loop) {
    watched(10, || {
        waken::block_on(async {
            let mut scene = Scene::new(8).await;
            let ticks = Rc::new(Cell::new(0));
            let counted = ticks.clone();
            drop(spawn(async move {
                let mut interval = interval(millis(5));
                loop {
                    interval.tick().await;
                    counted.set(counted.get() + 1);
                }
            }));
            let (start, used) = (Instant::now(), cpu());
            drop(scene.start(accept));
            sleep(millis(500)).await;
            let cpu = cpu() - used;
            assert!(cpu < millis(100), "{cpu:?} of CPU in {:?}", start.elapsed());
            assert!(ticks.get() >= 50, "the others starve: {} ticks", ticks.get());
            // At 0, 10, 30, 70, 150 and 310 ms.
            assert!((3..=7).contains(&scene.seen.errors.get()), "{}", scene.seen.errors.get());
            assert_eq!(scene.accepted(), 0);
            // Nobody knocks anew: those who have waited are served.
            scene.fillers.clear();
            scene.served(1500).await;
            assert!(scene.seen.errors.get() <= 8);
        });
    });
}

/// N01.
#[test]
fn a_loop_around_accept_neither_spins_nor_stalls() {
    a_naive_loop_neither_spins_nor_stalls(by_accept);
}

#[test]
fn a_loop_around_incoming_neither_spins_nor_stalls() {
    a_naive_loop_neither_spins_nor_stalls(by_incoming);
}

#[test]
fn a_loop_around_poll_accept_neither_spins_nor_stalls() {
    a_naive_loop_neither_spins_nor_stalls(by_poll_accept);
}

/// L01, Q03: the end of the pause costs no budget, or it would come first again in the next poll, for ever.
#[test]
fn a_pause_ends_also_with_the_smallest_budget() {
    watched(10, || {
        let runtime = Runtime::builder().budget(1).build().unwrap();
        runtime.block_on(async {
            let mut scene = Scene::new(2).await;
            for accept in [by_accept as Loop, by_incoming, by_poll_accept] {
                drop(scene.start(accept));
            }
            let before = cpu();
            sleep(millis(500)).await;
            let cpu = cpu() - before;
            assert!(cpu < millis(50), "{cpu:?} of CPU");
            scene.fillers.clear();
            scene.served(1500).await;
        });
    });
}

/// Who looks for what hangs finds the program's line, and none of ours. (With `poll_accept`, the line that polls.)
#[test]
fn a_pause_is_shown_at_the_line_that_accepts() {
    watched(10, || {
        waken::block_on(async {
            let scene = Scene::new(1).await;
            for accept in [by_accept as Loop, by_incoming, by_poll_accept] {
                let task = scene.start(accept);
                let pause = loop {
                    sleep(millis(1)).await;
                    let [task] = &waken::runtime::tasks()[..] else { panic!("it is the only one") };
                    let pause = task.waits_for.iter().find(|it| matches!(it.on, WaitOn::Until(_)));
                    if let Some(pause) = pause {
                        break *pause;
                    }
                };
                assert_eq!(pause.at.map(|at| at.file()), Some(file!()), "{pause:?}");
                task.abort();
                let _aborted = task.await;
            }
        });
    });
}

/// L01, N01: the pauses of the second shortage are as short as those of the first.
#[test]
fn a_success_resets_the_pause() {
    watched(10, || {
        waken::block_on(async {
            let mut scene = Scene::new(3).await;
            let task = scene.start(by_accept);
            sleep(millis(400)).await;
            scene.fillers.clear();
            scene.served(1500).await;
            assert!(scene.seen.errors.get() >= 3, "the pause has not grown");
            task.abort();
            let _aborted = task.await;
            // Again, and from 10 ms on: at 0, 10, 30 and 70 ms.
            let addr = scene.listener.local_addr().unwrap();
            scene.clients.push(TcpStream::connect(addr).unwrap());
            let fillers = exhaust();
            scene.seen.errors.set(0);
            drop(scene.start(by_accept));
            sleep(millis(120)).await;
            let errors = scene.seen.errors.get();
            assert!((3..=5).contains(&errors), "{errors} errors in 120 ms");
            drop(fillers);
            scene.served(500).await;
        });
    });
}

/// A wait that is cancelled loses nothing, and does not shorten the pause.
#[test]
fn a_cancelled_pause_is_still_a_pause() {
    watched(10, || {
        waken::block_on(async {
            let mut scene = Scene::new(1).await;
            let (start, mut errors) = (Instant::now(), 0);
            while start.elapsed() < millis(300) {
                match timeout(millis(1), scene.listener.accept()).await {
                    Ok(result) => {
                        assert!(is_exhaustion(&result.unwrap_err()));
                        errors += 1;
                    }
                    Err(_elapsed) => {}
                }
            }
            // At 0, 10, 30, 70 and 150 ms.
            assert!((2..=6).contains(&errors), "{errors}");
            scene.fillers.clear();
            timeout(millis(1500), scene.listener.accept()).await.expect("stalls").unwrap();
        });
    });
}

/// Whoever holds the descriptors has a turn, and can give them back.
#[test]
fn connects_without_descriptors_let_the_others_go() {
    watched(10, || {
        waken::block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let path = std::env::temp_dir().join(format!("waken-{}", std::process::id()));
            let server = AsyncUnixListener::bind(&path).unwrap();
            limit_descriptors(40);
            for unix in [false, true] {
                let fillers = exhaust();
                drop(spawn(async move {
                    sleep(millis(20)).await;
                    drop(fillers);
                }));
                let mut rounds = 0;
                loop {
                    rounds += 1;
                    assert!(rounds < 1_000_000, "nobody else had a turn");
                    let error = match unix {
                        false => AsyncTcpStream::connect(addr).await.err(),
                        true => AsyncUnixStream::connect(&path).await.err(),
                    };
                    let Some(error) = error else { break };
                    assert!(is_exhaustion(&error), "{error}");
                }
                assert!(rounds > 1);
            }
            drop(server);
            std::fs::remove_file(&path).unwrap();
        });
    });
}

/// W14.
#[test]
fn an_accept_that_is_dropped_in_its_pause_leaves_no_waker() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    watched(10, || {
        waken::block_on(async {
            let scene = Scene::new(1).await;
            assert!(is_exhaustion(&scene.listener.accept().await.unwrap_err()));
            let nobody = Arc::new(Nobody);
            let waker = Waker::from(nobody.clone());
            for _ in 0..3 {
                let mut accept = Box::pin(scene.listener.accept());
                let polled = accept.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                drop(accept);
            }
            drop(waker);
            assert_eq!(Arc::strong_count(&nobody), 1, "a waker is left behind");
        });
    });
}

#[test]
fn try_accept_never_waits() {
    watched(10, || {
        waken::block_on(async {
            let mut scene = Scene::new(4).await;
            let start = Instant::now();
            for _ in 0..20 {
                assert!(is_exhaustion(&scene.listener.try_accept().unwrap_err()));
            }
            scene.fillers.clear();
            for _ in 0..4 {
                scene.listener.try_accept().unwrap();
            }
            assert!(start.elapsed() < millis(1000), "{:?}", start.elapsed());
            let error = scene.listener.try_accept().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        });
    });
}

/// L02: one task waits for its pause to be over, by one of the three ways; another one is lucky meanwhile. The
/// first still gets the clients that come later.
fn a_success_elsewhere_strands_nobody(accept: Loop) {
    watched(10, || {
        waken::block_on(async {
            let mut scene = Scene::new(1).await;
            let waiting = scene.start(accept);
            sleep(millis(20)).await;
            assert!(scene.seen.errors.get() >= 1 && !waiting.is_finished());
            scene.fillers.clear();
            let (lucky, _) = scene.listener.try_accept().unwrap();
            scene.seen.accepted.borrow_mut().push(lucky);
            // It has to come back from its pause, to wait for clients.
            sleep(millis(100)).await;
            let addr = scene.listener.local_addr().unwrap();
            scene.clients.push(TcpStream::connect(addr).unwrap());
            scene.served(2000).await;
        });
    });
}

#[test]
fn a_success_elsewhere_does_not_strand_accept() {
    a_success_elsewhere_strands_nobody(by_accept);
}

#[test]
fn a_success_elsewhere_does_not_strand_incoming() {
    a_success_elsewhere_strands_nobody(by_incoming);
}

#[test]
fn a_success_elsewhere_does_not_strand_poll_accept() {
    a_success_elsewhere_strands_nobody(by_poll_accept);
}

/// Several loops on one listener share the shortage: together they do not spin either.
#[test]
fn ten_loops_on_one_listener_do_not_spin() {
    watched(10, || {
        waken::block_on(async {
            let mut scene = Scene::new(8).await;
            let used = cpu();
            for number in 0..10 {
                drop(scene.start([by_accept, by_incoming][number % 2]));
            }
            sleep(millis(500)).await;
            assert!(cpu() - used < millis(100));
            assert!(scene.seen.errors.get() <= 60, "{}", scene.seen.errors.get());
            scene.fillers.clear();
            scene.served(1500).await;
        });
    });
}

/// X02: an `io::Error`, whichever descriptor it fails at, and nothing is left.
#[test]
fn a_runtime_without_descriptors_is_an_error_and_leaves_nothing() {
    watched(10, || {
        let before = fds();
        let highest =
            before.iter().filter_map(|fd| fd.split(' ').next()?.parse::<u64>().ok()).max();
        let mut failures = 0;
        for limit in 3..=highest.unwrap() + 8 {
            limit_descriptors(limit);
            let made: Vec<_> = (0..50)
                .map(|_| Runtime::new())
                .take_while(|result| match result {
                    Ok(_) => true,
                    Err(error) => {
                        assert!(is_exhaustion(error), "{error}");
                        failures += 1;
                        false
                    }
                })
                .collect();
            // Those that were made work.
            for runtime in made.iter().flatten() {
                runtime.block_on(sleep(millis(0)));
            }
            drop(made);
            limit_descriptors(1000);
            assert_eq!(fds(), before, "at {limit}");
        }
        assert!(failures >= 8, "{failures}");
        waken::block_on(async {});
    });
}

/// F05: so are a listener, a connection and a name that cannot be had.
#[test]
fn sockets_without_descriptors_are_errors_and_leave_nothing() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let scene = Scene::new(1).await;
            let addr = scene.listener.local_addr().unwrap();
            let sources = runtime.metrics().sources_alive;
            for _ in 0..20 {
                assert!(is_exhaustion(&AsyncTcpStream::connect(addr).await.unwrap_err()));
                let bound = AsyncTcpListener::bind("127.0.0.1:0").await;
                assert!(is_exhaustion(&bound.unwrap_err()));
                assert_eq!(runtime.metrics().sources_alive, sources);
            }
            drop(scene.fillers);
            AsyncTcpStream::connect(addr).await.unwrap();
        });
    });
}
