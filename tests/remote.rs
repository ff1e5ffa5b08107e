//! `Remote`: spawning on a runtime, and waking it, from anywhere.
mod support;
use support::{guard, panic_message, watched};

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use waken::runtime::Metrics;
use waken::task::yield_now;
use waken::time::sleep;
use waken::{Remote, Runtime, block_on};

/// A thread with a runtime that runs until it is told to end.
struct Elsewhere {
    remote: Remote,
    root: Waker,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Metrics>,
}

impl Elsewhere {
    fn new() -> Elsewhere {
        let (tell, told) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(poll_fn(|cx| {
                if until.load(SeqCst) {
                    return Poll::Ready(());
                }
                // Polled again by each `Remote::wake`, when nobody listens any more.
                let _ = tell.send((runtime.remote(), cx.waker().clone()));
                Poll::Pending
            }));
            runtime.metrics()
        });
        let (remote, root) = told.recv().unwrap();
        Elsewhere { remote, root, stop, thread }
    }

    fn end(self) -> Metrics {
        self.stop.store(true, SeqCst);
        self.root.wake();
        self.thread.join().unwrap()
    }
}

fn message_of<R>(code: impl FnOnce() -> R) -> String {
    panic_message(catch_unwind(AssertUnwindSafe(code)).err().expect("a panic"))
}

/// N08.
#[test]
fn a_remote_spawn_can_be_joined_by_a_thread_and_awaited_by_a_runtime() {
    watched(10, || {
        let there = Elsewhere::new();
        let id = there.remote.spawn(|| async { thread::current().id() }).unwrap().join().unwrap();
        assert_ne!(id, thread::current().id());
        // A future that is not `Send`, and sleeps there.
        let make = || async {
            let shared = Rc::new(Cell::new(40));
            sleep(Duration::from_millis(1)).await;
            shared.set(shared.get() + 2);
            shared.get()
        };
        assert_eq!(block_on(there.remote.spawn(make).unwrap()).unwrap(), 42);
        assert_eq!(there.remote.spawn(make).unwrap().join().unwrap(), 42);
        there.end();
    });
}

#[test]
fn a_panic_of_a_remote_spawn_is_its_join_error() {
    guard(10).panics().run(|| {
        let there = Elsewhere::new();
        let in_make = || -> std::future::Ready<()> { panic!("in make") };
        let error = there.remote.spawn(in_make).unwrap().join().unwrap_err();
        assert_eq!(panic_message(error.into_panic()), "in make");
        let error = block_on(there.remote.spawn(|| async { panic!("in future") }).unwrap());
        let error = error.unwrap_err();
        assert!(error.to_string().ends_with("panicked: in future"), "{error}");
        assert_eq!(there.remote.spawn(|| async { 1 }).unwrap().join().unwrap(), 1);
        assert_eq!(there.end().tasks_panicked, 2);
    });
}

/// T02.
#[test]
fn a_dropped_remote_handle_detaches() {
    watched(10, || {
        let there = Elsewhere::new();
        let (tell, told) = mpsc::channel();
        drop(there.remote.spawn(move || async move {
            yield_now().await;
            tell.send("ran on").unwrap();
        }));
        assert_eq!(told.recv().unwrap(), "ran on");
        there.end();
    });
}

/// D03.
#[test]
fn the_end_of_a_runtime_resolves_what_was_spawned_remotely() {
    watched(10, || {
        let there = Elsewhere::new();
        let (tell, told) = mpsc::channel();
        let running = there.remote.spawn(move || async move {
            tell.send(()).unwrap();
            pending::<()>().await
        });
        told.recv().unwrap();
        let joining = there.remote.spawn(pending::<()>).unwrap();
        let joiner = thread::spawn(move || joining.join());
        let remote = there.remote.clone();
        there.end();
        assert!(block_on(running.unwrap()).unwrap_err().is_cancelled());
        assert!(joiner.join().unwrap().unwrap_err().is_cancelled());
        let error: Box<dyn std::error::Error> = remote.spawn(|| async {}).unwrap_err().into();
        assert!(error.to_string().contains("ended"), "{error}");
        remote.wake();

        // Never begun: the runtime does not run between the spawn and its end.
        let runtime = Runtime::new().unwrap();
        let never = runtime.remote().spawn(|| async {}).unwrap();
        drop(runtime);
        assert!(block_on(never).unwrap_err().is_cancelled());
    });
}

#[test]
fn a_remote_handle_cannot_be_joined_at_home() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let task = runtime.remote().spawn(|| async {}).unwrap();
        let message = message_of(move || task.join());
        assert!(message.contains("wait for itself") && message.contains(".await"), "{message}");
        let task = runtime.remote().spawn(|| async { 5 }).unwrap();
        assert_eq!(runtime.block_on(task).unwrap(), 5, "awaiting is the way");
    });
}

#[test]
fn remote_wake_makes_a_sleeping_runtime_look_up() {
    watched(10, || {
        let there = Elsewhere::new();
        for _ in 0..50 {
            there.remote.wake();
            thread::sleep(Duration::from_millis(1));
        }
        let metrics = there.end();
        assert!(metrics.turns >= 10, "{metrics:?}");
        assert_eq!(metrics.polls, 0, "it wakes no task: {metrics:?}");
    });
}

#[test]
fn a_flag_that_is_set_before_a_remote_wake_is_seen_by_the_root() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (remote, flag) = (runtime.remote(), Arc::new(AtomicBool::new(false)));
        let theirs = flag.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(10));
            theirs.store(true, SeqCst);
            remote.wake();
        });
        let seen =
            |_: &mut Context<'_>| if flag.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending };
        runtime.block_on(poll_fn(seen));
        thread.join().unwrap();
    });
}

/// T10.
#[test]
fn a_remote_handle_polled_again_after_it_was_ready_says_so() {
    guard(10).panics().run(|| {
        let there = Elsewhere::new();
        let mut task = there.remote.spawn(|| async { 1 }).unwrap();
        assert_eq!(block_on(&mut task).unwrap(), 1);
        there.end();
        let again = || Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
        let message = message_of(again);
        assert!(message.contains("after it was ready"), "{message}");
    });
}

/// T01: the future is dropped there, its output where the handle is.
#[test]
fn what_a_remote_spawn_holds_is_dropped_once_and_at_home() {
    struct Counted(Option<thread::ThreadId>, Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            assert!(self.0.is_none_or(|home| home == thread::current().id()));
            self.1.fetch_add(1, SeqCst);
        }
    }
    watched(10, || {
        let (there, drops) = (Elsewhere::new(), Arc::new(AtomicUsize::new(0)));
        for waits in [false, true] {
            let counter = drops.clone();
            let (tell, told) = mpsc::channel();
            let task = there.remote.spawn(move || async move {
                let _held = Counted(Some(thread::current().id()), counter.clone());
                tell.send(()).unwrap();
                if waits {
                    pending::<()>().await;
                }
                Counted(None, counter)
            });
            told.recv().unwrap();
            match waits {
                true => drop(task),
                false => drop(task.unwrap().join().unwrap()),
            }
        }
        there.end();
        assert_eq!(drops.load(SeqCst), 3);
    });
}
