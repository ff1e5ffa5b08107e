//! The kernel, as the models see it: eventfds with edges, and an epoll instance that waits for them. All that is no
//! descriptor is the real `runtime/sys.rs`.

pub(crate) use crate::kernel::sys::{
    AtomicLocation, COUNTS_CLONES, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP,
    NumberTable, WakeNumber, number_waker, pin_to, processors,
};
/// The real one, with the eventfd below.
#[path = "../../../runtime/sys/signal.rs"]
mod signal;

pub(crate) use signal::{Caught, Handler};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::real::cell::{Cell, RefCell};
use std::real::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

// The model of a runtime is in one process, and no fork is modelled.
pub(crate) fn process() -> u32 {
    0
}

pub(crate) fn count_forks() {}

pub(crate) fn coarse_clock() -> u32 {
    0
}

pub(crate) fn coarse_age(_: u32) -> Duration {
    Duration::ZERO
}

/// What one execution of a model has done so far.
pub(crate) struct Calls {
    /// Writes to eventfds.
    pub(crate) writes: Cell<u32>,
    /// Waits without a timeout.
    pub(crate) sleeps: Cell<u32>,
    /// Descriptors that are open.
    open: RefCell<BTreeMap<RawFd, Weak<Event>>>,
    last_fd: Cell<RawFd>,
    /// Whoever is told of an edge sees what was written before it.
    pub(crate) orders: Cell<bool>,
    /// So many eventfds more, and the next one is refused; negative: never.
    pub(crate) until_refused: Cell<i32>,
}

// Beside the model: loom runs all its threads on one of the kernel's.
std::real::thread_local! {
    pub(crate) static CALLS: Calls = const { Calls {
        writes: Cell::new(0),
        sleeps: Cell::new(0),
        open: RefCell::new(BTreeMap::new()),
        last_fd: Cell::new(0),
        orders: Cell::new(false),
        until_refused: Cell::new(-1),
    } };
}

impl Calls {
    /// An execution begins.
    pub(crate) fn forget() {
        CALLS.with(|calls| {
            calls.writes.set(0);
            calls.sleeps.set(0);
            calls.orders.set(false);
            calls.until_refused.set(-1);
            calls.open.borrow_mut().clear();
        });
    }
}

fn count(counter: impl FnOnce(&Calls) -> &Cell<u32>) {
    CALLS.with(|calls| {
        let counter = counter(calls);
        counter.set(counter.get() + 1);
    });
}

/// What makes a descriptor ready, one edge for each write. It orders no memory by itself, since no manual page says so,
/// unless the model asks for it (in every kernel it does, by the lock of its wait queue). But whoever was asleep sees
/// what was written before the edge that woke it: loom knows no other sleep.
#[derive(Debug)]
struct Event {
    edges: AtomicUsize,
    sleeper: Notify,
}

impl Event {
    fn open() -> (RawFd, Arc<Event>) {
        let event = Arc::new(Event { edges: AtomicUsize::new(0), sleeper: Notify::new() });
        let fd = CALLS.with(|calls| {
            calls.last_fd.set(calls.last_fd.get() + 1);
            calls.open.borrow_mut().insert(calls.last_fd.get(), Arc::downgrade(&event));
            calls.last_fd.get()
        });
        (fd, event)
    }

    fn edge(&self) {
        self.edges.fetch_add(1, order());
        self.sleeper.notify();
    }

    /// A read-modify-write: the kernel's own state is never stale.
    fn edges(&self) -> usize {
        self.edges.fetch_add(0, order())
    }
}

fn order() -> Ordering {
    if CALLS.with(|calls| calls.orders.get()) { Ordering::AcqRel } else { Ordering::Relaxed }
}

#[derive(Debug)]
pub(crate) struct EventFd {
    fd: RawFd,
    event: Arc<Event>,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<EventFd> {
        let refused =
            CALLS.with(|calls| calls.until_refused.replace(calls.until_refused.get() - 1));
        if refused == 0 {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let (fd, event) = Event::open();
        Ok(EventFd { fd, event })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(crate) fn signal(&self) {
        count(|calls| &calls.writes);
        self.event.edge();
    }
}

/// Rings at once or never: no model waits for a time. It is never refused, since most runtimes can do without.
pub(crate) struct TimerFd(EventFd);

impl TimerFd {
    pub(crate) fn new() -> io::Result<TimerFd> {
        let (fd, event) = Event::open();
        Ok(TimerFd(EventFd { fd, event }))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd
    }

    pub(crate) fn set(&self, left: Option<Duration>) -> io::Result<()> {
        if left == Some(Duration::ZERO) {
            self.0.event.edge();
        }
        Ok(())
    }
}

/// The mailbox's eventfd comes first; the alarm is a second descriptor, on which nobody sleeps.
pub(crate) struct Epoll(RefCell<Vec<Watched>>);

struct Watched {
    event: Arc<Event>,
    seen: Cell<usize>,
    datum: u64,
}

// SAFETY: loom's threads take turns on one thread.
unsafe impl Send for Epoll {}
// SAFETY: likewise.
unsafe impl Sync for Epoll {}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        Ok(Epoll(RefCell::default()))
    }

    pub(crate) fn add(&self, fd: RawFd, _bits: i32, datum: u64) -> io::Result<()> {
        let event = CALLS.with(|calls| calls.open.borrow().get(&fd).and_then(Weak::upgrade));
        let event = event.ok_or(io::ErrorKind::NotFound)?;
        self.0.borrow_mut().push(Watched { event, seen: Cell::new(0), datum });
        Ok(())
    }

    pub(crate) fn remove(&self, _fd: RawFd) -> io::Result<()> {
        unreachable!("no model has a socket")
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        match timeout {
            None => {
                count(|calls| &calls.sleeps);
                self.sleep();
            }
            Some(Duration::ZERO) => {}
            Some(_) => unreachable!("no model waits for a time"),
        }
        events.0.clear();
        for watched in &*self.0.borrow() {
            let edges = watched.event.edges();
            if watched.seen.replace(edges) != edges {
                events.0.push(watched.datum);
            }
        }
        Ok(events.0.len())
    }

    /// Whether whoever polls this descriptor would be told that it is readable.
    pub(crate) fn is_readable(&self) -> bool {
        self.0.borrow().iter().any(|watched| watched.event.edges() != watched.seen.get())
    }

    /// Until it is: the sleep of `wait`, or of somebody else's loop on this descriptor.
    pub(crate) fn sleep(&self) {
        while !self.is_readable() {
            self.0.borrow()[0].event.sleeper.wait();
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("a model's descriptor is no real one")
    }
}

pub(crate) struct Events(Vec<u64>);

impl Events {
    pub(crate) fn with_capacity(_: usize) -> Events {
        Events(Vec::new())
    }

    /// More than there are descriptors.
    pub(crate) fn capacity(&self) -> usize {
        usize::MAX
    }

    pub(crate) fn first(&self, n: usize) -> impl Iterator<Item = (u64, i32)> {
        self.0[..n].iter().map(|datum| (*datum, EPOLLIN))
    }
}
