//! Wakers that are not ours: they work with our futures, are given back, and whatever they do harms nobody else.
#![allow(unsafe_code)] // A waker whose `clone` panics cannot be made without it.
mod support;
use support::{guard, panic_message, watched};

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::{Duration, Instant};
use waken::net::AsyncUnixStream;
use waken::task::yield_now;
use waken::time::{Sleep, sleep};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinHandle, Runtime, block_on, spawn};

/// Lets every task that is ready be polled, `n` times.
async fn turns(n: u32) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Two ends of a connection, the first of which knows that it has nothing to read.
async fn pair() -> io::Result<(AsyncTcpStream, AsyncTcpStream)> {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    assert_eq!(server.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    Ok((server, client))
}

/// A waker of somebody else's, that counts, and does what it was made for.
struct Foreign {
    woken: AtomicUsize,
    at_wake: Option<fn()>,
    at_drop: Option<fn()>,
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        self.at_wake.into_iter().for_each(|act| act());
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.at_drop.into_iter().for_each(|act| act());
    }
}

impl Foreign {
    fn new(at_wake: Option<fn()>, at_drop: Option<fn()>) -> Arc<Foreign> {
        Arc::new(Foreign { woken: AtomicUsize::new(0), at_wake, at_drop })
    }
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// T11, W04.
#[test]
fn a_join_handle_keeps_the_last_waker_only() {
    watched(10, || {
        block_on(async {
            let mut task = spawn(sleep(Duration::from_millis(1)));
            let (a, b) = (Foreign::new(None, None), Foreign::new(None, None));
            assert!(poll_with(&mut task, &a.clone().into()).is_pending());
            assert_eq!(Arc::strong_count(&a), 2);
            assert!(poll_with(&mut task, &b.clone().into()).is_pending());
            assert_eq!((Arc::strong_count(&a), Arc::strong_count(&b)), (1, 2));
            while b.woken.load(SeqCst) == 0 {
                yield_now().await;
            }
            assert_eq!((a.woken.load(SeqCst), b.woken.load(SeqCst)), (0, 1));
            assert_eq!(Arc::strong_count(&b), 1);
            task.await.unwrap();

            let mut task = spawn(pending::<()>());
            assert!(poll_with(&mut task, &a.clone().into()).is_pending());
            drop(task);
            assert_eq!(Arc::strong_count(&a), 1, "a dropped handle keeps none");
        });
    });
}

/// R03, W04, W14.
#[test]
fn our_futures_take_a_foreign_waker_and_give_it_back() {
    watched(10, || {
        block_on(async {
            let (stream, peer) = pair().await.unwrap();
            let (a, b) = (Foreign::new(None, None), Foreign::new(None, None));
            let (mut buf, mut early) = ([0; 8], [0; 8]);
            {
                let mut given_up = pin!(stream.read(&mut early));
                assert!(poll_with(&mut given_up, &a.clone().into()).is_pending());
                assert!(poll_with(&mut sleep(Duration::MAX), &a.clone().into()).is_pending());
                let mut late = sleep(Duration::from_secs(999));
                assert!(poll_with(&mut late, &a.clone().into()).is_pending());
                assert_eq!(Arc::strong_count(&a), 3);
            }
            assert_eq!(Arc::strong_count(&a), 1);

            let mut read = pin!(stream.read(&mut buf));
            let mut timer = sleep(Duration::from_millis(2));
            for waker in [&a, &b] {
                assert!(poll_with(&mut read, &waker.clone().into()).is_pending());
                assert!(poll_with(&mut timer, &waker.clone().into()).is_pending());
            }
            assert_eq!((Arc::strong_count(&a), Arc::strong_count(&b)), (1, 3));
            peer.write_all(b"hello").await.unwrap();
            while b.woken.load(SeqCst) < 2 {
                yield_now().await;
            }
            assert!(poll_with(&mut timer, Waker::noop()).is_ready());
            assert!(matches!(poll_with(&mut read, Waker::noop()), Poll::Ready(Ok(5))));
            assert_eq!((a.woken.load(SeqCst), Arc::strong_count(&b)), (0, 1));
        });
    });
}

/// R03: a waker is somebody's code, and is left alone by who does not have to wait.
#[test]
fn whatever_is_ready_clones_no_waker() {
    watched(10, || {
        block_on(async {
            let mut task = spawn(async { 7 });
            turns(2).await;
            let bad = panics_in_clone();
            assert!(matches!(poll_with(&mut task, &bad), Poll::Ready(Ok(7))));
            assert!(poll_with(&mut sleep(Duration::ZERO), &bad).is_ready());
            let mut fired = sleep(Duration::from_millis(1));
            assert!(poll_with(&mut fired, Waker::noop()).is_pending());
            sleep(Duration::from_millis(5)).await;
            assert!(poll_with(&mut fired, &bad).is_ready());
            let (stream, peer) = pair().await.unwrap();
            peer.write_all(b"x").await.unwrap();
            turns(2).await;
            assert!(matches!(
                poll_with(&mut pin!(stream.read(&mut [0])), &bad),
                Poll::Ready(Ok(1))
            ));
        });
    });
}

fn panics_in_clone() -> Waker {
    fn nothing(_: *const ()) {}
    static TABLE: RawWakerVTable =
        RawWakerVTable::new(|_| -> RawWaker { panic!("in clone") }, nothing, nothing, nothing);
    // SAFETY: no function of the table looks at the pointer.
    unsafe { Waker::new(ptr::null(), &TABLE) }
}

/// 32 tasks wait for one stream, and the waker that number 7 waits with is a bad one.
fn one_bad_waker_among_32(bad: impl Fn() -> Waker + 'static) -> Option<String> {
    block_on(async move {
        let (stream, peer) = pair().await.unwrap();
        let (stream, bad) = (Rc::new(stream), Rc::new(bad));
        let mut tasks = Vec::new();
        for i in 0..32 {
            let (stream, bad) = (stream.clone(), bad.clone());
            tasks.push(spawn(async move {
                let mut readable = pin!(stream.readable());
                let mut waker = (i == 7).then(|| bad());
                poll_fn(|cx| match waker.take() {
                    Some(waker) => readable.as_mut().poll(&mut Context::from_waker(&waker)),
                    None => readable.as_mut().poll(cx),
                })
                .await
            }));
        }
        turns(2).await;
        let seventh = tasks.remove(7);
        assert!(!tasks.iter().any(JoinHandle::is_finished));
        peer.write_all(b"x").await.unwrap();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        turns(1).await;
        seventh.abort();
        let end = seventh.await.unwrap_err();
        end.is_panic().then(|| panic_message(end.into_panic()))
    })
}

/// W02, W07.
#[test]
fn a_waker_that_panics_in_wake_stops_nobody_else() {
    guard(10).panics().run(|| {
        let bad = Foreign::new(Some(|| panic!("in wake")), None);
        let waker = bad.clone();
        assert_eq!(one_bad_waker_among_32(move || waker.clone().into()), None);
        assert_eq!((bad.woken.load(SeqCst), Arc::strong_count(&bad)), (1, 1));
    });
}

/// W02, W07.
#[test]
fn a_waker_that_panics_in_drop_stops_nobody_else() {
    guard(10).panics().run(|| {
        let bad = || Foreign::new(None, Some(|| panic!("in drop")));
        assert_eq!(one_bad_waker_among_32(move || bad().into()), None);
    });
}

/// W02, W07.
#[test]
fn a_waker_that_panics_in_clone_harms_its_own_task_alone() {
    guard(10).panics().run(|| {
        assert_eq!(one_bad_waker_among_32(panics_in_clone).as_deref(), Some("in clone"));
    });
}

/// W07: a batch of timers, and of joiners.
#[test]
fn bad_wakers_of_timers_and_joins_stop_nobody_else() {
    guard(10).panics().run(|| {
        block_on(async {
            let good = Foreign::new(None, None);
            let bad = || Foreign::new(Some(|| panic!("in wake")), None);
            let due = Instant::now() + Duration::from_millis(1);
            let mut timers: Vec<Sleep> = (0..9).map(|_| waken::time::sleep_until(due)).collect();
            for (i, timer) in timers.iter_mut().enumerate() {
                let waker = if i % 2 == 0 { bad() } else { good.clone() };
                assert!(poll_with(timer, &waker.into()).is_pending());
            }
            let mut tasks: Vec<_> =
                (0..9).map(|_| spawn(sleep(Duration::from_millis(2)))).collect();
            for (i, task) in tasks.iter_mut().enumerate() {
                let waker = if i % 2 == 0 { bad() } else { good.clone() };
                assert!(poll_with(task, &waker.into()).is_pending());
            }
            sleep(Duration::from_millis(3)).await;
            turns(2).await;
            assert_eq!(good.woken.load(SeqCst), 8);
        });
    });
}

/// W07, R07: two in a row, so that a panic during a panic would end the process.
#[test]
fn wakers_that_panic_in_drop_do_not_end_the_process_with_the_runtime() {
    guard(10).panics().run(|| {
        static DROPS: AtomicUsize = AtomicUsize::new(0);
        let at_drop = || {
            DROPS.fetch_add(1, SeqCst);
            panic!("in drop")
        };
        let runtime = Runtime::new().unwrap();
        let mut timers = [0; 3].map(|_| sleep(Duration::from_secs(999)));
        runtime.block_on(async {
            for timer in &mut timers {
                let bad = Foreign::new(None, Some(at_drop));
                assert!(poll_with(timer, &bad.into()).is_pending());
            }
        });
        drop(runtime);
        assert_eq!(DROPS.load(SeqCst), 3);
    });
}

/// W06, R01: wake and drop of a waker may use the whole API.
#[test]
fn a_waker_may_use_the_runtime_while_it_is_woken_and_dropped() {
    thread_local! {
        static TASKS: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
        static TIMER: RefCell<Option<Sleep>> = const { RefCell::new(None) };
        static ACTS: Cell<u32> = const { Cell::new(0) };
        // To its end: a panic in a waker would not come out of the loop.
        static DONE: Cell<u32> = const { Cell::new(0) };
    }
    fn act() {
        ACTS.set(ACTS.get() + 1);
        drop(AsyncUnixStream::pair().unwrap());
        let task = spawn(pending());
        task.abort();
        drop(spawn(async {}));
        assert!(!waken::runtime::tasks().is_empty() && waken::runtime::metrics().tasks_alive > 0);
        let remote = waken::runtime::remote();
        remote.wake();
        drop(remote.spawn(|| async {}));
        let listener =
            poll_with(&mut Box::pin(AsyncTcpListener::bind("127.0.0.1:0")), Waker::noop());
        let Poll::Ready(Ok(listener)) = listener else { panic!("{listener:?}") };
        let mut accepting = Box::pin(listener.accept());
        assert!(poll_with(&mut accepting, Waker::noop()).is_pending());
        let kept = TASKS.with_borrow_mut(|tasks| std::mem::replace(tasks, vec![task]));
        kept.iter().for_each(|task| task.abort_handle().abort());
        drop(kept);
        let mut timer = TIMER.take().unwrap_or_else(|| sleep(Duration::from_secs(99)));
        timer.reset(Instant::now() + Duration::from_secs(9));
        assert!(poll_with(&mut timer, Waker::noop()).is_pending());
        drop(TIMER.replace(Some(timer)));
        DONE.set(DONE.get() + 1);
    }
    watched(10, || {
        let foreign = || -> Waker { Foreign::new(Some(act), Some(act)).into() };
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (stream, peer) = pair().await.unwrap();
            let mut readable = pin!(stream.readable());
            let mut timer = sleep(Duration::from_millis(1));
            let mut task = spawn(sleep(Duration::from_millis(1)));
            for _ in 0..2 {
                // The second time, the first waker is dropped where it was kept.
                assert!(poll_with(&mut readable, &foreign()).is_pending());
                assert!(poll_with(&mut timer, &foreign()).is_pending());
                assert!(poll_with(&mut task, &foreign()).is_pending());
            }
            assert_eq!(ACTS.get(), 3);
            peer.write_all(b"x").await.unwrap();
            while ACTS.get() < 9 {
                yield_now().await;
            }
            readable.await.unwrap();
            let mut last = sleep(Duration::from_secs(99));
            assert!(poll_with(&mut last, &foreign()).is_pending());
            drop(last);
            assert_eq!((ACTS.get(), DONE.get()), (10, 10));
            turns(3).await;
        });
        TASKS.take();
        TIMER.take();
        assert_eq!(runtime.metrics().tasks_alive, 0);
        assert_eq!(runtime.metrics().timers_alive, 0);
    });
}

/// W07, R07: the panic in drop comes while the one in wake unwinds.
#[test]
fn a_waker_that_panics_in_wake_and_in_drop_does_not_end_the_process() {
    guard(10).panics().run(|| {
        let bad = || Foreign::new(Some(|| panic!("in wake")), Some(|| panic!("in drop"))).into();
        assert_eq!(one_bad_waker_among_32(bad), None);
    });
}

/// W07: giving up is no reason to panic, and may happen while a panic unwinds.
#[test]
fn giving_up_with_a_waker_that_panics_in_drop_is_no_panic() {
    guard(10).panics().run(|| {
        block_on(async {
            let (stream, _peer) = pair().await.unwrap();
            let (mut timer, mut task) = (sleep(Duration::from_secs(99)), spawn(pending::<()>()));
            let mut readable = Box::pin(stream.readable());
            let bad = || -> Waker { Foreign::new(None, Some(|| panic!("in drop"))).into() };
            assert!(poll_with(&mut timer, &bad()).is_pending());
            assert!(poll_with(&mut task, &bad()).is_pending());
            assert!(poll_with(&mut readable, &bad()).is_pending());
            let panics = |code: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(code)).is_err();
            let (mut timer, mut task, mut readable) = (Some(timer), Some(task), Some(readable));
            let outcome = [
                panics(&mut || drop(timer.take())),
                panics(&mut || drop(task.take())),
                panics(&mut || drop(readable.take())),
            ];
            assert_eq!(outcome, [false; 3], "of a sleep, a join handle, and `readable`");
        });
    });
}

/// W01: a waker's clone is the user's code, and may run the very task to its end that is waited for.
#[test]
fn a_clone_that_runs_a_turn_loses_no_join() {
    struct Turning(Rc<Runtime>);
    thread_local! {
        static TURNING: RefCell<Option<Turning>> = const { RefCell::new(None) };
    }
    fn clone(data: *const ()) -> RawWaker {
        if let Some(Turning(runtime)) = TURNING.take() {
            runtime.turn(Some(Duration::ZERO)).unwrap();
        }
        RawWaker::new(data, &TABLE)
    }
    fn ignore(_: *const ()) {}
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, ignore, ignore, ignore);
    watched(10, || {
        let runtime = Rc::new(Runtime::new().unwrap());
        let mut task = runtime.spawn(async { 1 });
        // SAFETY: no function of the table follows the pointer.
        #[allow(unsafe_code)]
        let waker = unsafe { Waker::new(std::ptr::null(), &TABLE) };
        let _current = runtime.enter();
        TURNING.set(Some(Turning(runtime.clone())));
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_ready(), "it has ended, and nobody would be told");
    });
}

/// W05: whoever polls again with the same waker, as a combinator does for every other of its futures, pays for no clone.
#[test]
fn ten_thousand_polls_with_one_waker_clone_it_once() {
    static CLONES: AtomicUsize = AtomicUsize::new(0);
    fn clone(data: *const ()) -> RawWaker {
        CLONES.fetch_add(1, SeqCst);
        RawWaker::new(data, &TABLE)
    }
    fn ignore(_: *const ()) {}
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, ignore, ignore, ignore);
    watched(20, || {
        block_on(async {
            // SAFETY: no function of the table follows the pointer.
            let waker = unsafe { Waker::new(ptr::null(), &TABLE) };
            let mut cx = Context::from_waker(&waker);
            let (stream, _peer) = pair().await.unwrap();
            let (by_trait, _other_peer) = pair().await.unwrap();
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let (mut buf, mut other_buf) = ([0; 8], [0; 8]);
            let mut reading = pin!(stream.read(&mut buf));
            let mut readable = pin!(stream.readable());
            let mut accepting = pin!(listener.accept());
            let mut task = spawn(pending::<()>());
            let mut timer = sleep(Duration::from_secs(999));
            let mut polls: [(&str, &mut dyn FnMut() -> bool); 6] = [
                ("read", &mut || reading.as_mut().poll(&mut cx).is_pending()),
                ("readable", &mut || {
                    readable.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
                }),
                ("accept", &mut || {
                    accepting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
                }),
                ("poll_read", &mut || {
                    let mut cx = Context::from_waker(&waker);
                    futures_io::AsyncRead::poll_read(
                        Pin::new(&mut &by_trait),
                        &mut cx,
                        &mut other_buf,
                    )
                    .is_pending()
                }),
                ("a join", &mut || poll_with(&mut task, &waker).is_pending()),
                ("sleep", &mut || poll_with(&mut timer, &waker).is_pending()),
            ];
            for (what, poll) in &mut polls {
                let before = CLONES.load(SeqCst);
                for _ in 0..10_000 {
                    assert!(poll(), "{what}");
                }
                let clones = CLONES.load(SeqCst) - before;
                assert!(clones <= 1, "{what}: {clones} clones");
            }
        });
    });
}

/// T13: who is woken at the end of a runtime may set a timer again, and the waker of that one has an end of its own.
#[test]
fn a_timer_that_is_set_while_its_runtime_ends_goes_with_it_and_so_does_what_its_waker_spawns() {
    thread_local! {
        static AGAIN: RefCell<Option<Sleep>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<Sleep>> = const { RefCell::new(None) };
        static SPAWNED: Cell<Option<Rc<()>>> = const { Cell::new(None) };
    }
    fn set_again() {
        let mut again = sleep(Duration::from_secs(99));
        assert!(
            poll_with(&mut again, &Foreign::new(None, Some(spawn_and_panic)).into()).is_pending()
        );
        drop(AGAIN.replace(Some(again)));
    }
    /// Sets one more timer when it is dropped, the waker of which panics when that is dropped.
    struct SetsLate(#[allow(dead_code)] Rc<()>);
    impl Drop for SetsLate {
        fn drop(&mut self) {
            let mut late = sleep(Duration::from_secs(99));
            let waker = Foreign::new(None, Some(|| panic!("the last one"))).into();
            assert!(poll_with(&mut late, &waker).is_pending());
            drop(LATE.replace(Some(late)));
        }
    }
    fn spawn_and_panic() {
        let held = Rc::new(());
        SPAWNED.set(Some(held.clone()));
        let late = SetsLate(held);
        drop(spawn(async move { (pending::<()>().await, late).0 }));
        panic!("in the destructor of a waker");
    }
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let mut first = sleep(Duration::from_secs(99));
        let guard = runtime.enter();
        assert!(poll_with(&mut first, &Foreign::new(Some(set_again), None).into()).is_pending());
        drop(guard);
        drop(runtime);
        let held = SPAWNED.take().expect("dropped with the runtime");
        assert_eq!(Rc::strong_count(&held), 1, "what was spawned at the end is dropped as well");
        drop((AGAIN.take(), LATE.take()));
    });
}
