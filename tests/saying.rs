//! What a runtime says by itself: a long poll, a task that can never wake, a panic that nobody joins.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_io::AsyncRead;
use peer::replace;
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{guard, keep, on_drop, pair, panic_message, poll_once, watched};
use waken::net::AsyncUnixStream;
use waken::runtime::{Next, PanicPolicy};
use waken::task::{self, yield_now};
use waken::time::sleep;
use waken::{AsyncTcpListener, Builder, JoinSet, Runtime, block_on, spawn};

// ---- long polls -------------------------------------------------------------------------------

type Seen = Arc<Mutex<Vec<(String, Duration)>>>;

fn watching(over: Duration) -> (Runtime, Seen) {
    let seen = Seen::default();
    let theirs = seen.clone();
    let builder = Builder::new().on_long_poll(over, move |task, took| {
        theirs.lock().unwrap().push((task.to_string(), took));
    });
    (builder.build().unwrap(), seen)
}

#[test]
fn a_long_poll_names_the_task_its_line_and_how_long_it_took() {
    watched(20, || {
        let (runtime, seen) = watching(Duration::from_millis(30));
        runtime.block_on(async {
            let slow = task::Builder::new().name("slow").spawn(async {
                yield_now().await;
                thread::sleep(Duration::from_millis(40));
                yield_now().await;
            });
            slow.await.unwrap();
        });
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        let (who, took) = &seen[0];
        assert!(who.starts_with("task 1 `slow` (tests/saying.rs:"), "{who}");
        assert!(*took >= Duration::from_millis(40), "{took:?}");
    });
}

#[test]
fn the_poll_in_which_a_task_ends_or_panics_counts_as_well() {
    guard(20).panics().run(|| {
        let (runtime, seen) = watching(Duration::from_millis(10));
        let ends = runtime.spawn(async { thread::sleep(Duration::from_millis(15)) });
        let panics = runtime.spawn(async {
            thread::sleep(Duration::from_millis(15));
            panic!("late");
        });
        runtime.block_on(ends).unwrap();
        runtime.block_on(panics).unwrap_err();
        assert_eq!(seen.lock().unwrap().len(), 2);
    });
}

/// R08.
#[test]
fn a_panic_in_the_one_who_is_told_harms_nobody() {
    guard(20).panics().run(|| {
        let builder = Builder::new().on_long_poll(Duration::ZERO, |_, _| panic!("no time"));
        let runtime = builder.build().unwrap();
        let task = runtime.spawn(async {
            sleep(Duration::from_millis(1)).await;
            7
        });
        assert_eq!(runtime.block_on(task).unwrap(), 7);
    });
}

// ---- panics that nobody joins -----------------------------------------------------------------

/// All that needs a runtime and does not wait.
fn use_the_whole_api() {
    let task = spawn(pending::<()>());
    task.abort();
    drop((task, spawn(async {}), task::try_id()));
    assert!(!waken::runtime::tasks().is_empty());
    assert!(waken::runtime::metrics().tasks_alive > 0);
    let remote = waken::runtime::remote();
    remote.wake();
    drop(remote.spawn(|| async {}));
    let mut timer = sleep(Duration::from_secs(99));
    assert!(poll_once(&mut timer).is_pending());
    timer.reset(waken::time::now());
    assert!(poll_once(&mut Box::pin(AsyncTcpListener::bind("127.0.0.1:0"))).is_ready());
}

/// R08.
#[test]
fn whoever_is_told_of_a_long_poll_may_use_the_whole_api() {
    guard(20).panics().run(|| {
        let [calls, done] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let (counted, did) = (calls.clone(), done.clone());
        let told = move |_: &task::TaskInfo, _| {
            // Of the tasks that it spawns it is told as well.
            if counted.fetch_add(1, Relaxed) < 20 {
                use_the_whole_api();
                did.fetch_add(1, Relaxed);
            }
        };
        let runtime = Builder::new().on_long_poll(Duration::ZERO, told).build().unwrap();
        runtime.block_on(async {
            assert_eq!(spawn(async { 5 }).await.unwrap(), 5);
            assert!(spawn(async { panic!("in a task") }).await.unwrap_err().is_panic());
            while calls.load(Relaxed) < 20 {
                spawn(yield_now()).await.unwrap();
            }
        });
        assert_eq!(done.load(Relaxed), 20, "a panic in it would end there");
        assert_eq!(runtime.metrics().timers_alive, 0);
    });
}

/// R08: it runs while a task panics, in its poll and in its destructor.
#[test]
fn a_panic_hook_may_use_the_whole_api() {
    watched(20, || {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        std::panic::set_hook(Box::new(|_| {
            use_the_whole_api();
            CALLS.fetch_add(1, Relaxed);
        }));
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            assert!(spawn(async { panic!("in a poll") }).await.unwrap_err().is_panic());
            let task = spawn(keep(on_drop(|| panic!("in a destructor"))));
            yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            spawn(keep(on_drop(|| panic!("at the end"))));
            yield_now().await;
        });
        drop(runtime);
        assert_eq!(CALLS.load(Relaxed), 3);
    });
}

fn loud() -> Runtime {
    Builder::new().panics(PanicPolicy::PropagateUnobserved).build().unwrap()
}

fn message<R>(act: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => panic_message(panic),
    }
}

#[test]
fn the_panic_of_a_detached_task_comes_out_of_block_on_if_that_was_asked_for() {
    guard(20).panics().run(|| {
        let runtime = loud();
        drop(runtime.spawn(async {
            yield_now().await;
            panic!("nobody listens");
        }));
        assert_eq!(message(|| runtime.block_on(pending::<()>())), "nobody listens");
        // And the runtime goes on.
        assert_eq!(runtime.block_on(async { spawn(async { 5 }).await.unwrap() }), 5);
        assert_eq!(runtime.metrics().tasks_panicked, 1);
    });
}

#[test]
fn so_does_that_of_a_task_whose_handle_is_dropped_later() {
    guard(20).panics().run(|| {
        let runtime = loud();
        let handle = runtime.spawn(async { panic!("too late to ask") });
        runtime.block_on(async {
            while !handle.is_finished() {
                yield_now().await;
            }
        });
        let outcome = message(|| {
            runtime.block_on(async {
                drop(handle);
                pending::<()>().await;
            });
        });
        assert_eq!(outcome, "too late to ask");
    });
}

#[test]
fn the_handle_may_be_dropped_outside_or_in_the_poll_that_ends_the_root() {
    guard(20).panics().run(|| {
        let runtime = loud();
        let task = runtime.spawn(async { panic!("dropped outside") });
        runtime.block_on(sleep(Duration::from_millis(2)));
        drop(task);
        assert_eq!(message(|| runtime.block_on(async {})), "dropped outside");
        let last = || {
            runtime.block_on(async {
                let task = spawn(async { panic!("dropped at last") });
                while !task.is_finished() {
                    yield_now().await;
                }
                drop(task);
            });
        };
        assert_eq!(message(last), "dropped at last");
    });
}

#[test]
fn it_never_comes_out_of_another_runtime() {
    guard(20).panics().run(|| {
        let (quiet, loud) = (Runtime::new().unwrap(), loud());
        let task = quiet.spawn(async { panic!("of the quiet one") });
        quiet.block_on(sleep(Duration::from_millis(2)));
        loud.block_on(async move {
            drop(task);
            yield_now().await;
        });
    });
}

#[test]
fn what_was_kept_and_panics_itself_does_not_leave_the_end_of_the_runtime() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "a bomb");
        }
    }
    guard(20).panics().run(|| {
        let runtime = loud();
        let task = runtime.spawn(async { std::panic::panic_any(Bomb) });
        runtime.block_on(sleep(Duration::from_millis(2)));
        drop(task);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(runtime))).is_ok());
    });
}

#[test]
fn a_panic_that_is_joined_stays_with_its_handle() {
    guard(20).panics().run(|| {
        let runtime = loud();
        runtime.block_on(async {
            let error = spawn(async { panic!("heard") }).await.unwrap_err();
            assert!(error.is_panic());
            let mut set = JoinSet::new();
            set.spawn(async { panic!("heard as well") });
            assert!(set.join_next().await.unwrap().unwrap_err().is_panic());
            yield_now().await;
        });
    });
}

#[test]
fn it_comes_out_of_a_turn_too() {
    guard(20).panics().run(|| {
        let runtime = loud();
        drop(runtime.spawn(async { panic!("in a turn") }));
        assert_eq!(message(|| runtime.turn(Some(Duration::ZERO))), "in a turn");
        assert_eq!(runtime.turn(Some(Duration::ZERO)).unwrap(), Next::Idle);
    });
}

#[test]
fn of_several_the_first_comes_out_and_none_twice() {
    guard(20).panics().run(|| {
        let runtime = loud();
        for n in 0..3 {
            drop(runtime.spawn(async move { panic!("panic {n}") }));
        }
        assert_eq!(message(|| runtime.block_on(pending::<()>())), "panic 0");
        runtime.block_on(async { sleep(Duration::from_millis(5)).await });
    });
}

#[test]
fn by_default_nothing_comes_out() {
    guard(20).panics().run(|| {
        block_on(async {
            drop(spawn(async { panic!("kept to itself") }));
            sleep(Duration::from_millis(5)).await;
        });
    });
}

// ---- tasks that can never wake ----------------------------------------------------------------

/// What the runtime itself writes to standard error in `body`.
fn told(body: impl FnOnce()) -> Vec<String> {
    // A million clones take most of what is usual.
    let verdict = guard(20).cpu_ms(2_000).verdict(body);
    assert!(verdict.breaches.is_empty(), "{verdict}");
    verdict.err.lines().filter(|line| line.starts_with("waken: ")).map(String::from).collect()
}

#[test]
fn a_task_that_nobody_can_wake_is_told_of_once_in_debug_builds() {
    let told = told(|| {
        block_on(async {
            let lost = task::Builder::new().name("lost").spawn(poll_fn(|_| Poll::<()>::Pending));
            sleep(Duration::from_millis(5)).await;
            // Polled again, it is as lost as before.
            lost.abort_handle().abort();
            assert!(lost.await.unwrap_err().is_cancelled());
        });
    });
    if cfg!(debug_assertions) {
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("waken: task 1 `lost` (tests/saying.rs:"), "{}", told[0]);
        assert!(told[0].contains("can never wake"), "{}", told[0]);
    } else {
        assert_eq!(told.len(), 0, "{told:?}");
    }
}

#[test]
fn of_ten_thousand_such_tasks_ten_are_told() {
    let told = told(|| {
        block_on(async {
            let tasks: Vec<_> = (0..10_000).map(|_| spawn(pending::<()>())).collect();
            sleep(Duration::from_millis(5)).await;
            drop(tasks);
        });
    });
    assert_eq!(told.len(), if cfg!(debug_assertions) { 10 } else { 0 }, "{told:?}");
}

/// W16: a waker counts nothing that could overflow. Debug builds count the clones that are at home, as far as that goes.
#[test]
fn a_million_clones_that_are_never_dropped_change_nothing() {
    let told = told(|| {
        block_on(async {
            for clones in [254, 255, 256, 257, 300, 65_536, 1_000_000] {
                let shown = Rc::new(RefCell::new(None));
                let show = shown.clone();
                let mut polls = 0;
                let task = spawn(poll_fn(move |cx| {
                    polls += 1;
                    match polls {
                        1 => *show.borrow_mut() = Some(cx.waker().clone()),
                        2 => {}
                        _ => return Poll::Ready(()),
                    }
                    Poll::Pending
                }));
                yield_now().await;
                let waker: Waker = shown.take().unwrap();
                for _ in 0..clones {
                    drop(waker.clone());
                    std::mem::forget(waker.clone());
                }
                waker.wake_by_ref();
                yield_now().await;
                waker.wake();
                task.await.unwrap();
            }
            // Many are made, and all but one are dropped.
            for clones in [255, 256, 257, 1000] {
                let shown = Rc::new(RefCell::new(Vec::new()));
                let show = shown.clone();
                let mut polls = 0;
                let task = spawn(poll_fn(move |cx| {
                    polls += 1;
                    if polls == 1 {
                        show.borrow_mut().extend((0..clones).map(|_| cx.waker().clone()));
                    }
                    if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
                }));
                yield_now().await;
                let last = shown.borrow_mut().pop().unwrap();
                shown.borrow_mut().clear();
                last.wake_by_ref();
                yield_now().await;
                last.wake();
                task.await.unwrap();
            }
        });
    });
    assert_eq!(told.len(), 0, "{told:?}");
}

/// Standard error may be a file system without room.
#[test]
fn that_it_cannot_be_told_is_no_panic() {
    watched(20, || {
        let usual = io::stderr().as_fd().try_clone_to_owned().unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        replace(&io::stderr(), &full);
        let _again = on_drop(|| replace(&io::stderr(), &usual));
        block_on(async {
            spawn(pending::<()>());
            sleep(Duration::from_millis(5)).await;
        });
    });
}

/// Everything that a task can rightly wait for.
#[test]
fn of_tasks_that_will_be_woken_none_is_told() {
    let told = told(|| {
        block_on(async {
            let (reader, _writer) = pair().await.unwrap();
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            spawn(async move { reader.read(&mut [0]).await });
            spawn(async move { listener.accept().await.map(drop) });
            let timer = spawn(sleep(Duration::from_secs(100)));
            spawn(async move { timer.await.map_err(drop) });
            // A waker on another thread, and one in a list of the user's.
            let elsewhere = Arc::new(Mutex::new(Vec::<Waker>::new()));
            let theirs = elsewhere.clone();
            spawn(poll_fn(move |cx| {
                let waker = cx.waker().clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    drop(waker);
                });
                theirs.lock().unwrap().push(cx.waker().clone());
                Poll::<()>::Pending
            }));
            // One that has woken itself, and one that two futures of one task keep in turn.
            spawn(async {
                for _ in 0..10 {
                    yield_now().await;
                }
            });
            spawn(futures_lite::future::or(pending::<()>(), async {
                for _ in 0..5 {
                    sleep(Duration::from_millis(1)).await;
                }
            }));
            let mut set = JoinSet::new();
            set.spawn(sleep(Duration::from_secs(100)));
            spawn(async move { set.join_next().await.map(drop) });
            // Two tasks on one direction, and a foreign waker around ours.
            let (shared, _other) = pair().await.unwrap();
            let shared = Arc::new(shared);
            for _ in 0..3 {
                let shared = shared.clone();
                spawn(async move { shared.read(&mut [0]).await });
            }
            sleep(Duration::from_millis(50)).await;
            drop(elsewhere);
        });
        // A source of another runtime.
        let (runtime, other) = (Runtime::new().unwrap(), Rc::new(Runtime::new().unwrap()));
        let (ours, _theirs) = {
            let _other = other.enter();
            AsyncUnixStream::pair().unwrap()
        };
        runtime.block_on(async move {
            let mut polls = 0;
            let task = spawn(poll_fn(move |cx| {
                polls += 1;
                if polls == 1 {
                    let _other = other.enter();
                    assert!(ours.try_read(&mut [0]).is_err());
                    cx.waker().wake_by_ref();
                    assert!(Pin::new(&mut &ours).poll_read(cx, &mut [0]).is_pending());
                }
                Poll::<()>::Pending
            }));
            sleep(Duration::from_millis(5)).await;
            drop(task);
        });
    });
    assert_eq!(told, Vec::<String>::new());
}
