//! The parts of a runtime, and the way home to them. A socket, a timer and a handle hold numbers; here
//! they find what the numbers mean, from the runtime's own thread or from any other. Runs nothing: the loop is
//! in `runtime.rs`.

use crate::current::{self, Lent, Outer};
use crate::executor::{About, Executor, TaskKey};
use crate::mailbox::Mailbox;
use crate::reactor::Reactor;
use crate::source::Source;
use crate::spawned::erase;
use crate::sys::{self, Epoll};
use crate::timers::Timers;
use crate::waker;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread;

pub(crate) struct Parts {
    pub(crate) id: u32,
    pub(crate) process: u32,
    pub(crate) executor: Executor,
    pub(crate) reactor: Reactor,
    pub(crate) timers: Timers,
    pub(crate) mailbox: Arc<Mailbox>,
    /// The ready queue, while it is not lent to the thread.
    lent: RefCell<Option<Lent>>,
    pub(crate) polls_per_turn: usize,
    pub(crate) turns: Cell<u64>,
    /// The coarse clock, read once a turn.
    pub(crate) now: Cell<u32>,
}

impl Parts {
    pub(crate) fn new(
        events_per_poll: usize,
        polls_per_turn: usize,
        budget: i32,
    ) -> io::Result<Parts> {
        sys::count_forks();
        let epoll = Arc::new(Epoll::new()?);
        let mailbox = Arc::new(Mailbox::new(Arc::downgrade(&epoll))?);
        let id = waker::register(&mailbox)?;
        let reactor = Reactor::new(id, epoll, mailbox.event_fd(), events_per_poll)
            .inspect_err(|_| waker::unregister(id))?;
        Ok(Parts {
            id,
            process: sys::process(),
            executor: Executor::new(id),
            reactor,
            timers: Timers::new(),
            mailbox,
            lent: RefCell::new(Some(Lent::new(id, budget))),
            polls_per_turn,
            turns: Cell::new(0),
            now: Cell::new(sys::coarse_clock()),
        })
    }

    /// Makes this the thread's current runtime, until the result is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        let poll = current::suspend_poll();
        Entered { of: self.id, before: Some((make_current(Some(self.clone())), poll)) }
    }

    pub(crate) fn spawn<F>(&self, future: F, about: About) -> TaskKey
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.executor.spawn(erase(future), about, self.now.get())
    }
}

/// See [`Parts::enter`].
pub(crate) struct Entered {
    of: u32,
    before: Option<(Option<Rc<Parts>>, Outer)>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some((outer, poll)) = self.before.take() {
            let in_order = current::runtime() == self.of;
            drop(make_current(outer.filter(|_| in_order)));
            current::resume_poll(poll);
            assert!(
                in_order || thread::panicking(),
                "`EnterGuard`s are to be dropped in the reverse order of their making"
            );
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Parts>>> = const { RefCell::new(None) };
    /// All that live on this thread, current or not: a handle may be dropped outside of `block_on`.
    static HERE: RefCell<Vec<(u32, Weak<Parts>)>> = const { RefCell::new(Vec::new()) };
}

/// Makes `next` current, or nobody, and returns who was. The ready queues go the same ways.
fn make_current(next: Option<Rc<Parts>>) -> Option<Rc<Parts>> {
    // Fails only while the thread ends: then there was none.
    let last = CURRENT.try_with(|current| current.replace(next.clone())).ok().flatten();
    if current::runtime() == next.as_ref().map_or(0, |next| next.id) {
        return last;
    }
    let lent = current::exchange(next.and_then(|next| next.lent.take()));
    if let Some(last) = &last {
        *last.lent.borrow_mut() = Some(lent);
    }
    last
}

/// Cloned, so that no borrow is held while the caller uses it.
#[inline]
pub(crate) fn current_parts() -> Option<Rc<Parts>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The runtime `id`, if it lives on this thread.
#[inline]
pub(crate) fn on_this_thread(id: u32) -> Option<Rc<Parts>> {
    match current_parts() {
        Some(parts) if parts.id == id => Some(parts),
        _ => HERE
            .try_with(|here| {
                here.borrow()
                    .iter()
                    .find(|(other, _)| *other == id)
                    .and_then(|(_, parts)| parts.upgrade())
            })
            .ok()
            .flatten(),
    }
}

/// Runs `job` on the runtime `id`: now, if it lives on this thread, by letter, if on another. When it
/// has ended there is nothing left to be done there, and the job is dropped.
pub(crate) fn at_home(id: u32, job: impl FnOnce(&Parts) + Send + 'static) {
    if let Some(parts) = on_this_thread(id) {
        let _current = (current::runtime() != id).then(|| parts.enter());
        job(&parts);
    } else if let Some(mailbox) = waker::mailbox_of(id) {
        let job = move || {
            if let Some(parts) = on_this_thread(id) {
                job(&parts);
            }
        };
        let _ended = mailbox.post(Box::new(job));
    }
}

/// Registers a descriptor with the current runtime.
pub(crate) fn register(fd: RawFd) -> io::Result<Arc<Source>> {
    match current_parts() {
        Some(parts) => parts.reactor.register(fd),
        None => Err(outside()),
    }
}

/// Takes a descriptor out again, before it is closed.
pub(crate) fn deregister(source: &Arc<Source>) {
    match on_this_thread(source.runtime()) {
        Some(parts) => parts.reactor.deregister(source),
        // From elsewhere: out of the kernel's table at once, since the number may soon be another's; out of
        // ours by letter.
        None => {
            if let Some(mailbox) = waker::mailbox_of(source.runtime()) {
                mailbox.deregister(source.fd());
            }
            let key = source.key();
            at_home(source.runtime(), move |parts| parts.reactor.forget(key));
        }
    }
}

/// Whether a socket can be made here.
pub(crate) fn check() -> io::Result<()> {
    if current::runtime() == 0 { Err(outside()) } else { Ok(()) }
}

fn outside() -> io::Error {
    io::Error::other(
        "no runtime on this thread: make and use sockets inside `waken::block_on(async { … })`, or under `Runtime::enter`",
    )
}

/// Why a socket of the runtime `id` cannot be used here.
#[cold]
pub(crate) fn not_home(id: u32) -> io::Error {
    current::spend();
    match waker::mailbox_of(id) {
        None => io::Error::other(
            "the runtime of this socket has ended: take the socket out with `into_std` before that, and make it anew in another runtime",
        ),
        Some(mailbox) if mailbox.home() != thread::current().id() => io::Error::other(
            "this socket belongs to a runtime on another thread: use it there, or move it as `std::net` socket with `into_std`",
        ),
        Some(_) if current::runtime() == 0 => outside(),
        Some(_) => io::Error::other(
            "this socket belongs to another runtime of this thread: use it inside that one's `block_on`",
        ),
    }
}

/// The current runtime, for what cannot do without.
#[track_caller]
pub(crate) fn expect_current(what: &str) -> Rc<Parts> {
    match current_parts() {
        Some(parts) => parts,
        None => panic!(
            "`{what}` outside of a runtime: call it inside `waken::block_on(async {{ … }})`, or under `Runtime::enter`"
        ),
    }
}

/// A new runtime lives here.
pub(crate) fn settle(parts: &Rc<Parts>) {
    // Fails only while the thread ends; then handles that outlive their `block_on` find nothing.
    let _ = HERE.try_with(|here| here.borrow_mut().push((parts.id, Rc::downgrade(parts))));
}

/// It has ended: the handles that are left find nothing from here on.
pub(crate) fn leave(parts: &Parts) {
    let _ = HERE.try_with(|here| here.borrow_mut().retain(|(id, _)| *id != parts.id));
}
