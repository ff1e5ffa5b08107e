//! The runtimes of this thread, and the way home to one from anywhere. A socket, a timer and a handle hold
//! numbers; here they find what the numbers mean.

use super::Inner;
use crate::current;
use crate::source::Source;
use crate::waker;
use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
    /// All that live on this thread, current or not: a handle may be dropped outside of `block_on`.
    static HERE: RefCell<Vec<(u16, Weak<Inner>)>> = const { RefCell::new(Vec::new()) };
}

/// Makes `next` current, or nobody, and returns who was. The ready queues go the same ways.
pub(super) fn make_current(next: Option<Rc<Inner>>) -> Option<Rc<Inner>> {
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
pub(crate) fn current_inner() -> Option<Rc<Inner>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The runtime `id`, if it lives on this thread.
#[inline]
pub(crate) fn on_this_thread(id: u16) -> Option<Rc<Inner>> {
    match current_inner() {
        Some(inner) if inner.id == id => Some(inner),
        _ => HERE
            .try_with(|here| {
                here.borrow()
                    .iter()
                    .find(|(other, _)| *other == id)
                    .and_then(|(_, inner)| inner.upgrade())
            })
            .ok()
            .flatten(),
    }
}

/// Runs `job` on the runtime `id`: now, if it lives on this thread, by letter, if on another. When it
/// has ended there is nothing left to be done there, and the job is dropped.
pub(crate) fn at_home(id: u16, job: impl FnOnce(&Inner) + Send + 'static) {
    if let Some(inner) = on_this_thread(id) {
        let _current = (current::runtime() != id).then(|| inner.enter());
        job(&inner);
    } else if let Some(mailbox) = waker::mailbox_of(id) {
        let job = move || {
            if let Some(inner) = on_this_thread(id) {
                job(&inner);
            }
        };
        let _ended = mailbox.post(Box::new(job));
    }
}

/// Registers a descriptor with the current runtime.
pub(crate) fn register(fd: RawFd) -> io::Result<Arc<Source>> {
    match current_inner() {
        Some(inner) => inner.reactor.register(fd),
        None => Err(outside()),
    }
}

/// Takes a descriptor out again, before it is closed.
pub(crate) fn deregister(source: &Arc<Source>) {
    match on_this_thread(source.runtime()) {
        Some(inner) => inner.reactor.deregister(source),
        // From elsewhere the descriptor can only be closed; its key is posted home.
        None => {
            let key = source.key();
            at_home(source.runtime(), move |inner| inner.reactor.forget(key));
        }
    }
}

fn outside() -> io::Error {
    io::Error::other(
        "no runtime on this thread: make and use sockets inside `waken::block_on(async { … })`, or under `Runtime::enter`",
    )
}

/// Why a socket of the runtime `id` cannot be used here.
#[cold]
pub(crate) fn not_home(id: u16) -> io::Error {
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
pub(crate) fn expect_current(what: &str) -> Rc<Inner> {
    match current_inner() {
        Some(inner) => inner,
        None => panic!(
            "`{what}` outside of a runtime: call it inside `waken::block_on(async {{ … }})`, or under `Runtime::enter`"
        ),
    }
}

/// A new runtime lives here.
pub(super) fn settle(inner: &Rc<Inner>) {
    // Fails only while the thread ends; then handles that outlive their `block_on` find nothing.
    let _ = HERE.try_with(|here| here.borrow_mut().push((inner.id, Rc::downgrade(inner))));
}

/// It has ended: the handles that are left find nothing from here on.
pub(super) fn leave(inner: &Inner) {
    let _ = HERE.try_with(|here| here.borrow_mut().retain(|(id, _)| *id != inner.id));
}
