//! Wakers that are other people's code, and futures that are polled where they are not at home: nothing is left behind,
//! and nobody's wake is lost.
#![allow(unsafe_code)] // A waker by hand.
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_io::AsyncRead;
use peer::{Foreign, millis, pair, run};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::Write;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;
use waken::Runtime;
use waken::io::{AsyncFd, Interest};
use waken::time::sleep;

/// W14.
#[test]
fn a_future_that_is_polled_outside_its_runtime_leaves_no_waker() {
    support::watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (foreign, waker) = Foreign::new();
        let idle = Arc::strong_count(&foreign);
        let guard = runtime.enter();
        let (ours, _peer) = pair();
        drop(ours.try_read(&mut [0; 9]));
        let mut buf = [0; 9];
        {
            let mut reading = pin!(ours.read(&mut buf));
            assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(guard);
            let polled = reading.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(matches!(polled, Poll::Ready(Err(_))));
        }
        let _guard = runtime.enter();
        assert_eq!(Arc::strong_count(&foreign), idle, "a waker is left behind");
    });
}

/// W14.
#[test]
fn a_future_that_is_polled_on_another_thread_leaves_no_waker() {
    support::watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (foreign, waker) = Foreign::new();
        let idle = Arc::strong_count(&foreign);
        let ours = {
            let _guard = runtime.enter();
            Arc::new(pair())
        };
        let theirs = ours.clone();
        let mut reading = Box::pin(async move { theirs.0.read(&mut [0; 9]).await });
        {
            let _guard = runtime.enter();
            assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        std::thread::scope(|scope| {
            let waker = waker.clone();
            scope.spawn(move || {
                assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
            });
        });
        for _ in 0..5 {
            runtime.turn(Some(peer::millis(5))).unwrap();
        }
        assert_eq!(Arc::strong_count(&foreign), idle, "a waker is left behind");
    });
}

thread_local! {
    static WOKEN: Cell<u32> = const { Cell::new(0) };
    static ON_CLONE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    static ON_DROP: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}
fn wake() {
    WOKEN.with(|w| w.set(w.get() + 1));
}
static TABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        let f = ON_CLONE.with(|f| f.borrow_mut().take());
        if let Some(f) = f {
            f()
        }
        RawWaker::new(data, &TABLE)
    },
    |_| wake(),
    |_| wake(),
    |_| {
        let f = ON_DROP.with(|f| f.borrow_mut().take());
        if let Some(f) = f {
            f()
        }
    },
);
/// Two of them are two tasks'.
fn waker(task: usize) -> std::mem::ManuallyDrop<Waker> {
    // SAFETY: the table never follows its data.
    std::mem::ManuallyDrop::new(unsafe { Waker::new(std::ptr::without_provenance(task), &TABLE) })
}

fn take_the_edge(on_drop: bool, poll_trait: bool) {
    support::watched(10, || {
        let runtime = Rc::new(Runtime::new().unwrap());
        let _guard = runtime.enter();
        let (mut ours, peer) = pair();
        while runtime.turn(Some(Duration::from_millis(5))).is_ok() {
            if runtime.metrics().epoll_events > 0 {
                break;
            }
        }
        drop(ours.try_read(&mut [0; 9]));
        let (before, waker) = (waker(1), waker(2));
        let mut buf = [0; 9];
        let turn = {
            let (runtime, mut peer) = (runtime.clone(), peer.try_clone().unwrap());
            Box::new(move || {
                peer.write_all(b"x").unwrap();
                let before = runtime.metrics().epoll_events;
                while runtime.metrics().epoll_events == before {
                    runtime.turn(Some(Duration::from_millis(5))).unwrap();
                }
            })
        };
        let mut arm = Some(turn);
        let mut put = || match on_drop {
            true => ON_DROP.with(|f| *f.borrow_mut() = Some(arm.take().unwrap())),
            false => ON_CLONE.with(|f| *f.borrow_mut() = Some(arm.take().unwrap())),
        };
        let mut poll: Box<dyn FnMut(&mut Context<'_>) -> bool> = match poll_trait {
            true => Box::new(|cx| Pin::new(&mut ours).poll_read(cx, &mut buf).is_pending()),
            false => {
                let mut reading = Box::pin(ours.read(&mut buf));
                Box::new(move |cx| reading.as_mut().poll(cx).is_pending())
            }
        };
        if on_drop {
            // Kept until the other task polls.
            assert!(poll(&mut Context::from_waker(&before)));
        }
        put();
        assert!(poll(&mut Context::from_waker(&waker)));
        for _ in 0..20 {
            runtime.turn(Some(Duration::from_millis(5))).unwrap();
        }
        assert!(WOKEN.with(Cell::get) > 0, "the byte is there, the task was never woken");
    });
}

/// W01, R01.
#[test]
fn an_edge_is_not_lost_that_the_clone_of_a_futures_waker_takes() {
    take_the_edge(false, false);
}

/// W01, R01.
#[test]
fn an_edge_is_not_lost_that_the_clone_of_a_kept_waker_takes() {
    take_the_edge(false, true);
}

/// W01, R01.
#[test]
fn an_edge_is_not_lost_that_the_drop_of_a_futures_waker_takes() {
    take_the_edge(true, false);
}

/// W01, R01.
#[test]
fn an_edge_is_not_lost_that_the_drop_of_a_kept_waker_takes() {
    take_the_edge(true, true);
}

/// W03.
#[test]
fn a_poll_that_is_ready_for_writing_leaves_the_reader_alone() {
    run(async {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        let (foreign, waker) = Foreign::new();
        let mut buf = [0; 8];
        // One task reads by the trait, and waits.
        let mut reader = &ours;
        assert!(
            Pin::new(&mut reader)
                .poll_read(&mut Context::from_waker(&waker), &mut buf)
                .is_pending()
        );
        // Another one asks for either direction, and may write at once.
        poll_fn(|cx| {
            ours.poll_io(cx, Interest::READABLE | Interest::WRITABLE, |mut io| io.write(b"x"))
        })
        .await
        .unwrap();
        theirs.write_all(b"y").unwrap();
        sleep(millis(20)).await;
        assert_eq!(foreign.woken(), 1, "the reader was never woken");
    });
}

/// After the reactor was cleared a destructor polls once more; the socket is dropped on another thread.
struct OnDrop(Mutex<Option<Box<dyn FnOnce() + Send>>>);
impl std::task::Wake for OnDrop {
    fn wake(self: Arc<Self>) {}
}
impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(f) = self.0.lock().unwrap().take() {
            f()
        }
    }
}

/// W14, W12.
#[test]
fn a_waker_that_came_while_the_runtime_ended_is_dropped() {
    support::watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (foreign, waker) = Foreign::new();
        let (a, b, _pa, _pb) = {
            let _g = runtime.enter();
            let ((a, pa), (b, pb)) = (peer::pair(), peer::pair());
            let _ = a.try_read(&mut [0]);
            let _ = b.try_read(&mut [0]);
            (a, Arc::new(b), pa, pb)
        };
        let idle = Arc::strong_count(&foreign);
        let b2 = b.clone();
        let w = waker.clone();
        let f: Box<dyn FnOnce() + Send> = Box::new(move || {
            let mut s = &*b2;
            let polled = Pin::new(&mut s).poll_read(&mut Context::from_waker(&w), &mut [0]);
            assert!(matches!(polled, Poll::Pending));
        });
        let on_drop: Waker = Arc::new(OnDrop(Mutex::new(Some(f)))).into();
        {
            let _g = runtime.enter();
            let mut s = &a;
            assert!(
                Pin::new(&mut s)
                    .poll_read(&mut Context::from_waker(&on_drop), &mut [0])
                    .is_pending()
            );
        }
        drop(on_drop);
        drop(runtime);
        std::thread::spawn(move || drop(b)).join().unwrap();
        drop(a);
        assert_eq!(Arc::strong_count(&foreign), idle, "kept for ever");
    });
}
