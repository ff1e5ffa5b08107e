//! A descriptor registered with the reactor, and how an operation on it waits. Knows no protocol.
//!
//! Every operation is the same four steps: *home?* (the runtime's own thread) → *budget* → *try*, while the
//! direction is ready → *wait*, when the kernel says `WouldBlock`. All sockets are built on this file.

use crate::current;
use crate::runtime;
use crate::source::{At, Direction, Source, Ticket};
use crate::sys::{EPOLLERR, EPOLLHUP, EPOLLRDHUP};
use std::io;
use std::ops::BitOr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What to wait for: [`READABLE`](Interest::READABLE), [`WRITABLE`](Interest::WRITABLE), urgent data
/// ([`PRIORITY`](Interest::PRIORITY)), or any of them, joined by `|`.
///
/// ```
/// use waken::io::Interest;
/// let either = Interest::READABLE | Interest::WRITABLE;
/// assert_ne!(either, Interest::READABLE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// There may be something to read, an end of file and an error included.
    pub const READABLE: Interest = Interest(1);
    /// There may be room to write.
    pub const WRITABLE: Interest = Interest(2);
    /// There is urgent data (`EPOLLPRI`, see epoll_ctl(2)).
    pub const PRIORITY: Interest = Interest(4);

    fn has(self, other: Interest) -> bool {
        self.0 & other.0 != 0
    }

    fn reads(self) -> bool {
        self.has(Interest::READABLE | Interest::PRIORITY)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// What a socket is ready for. A hint, as epoll(7) gives it: the operation itself has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    const READ_CLOSED: u8 = 8;
    const WRITE_CLOSED: u8 = 16;
    const ERROR: u8 = 32;

    /// A read may have something to say.
    pub fn is_readable(self) -> bool {
        self.0 & Interest::READABLE.0 != 0
    }

    /// A write may find room.
    pub fn is_writable(self) -> bool {
        self.0 & Interest::WRITABLE.0 != 0
    }

    /// The peer writes no more (`EPOLLRDHUP` or `EPOLLHUP`). There may still be bytes to read.
    pub fn is_read_closed(self) -> bool {
        self.0 & Ready::READ_CLOSED != 0
    }

    /// Writing is over (`EPOLLHUP` or `EPOLLERR`).
    pub fn is_write_closed(self) -> bool {
        self.0 & Ready::WRITE_CLOSED != 0
    }

    /// The socket has an error (`EPOLLERR`); the next operation returns it.
    pub fn is_error(self) -> bool {
        self.0 & Ready::ERROR != 0
    }

    /// There is urgent data (`EPOLLPRI`).
    pub fn is_priority(self) -> bool {
        self.0 & Interest::PRIORITY.0 != 0
    }

    /// What `source` is ready for of `interest`; `None` when that is nothing.
    fn of(source: &Source, interest: Interest) -> Option<Ready> {
        let mut ready = 0;
        if source.is_ready(Direction::Read) {
            ready |= Interest::READABLE.0;
        }
        if source.is_ready(Direction::Write) {
            ready |= Interest::WRITABLE.0;
        }
        if source.is_priority() {
            ready |= Interest::PRIORITY.0;
        }
        ready &= interest.0;
        if ready == 0 {
            return None;
        }
        let last = source.last_event();
        let closed = [
            (EPOLLRDHUP | EPOLLHUP, Ready::READ_CLOSED),
            (EPOLLHUP | EPOLLERR, Ready::WRITE_CLOSED),
        ];
        for (bits, meaning) in closed.into_iter().chain([(EPOLLERR, Ready::ERROR)]) {
            if last & bits != 0 {
                ready |= meaning;
            }
        }
        Some(Ready(ready))
    }
}

/// Something with a descriptor, registered with the reactor of the runtime it was made in.
pub(crate) struct Registered<T> {
    // Declared first, so dropped first: the descriptor is deregistered before it is closed.
    registration: Registration,
    io: T,
}

struct Registration(Arc<Source>);

impl Drop for Registration {
    fn drop(&mut self) {
        runtime::deregister(&self.0);
    }
}

impl<T: AsFd> Registered<T> {
    /// # Errors
    /// Outside a runtime; or what `epoll_ctl` says, such as a descriptor registered already.
    pub(crate) fn new(io: T) -> io::Result<Registered<T>> {
        let source = runtime::register(io.as_fd().as_raw_fd())?;
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

    /// The source, if this is the thread and the time to use it.
    #[inline]
    pub(crate) fn source(&self) -> io::Result<&Source> {
        let source = &*self.registration.0;
        if source.runtime() == current::runtime() {
            Ok(source)
        } else {
            Err(runtime::not_home(source.runtime()))
        }
    }

    /// Tries `operation` while `direction` is ready; on `WouldBlock` waits for the next edge.
    #[inline]
    pub(crate) fn poll_io<R>(
        &self,
        cx: &Context<'_>,
        direction: Direction,
        ticket: &mut Ticket,
        at: At,
        mut operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let source = self.source()?;
        ready!(current::poll_budget(cx));
        while source.is_ready(direction) {
            match operation(&self.io, source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    source.clear_ready(direction)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    current::spend();
                    if ticket.is_taken() {
                        source.stop_waiting(direction, ticket);
                    }
                    return Poll::Ready(result);
                }
            }
        }
        source.wait(direction, ticket, cx.waker(), at);
        Poll::Pending
    }

    /// For the poll traits, where no future can be dropped: the last waker is kept, in place.
    #[inline]
    pub(crate) fn poll_io_kept<R>(
        &self,
        cx: &Context<'_>,
        direction: Direction,
        operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let mut kept = Ticket::POLL;
        self.poll_io(cx, direction, &mut kept, None, operation)
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

    /// A claim to be woken in `direction`.
    #[inline]
    pub(crate) fn claim(&self, direction: Direction) -> Claim<'_> {
        Claim { source: &self.registration.0, direction, ticket: Ticket::default() }
    }

    /// [`poll_io`](Registered::poll_io), by a claim.
    #[inline]
    pub(crate) fn poll_claimed<R>(
        &self,
        cx: &Context<'_>,
        claim: &mut Claim<'_>,
        at: At,
        operation: impl FnMut(&T, &Source) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_io(cx, claim.direction, &mut claim.ticket, at, operation)
    }

    /// The future of an operation. `operation` says `Ok(None)` when it got on, but is not done.
    #[inline]
    pub(crate) fn io<R, F>(&self, direction: Direction, at: At, operation: F) -> Io<'_, T, F, R>
    where
        F: FnMut(&T, &Source) -> io::Result<Option<R>>,
    {
        Io { on: self, claim: self.claim(direction), at, operation, at_once: None }
    }

    /// Waits until the descriptor is ready for something of `interest`. Consumes nothing.
    pub(crate) fn ready<R>(
        &self,
        interest: Interest,
        at: At,
        show: fn(Ready) -> R,
    ) -> Readiness<'_, R> {
        let (read, write) = (self.claim(Direction::Read), self.claim(Direction::Write));
        Readiness { read, write, interest, at, show }
    }

    /// Runs `operation` until it says something other than `WouldBlock`, waiting for `interest` in between.
    pub(crate) async fn async_io<R>(
        &self,
        interest: Interest,
        at: At,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.ready(interest, at, |ready| ready).await?;
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
        source.clear_ready(Direction::Read);
    }
    if interest.has(Interest::WRITABLE) {
        source.clear_ready(Direction::Write);
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
pub(crate) struct Claim<'a> {
    source: &'a Arc<Source>,
    direction: Direction,
    ticket: Ticket,
}

impl Drop for Claim<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_taken() {
            let (direction, mut ticket) = (self.direction, std::mem::take(&mut self.ticket));
            if self.source.runtime() == current::runtime() {
                self.source.stop_waiting(direction, &mut ticket);
            } else {
                let source = self.source.clone();
                runtime::at_home(source.runtime(), move |_| {
                    source.stop_waiting(direction, &mut ticket)
                });
            }
        }
    }
}

/// An operation that waits until the kernel lets it through.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Io<'a, T, F, R> {
    on: &'a Registered<T>,
    claim: Claim<'a>,
    at: At,
    operation: F,
    at_once: Option<R>,
}

impl<T, F, R> Io<'_, T, F, R> {
    /// Ready with `result`, and asks nobody, when `empty`: there is nothing to transfer.
    #[inline]
    pub(crate) fn at_once(mut self, empty: bool, result: R) -> Self {
        self.at_once = empty.then_some(result);
        self
    }
}

// The operation is a closure that is called, never a future that is pinned.
impl<T, F, R> Unpin for Io<'_, T, F, R> {}

impl<T, F, R> Future for Io<'_, T, F, R>
where
    F: FnMut(&T, &Source) -> io::Result<Option<R>>,
{
    type Output = io::Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let Io { on, claim, at, operation, at_once } = self.get_mut();
        if let Some(result) = at_once.take() {
            return Poll::Ready(Ok(result));
        }
        loop {
            if let Some(result) = ready!(on.poll_claimed(cx, claim, *at, &mut *operation))? {
                return Poll::Ready(Ok(result));
            }
        }
    }
}

/// Waits for readiness and reads nothing.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Readiness<'a, R> {
    read: Claim<'a>,
    write: Claim<'a>,
    interest: Interest,
    at: At,
    show: fn(Ready) -> R,
}

impl<R> Future for Readiness<'_, R> {
    type Output = io::Result<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let Readiness { read, write, interest, at, show } = self.get_mut();
        let source = &**read.source;
        if source.runtime() != current::runtime() {
            return Poll::Ready(Err(runtime::not_home(source.runtime())));
        }
        ready!(current::poll_budget(cx));
        if let Some(ready) = Ready::of(source, *interest) {
            current::spend();
            return Poll::Ready(Ok(show(ready)));
        }
        if interest.reads() {
            source.wait(Direction::Read, &mut read.ticket, cx.waker(), *at);
        }
        if interest.has(Interest::WRITABLE) {
            source.wait(Direction::Write, &mut write.ticket, cx.waker(), *at);
        }
        Poll::Pending
    }
}
