//! What one awaits of a registered descriptor: an operation, and readiness. Each holds a *claim* to be woken, which it
//! gives back when it is dropped.

use super::Registered;
use crate::current;
use crate::home;
use crate::interest::{Interest, Ready};
use crate::source::{At, Direction, Read, Source, Ticket, Write};
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

impl<T> Registered<T> {
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

    /// Waits until there may be room to write.
    pub(crate) fn writable(&self, at: At) -> impl Future<Output = io::Result<()>> {
        self.io::<Write, _, _>(at, false, |_, _| Ok(Some(())))
    }

    /// Waits until the descriptor is ready for something of `interest`. Takes nothing.
    pub(crate) fn ready(
        &self,
        interest: Interest,
        at: At,
    ) -> impl Future<Output = io::Result<Ready>> {
        let (mut read, mut write) = (self.claim::<Read>(at, false), self.claim::<Write>(at, false));
        poll_fn(move |cx| {
            ready!(current::poll_budget(cx));
            let source = self.source()?;
            if let Some(ready) = Ready::of(source, interest) {
                current::spend();
                return Poll::Ready(Ok(ready));
            }
            super::wait(source, interest, [&mut read.ticket, &mut write.ticket], cx, at);
            Poll::Pending
        })
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
        match ready!(claim.poll(cx, &mut *operation))? {
            Some(result) => Poll::Ready(Ok(result)),
            None => go_on(|| claim.poll(cx, &mut *operation)),
        }
    }
}

/// Polls what got on, but is not done. Apart, so that most operations, which are done at once, are no loop.
#[cold]
pub(crate) fn go_on<R>(
    mut poll: impl FnMut() -> Poll<io::Result<Option<R>>>,
) -> Poll<io::Result<R>> {
    loop {
        if let Some(result) = ready!(poll())? {
            return Poll::Ready(Ok(result));
        }
    }
}
