//! A descriptor registered with the reactor, and how an operation on it waits. Knows no protocol.
//!
//! Every operation is the same four steps: *home?* (the runtime's own thread) → *budget* → *try*, while
//! the direction is ready → *wait*, when the kernel says `WouldBlock`. All sockets are built on this.

use crate::current;
use crate::home;
use crate::interest::{Interest, Ready};
use crate::source::{At, Direction, Read, Source, Ticket, Write};
use crate::waker::mailbox_of;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
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
        if let Some(mailbox) = mailbox_of(source.runtime()) {
            mailbox.deregister(source.fd());
        }
        let source = source.clone();
        home::at_home(source.runtime(), move |parts| parts.reactor.forget(&source));
    }
}

impl Registration {
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
                    if interest.reads() {
                        source.stop_waiting::<Read>(&mut { Ticket::POLL });
                    }
                    if interest.has(Interest::WRITABLE) {
                        source.stop_waiting::<Write>(&mut { Ticket::POLL });
                    }
                    return Poll::Ready(result);
                }
            }
        }
        if interest.reads() {
            source.wait::<Read>(&mut { Ticket::POLL }, cx.waker(), None);
        }
        if interest.has(Interest::WRITABLE) {
            source.wait::<Write>(&mut { Ticket::POLL }, cx.waker(), None);
        }
        Poll::Pending
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

    /// Tries `operation` while the direction is ready; on `WouldBlock` waits for the next edge.
    #[inline]
    fn poll_io<D: Direction, R>(
        &self,
        cx: &Context<'_>,
        ticket: &mut Ticket,
        at: At,
        mut operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        ready!(current::poll_budget(cx));
        let source = self.source()?;
        while source.is_ready::<D>() {
            match operation(&self.io, source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.clear_ready::<D>()
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    current::spend();
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
            _ => current::spend(),
        }
        result
    }

    /// A claim to be woken in one direction.
    #[inline]
    pub(crate) fn claim<D: Direction>(&self, at: At, is_empty: bool) -> Claim<'_, T, D> {
        Claim { on: self, at, ticket: Ticket::default(), is_empty, direction: PhantomData }
    }

    /// The future of an operation. `operation` says `Ok(None)` when it got on, but is not done. With nothing
    /// to transfer (`empty`) it is ready at once, and nobody is asked.
    #[inline]
    pub(crate) fn io<D, F, R>(&self, at: At, empty: bool, operation: F) -> Io<'_, T, D, F>
    where
        D: Direction,
        F: FnMut(&T, &Source) -> io::Result<Option<R>>,
    {
        Io { claim: self.claim(at, empty), operation }
    }

    /// The future of one call, of a message, say: `operation` is asked also when there is nothing to transfer.
    pub(crate) fn call<D: Direction, R>(
        &self,
        at: At,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> impl Future<Output = io::Result<R>> {
        let mut claim = self.claim::<D>(at, false);
        poll_fn(move |cx| claim.poll(cx, |io, _| operation(io)))
    }

    /// Waits until there may be something to read. Takes nothing.
    pub(crate) fn readable(&self, at: At) -> impl Future<Output = io::Result<()>> {
        self.io::<Read, _, _>(at, false, |_, _| Ok(Some(())))
    }

    pub(crate) fn writable(&self, at: At) -> impl Future<Output = io::Result<()>> {
        self.io::<Write, _, _>(at, false, |_, _| Ok(Some(())))
    }

    /// Waits until the descriptor is ready for something of `interest`. Takes nothing.
    pub(crate) fn ready(&self, interest: Interest, at: At) -> Readiness<'_, T> {
        Readiness { read: self.claim(at, false), write: self.claim(at, false), interest }
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
                result => return result,
            }
        }
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

/// A future's claim to be woken, given back on drop.
pub(crate) struct Claim<'a, T, D: Direction> {
    on: &'a Registered<T>,
    at: At,
    ticket: Ticket,
    /// For `Io`, and here since there is room beside the ticket.
    is_empty: bool,
    direction: PhantomData<fn(D)>,
}

impl<T, D: Direction> Claim<'_, T, D> {
    #[inline]
    pub(crate) fn poll<R>(
        &mut self,
        cx: &Context<'_>,
        operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.on.poll_io::<D, R>(cx, &mut self.ticket, self.at, operation)
    }

    #[cold]
    fn give_back(&mut self) {
        let (source, mut ticket) = (&self.on.registration.0, mem::take(&mut self.ticket));
        if source.runtime() == current::runtime() {
            source.stop_waiting::<D>(&mut ticket);
        } else {
            let source = source.clone();
            home::at_home(source.runtime(), move |_| source.stop_waiting::<D>(&mut ticket));
        }
    }
}

impl<T, D: Direction> Drop for Claim<'_, T, D> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_taken() {
            self.give_back();
        }
    }
}

/// An operation that waits until the kernel lets it through.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Io<'a, T, D: Direction, F> {
    claim: Claim<'a, T, D>,
    operation: F,
}

// The operation is a closure that is called, never a future that is pinned.
impl<T, D: Direction, F> Unpin for Io<'_, T, D, F> {}

impl<T, D, F, R> Future for Io<'_, T, D, F>
where
    D: Direction,
    F: FnMut(&T, &Source) -> io::Result<Option<R>>,
    R: Default,
{
    type Output = io::Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let Io { claim, operation } = self.get_mut();
        if claim.is_empty {
            return Poll::Ready(Ok(R::default()));
        }
        loop {
            if let Some(result) = ready!(claim.poll(cx, &mut *operation))? {
                return Poll::Ready(Ok(result));
            }
        }
    }
}

/// Waits for readiness and reads nothing.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Readiness<'a, T> {
    read: Claim<'a, T, Read>,
    write: Claim<'a, T, Write>,
    interest: Interest,
}

impl<T> Future for Readiness<'_, T> {
    type Output = io::Result<Ready>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let Readiness { read, write, interest } = self.get_mut();
        ready!(current::poll_budget(cx));
        let source = read.on.source()?;
        if let Some(ready) = Ready::of(source, *interest) {
            current::spend();
            return Poll::Ready(Ok(ready));
        }
        if interest.reads() {
            source.wait::<Read>(&mut read.ticket, cx.waker(), read.at);
        }
        if interest.has(Interest::WRITABLE) {
            source.wait::<Write>(&mut write.ticket, cx.waker(), write.at);
        }
        Poll::Pending
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
fn not_home(id: u32) -> io::Error {
    current::spend();
    match mailbox_of(id) {
        None => io::Error::other(
            "the runtime of this socket has ended: take it out with `into_std` (an `AsyncFd` with `into_inner`) before that, and make it anew in another runtime",
        ),
        Some(mailbox) if mailbox.home() != thread::current().id() => io::Error::other(
            "this socket belongs to a runtime on another thread: use it there, or move it as std's, which `into_std` gives (of an `AsyncFd`, `into_inner`)",
        ),
        Some(_) if current::runtime() == 0 => outside(),
        Some(_) => io::Error::other(
            "this socket belongs to another runtime of this thread: use it inside that one's `block_on`",
        ),
    }
}
