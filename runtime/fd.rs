//! A descriptor registered with the reactor, and how an operation on it waits. Knows no protocol.
//!
//! Every operation is the same four steps: *budget* → *home?* (the runtime's own thread) → *try*, if
//! the direction is ready → *wait*, when the kernel says `WouldBlock`. All sockets are built on this.

mod futures;

pub(crate) use futures::{Claim, go_on};

use crate::current;
use crate::home;
use crate::interest::{Interest, Ready};
use crate::source::{At, Direction, Read, Source, Ticket, Write};
use crate::waker::mailbox_of;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;

/// Something with a descriptor, registered with the reactor of the runtime it was made in.
pub(crate) struct Registered<T> {
    // Declared first, so dropped first: the descriptor is deregistered before it is closed.
    registration: Registration,
    io: T,
}

pub(crate) struct Registration(Arc<Source>);

impl Drop for Registration {
    /// Takes the descriptor out again, before it is closed.
    fn drop(&mut self) {
        let source = &self.0;
        if let Some(parts) = home::on_this_thread(source.runtime()) {
            return parts.reactor.deregister(source);
        }
        // From elsewhere: out of the kernel's table at once, since the number may soon be another's; out of
        // ours by letter.
        let (source, is_lent) = (source.clone(), source.is_lent());
        if let (false, Some(mailbox)) = (is_lent, mailbox_of(source.runtime())) {
            mailbox.deregister(source.fd());
        }
        home::at_home(source.runtime(), move |parts| match is_lent {
            true => parts.reactor.deregister(&source),
            false => parts.reactor.forget(&source),
        });
    }
}

impl Registration {
    pub(crate) fn lend(&self) {
        self.0.lend();
    }

    /// The source, if this is the thread and the time to use it.
    #[inline]
    fn source(&self) -> io::Result<&Source> {
        let source = &*self.0;
        if source.runtime() == current::runtime() {
            Ok(source)
        } else {
            Err(not_home(source.runtime()))
        }
    }

    /// Tries `operation` while the descriptor is ready for any of `interest`; on `WouldBlock` waits for the next
    /// edge. No future can be dropped here: in each direction the last waker is kept.
    pub(crate) fn poll_io_kept<R>(
        &self,
        cx: &Context<'_>,
        interest: Interest,
        mut operation: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(current::poll_budget(cx));
        let source = self.source()?;
        while Ready::of(source, interest).is_some() {
            match operation() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => clear(source, interest),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    current::spend();
                    note(source, interest, &result);
                    if interest.reads() {
                        source.stop_kept::<Read>(cx.waker());
                    }
                    if interest.has(Interest::WRITABLE) {
                        source.stop_kept::<Write>(cx.waker());
                    }
                    return Poll::Ready(result);
                }
            }
        }
        wait(source, interest, [&mut { Ticket::POLL }, &mut { Ticket::POLL }], cx, None);
        Poll::Pending
    }
}

/// Waits for all of `interest`, with the tickets of a reader and of a writer.
fn wait(source: &Source, interest: Interest, tickets: [&mut Ticket; 2], cx: &Context<'_>, at: At) {
    let [read, write] = tickets;
    trace!(WaitsFor { source: source.index, urgent_only: !interest.has(Interest::READABLE) });
    if interest.reads() {
        source.wait::<Read>(read, cx.waker(), at);
    }
    if interest.has(Interest::WRITABLE) {
        source.wait::<Write>(write, cx.waker(), at);
    }
    // To clone a foreign waker for the second may have run a turn, and woken the first.
    if Ready::of(source, interest).is_some() {
        cx.waker().wake_by_ref();
    }
}

impl<T: AsFd> Registered<T> {
    /// # Errors
    /// Outside a runtime; or what `epoll_ctl` says, such as a descriptor registered already.
    pub(crate) fn new(io: T) -> io::Result<Registered<T>> {
        Registered::with_interest(io, Interest::ALL)
    }

    /// As `new`, for `interest` alone.
    pub(crate) fn with_interest(io: T, interest: Interest) -> io::Result<Registered<T>> {
        let Some(parts) = home::current_parts() else { return Err(outside()) };
        let source = parts.reactor.register(io.as_fd().as_raw_fd(), interest.bits())?;
        Ok(Registered { registration: Registration(source), io })
    }

    pub(crate) fn into_inner(self) -> T {
        let Registered { registration, io } = self;
        drop(registration);
        io
    }
}

impl<T> Registered<T> {
    pub(crate) fn get_ref(&self) -> &T {
        &self.io
    }

    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    pub(crate) fn split_mut(&mut self) -> (&Registration, &mut T) {
        (&self.registration, &mut self.io)
    }

    #[inline]
    pub(crate) fn source(&self) -> io::Result<&Source> {
        self.registration.source()
    }

    /// Tries `operation` if the direction is ready; on `WouldBlock` waits for the next edge.
    #[inline(always)]
    fn poll_io<D: Direction, R>(
        &self,
        cx: &Context<'_>,
        ticket: &mut Ticket,
        at: At,
        mut operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(current::poll_budget(cx));
        let source = self.source()?;
        if source.is_ready::<D>() {
            match operation(&self.io, source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.clear_ready::<D>()
                }
                // By a signal, which a call that never waits hardly ever says: in the next turn, then.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                result => {
                    current::spend();
                    if !D::IS_READ {
                        current::talks();
                    }
                    // The edge that made the direction ready has taken our waiter away.
                    *ticket = Ticket::default();
                    return Poll::Ready(result);
                }
            }
        }
        source.wait::<D>(ticket, cx.waker(), at);
        Poll::Pending
    }

    /// For the poll traits, where no future can be dropped: the last waker is kept, in place.
    #[inline]
    pub(crate) fn poll_io_kept<D: Direction, R>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_io::<D, R>(cx, &mut { Ticket::POLL }, None, operation)
    }

    /// Tries `operation` once, and remembers a `WouldBlock`.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce(&T, &Source) -> io::Result<R>,
    ) -> io::Result<R> {
        let source = self.source()?;
        let result = operation(&self.io, source);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => clear(source, interest),
            _ => {
                current::spend();
                note(source, interest, &result);
            }
        }
        result
    }

    /// Runs `operation` until it says something other than `WouldBlock`, waiting for `interest` in between.
    pub(crate) async fn async_io<R>(
        &self,
        interest: Interest,
        at: At,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.ready(interest, at).await?;
            match operation(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    clear(self.source()?, interest)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    note(&self.registration.0, interest, &result);
                    return result;
                }
            }
        }
    }
}

/// An operation is done: what it may have written may be answered, and what it has read may have been urgent.
fn note<R>(source: &Source, interest: Interest, result: &io::Result<R>) {
    if interest.has(Interest::WRITABLE) {
        current::talks();
    }
    if interest.has(Interest::PRIORITY) && result.is_ok() {
        source.was_urgent();
    }
}

fn clear(source: &Source, interest: Interest) {
    if interest.has(Interest::READABLE) {
        source.clear_ready::<Read>();
    }
    if interest.has(Interest::WRITABLE) {
        source.clear_ready::<Write>();
    }
    if interest.has(Interest::PRIORITY) {
        source.clear_priority();
    }
}

/// Calls `operation` again when a signal has interrupted it.
pub(crate) fn retry<R>(mut operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether there is nothing to read into, or to write: that is done at once.
pub(crate) fn are_empty(bufs: &[impl Deref<Target = [u8]>]) -> bool {
    bufs.iter().all(|buf| buf.is_empty())
}

/// Whether a socket can be made here.
pub(crate) fn check() -> io::Result<()> {
    if current::runtime() == 0 { Err(outside()) } else { Ok(()) }
}

fn outside() -> io::Error {
    io::Error::other(OUTSIDE)
}

const OUTSIDE: &str = "no runtime on this thread: make and use sockets inside `waken::block_on(async { … })`, or under `Runtime::enter`";

/// Why a socket of the runtime `id` cannot be used here.
#[cold]
fn not_home(id: u32) -> io::Error {
    current::spend();
    io::Error::other(match mailbox_of(id) {
        None => {
            "the runtime of this socket has ended: take it out with `into_std` (an `AsyncFd` with `into_inner`) before that, and make it anew in another runtime"
        }
        Some(mailbox) if mailbox.home() != thread::current().id() => {
            "this socket belongs to a runtime on another thread: use it there, or move it as std's, which `into_std` gives (of an `AsyncFd`, `into_inner`)"
        }
        Some(_) if current::runtime() == 0 => OUTSIDE,
        Some(_) => {
            "this socket belongs to another runtime of this thread: use it inside that one's `block_on`"
        }
    })
}
