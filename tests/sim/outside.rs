//! Another thread, of which everything is waited for: it wakes tasks and drops sockets, and what it asks of the simulated kernel is
//! done here, in the same order. So a schedule has two threads, and is still the same each time.

use crate::kernel::{self, Waited};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Poll, Waker};
use std::thread;

/// What the other thread asks of the kernel.
pub(crate) enum Deed {
    Signal(c_int),
    Deregister(c_int),
    Close(c_int),
}

enum Errand {
    Wake(Waker),
    Drop(Box<dyn Any + Send>),
}

type Waiting = (Waker, Rc<Cell<bool>>);

thread_local! {
    static DEEDS: RefCell<Vec<Deed>> = const { RefCell::new(Vec::new()) };
    static WAITING: RefCell<VecDeque<Waiting>> = const { RefCell::new(VecDeque::new()) };
    static OTHER: (Sender<Errand>, Receiver<Vec<Deed>>) = other();
}

fn other() -> (Sender<Errand>, Receiver<Vec<Deed>>) {
    let (give, errands) = mpsc::channel();
    let (done, deeds) = mpsc::channel();
    thread::spawn(move || {
        for errand in errands {
            match errand {
                Errand::Wake(waker) => waker.wake(),
                Errand::Drop(what) => drop(what),
            }
            if done.send(DEEDS.with(RefCell::take)).is_err() {
                break;
            }
        }
    });
    (give, deeds)
}

/// Called on the other thread.
pub(crate) fn note(deed: Deed) {
    DEEDS.with(|deeds| deeds.borrow_mut().push(deed));
}

fn run(errand: Errand) {
    let deeds = OTHER.with(|(give, done)| {
        give.send(errand).unwrap();
        done.recv().unwrap()
    });
    for deed in deeds {
        kernel::with(|k| match deed {
            Deed::Signal(fd) => k.signal(fd),
            Deed::Deregister(fd) => k.epoll_ctl(libc::EPOLL_CTL_DEL, fd, (0, 0)),
            Deed::Close(fd) => k.close(fd),
        });
    }
}

/// A call begins or ends: the moment for everybody else.
pub(crate) fn comes_between() {
    if kernel::with(|k| k.comes_between()) {
        wake_one();
    }
}

fn wake_one() {
    let next = WAITING.with(|waiting| waiting.borrow_mut().pop_front());
    if let Some((waker, woken)) = next {
        woken.set(true);
        run(Errand::Wake(waker));
    }
}

/// `epoll_wait`.
pub(crate) fn sleep(most: usize, timeout_ns: Option<u64>) -> Result<Vec<(u32, u64)>, c_int> {
    comes_between();
    loop {
        match kernel::with(|k| k.wait(most, timeout_ns)) {
            Waited::Found(events) => return Ok(events),
            Waited::Failed(errno) => return Err(errno),
            Waited::Again(wakes) if wakes => wake_one(),
            Waited::Again(_) => {}
        }
    }
}

/// Waits until the other thread wakes us.
pub(crate) async fn be_woken() {
    let woken = Rc::new(Cell::new(false));
    let mut waits = false;
    poll_fn(|cx| {
        if woken.get() {
            return Poll::Ready(());
        }
        if !mem::replace(&mut waits, true) {
            let one = (cx.waker().clone(), woken.clone());
            WAITING.with(|waiting| waiting.borrow_mut().push_back(one));
            kernel::with(|k| k.waiting_outside += 1);
        }
        Poll::Pending
    })
    .await;
}

/// The schedule is over.
pub(crate) fn forget() {
    WAITING.with(|waiting| waiting.borrow_mut().clear());
}

/// Drops `what` on the other thread.
pub(crate) fn drop_there(what: impl Any + Send) {
    run(Errand::Drop(Box::new(what)));
}
