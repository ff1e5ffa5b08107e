//! Accepting that can neither spin nor stall: what every listener is built on.
//!
//! Out of descriptors, `accept` fails at once and for ever, while the queue of clients stays. A loop that logs
//! the error and goes on would burn the CPU. So that error is given out once, and then the next accept waits,
//! longer each time; the readiness is kept meanwhile, since no edge will come for clients that are queued already.

use crate::fd::{Claim, Registered, go_on};
use crate::interest::Interest;
use crate::source::{Read, Source};
use crate::sys::{self, AcceptFailure};
use crate::time::{Sleep, sleep_at};
use crate::waker::{drop_contained, wake_contained};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The line that accepts, and pauses.
type Line = &'static Location<'static>;

/// A socket of std's that accepts.
pub(crate) trait Listener: AsFd {
    type Client;
    /// One call, which does not wait.
    fn accept_once(&self) -> io::Result<Self::Client>;
}

pub(crate) struct Acceptor<L> {
    listener: Registered<L>,
    /// Whether `pause` is to be looked at. Nearly always false.
    pausing: AtomicBool,
    pause: Mutex<Pause>,
}

#[derive(Default)]
struct Pause {
    /// Doubled by every failure in a row.
    length: Duration,
    until: Option<Instant>,
    /// That of `poll_accept`, where no future is there to keep it.
    kept: Option<Sleep>,
    /// Who waits for its end, by a ticket, of which the last is `tickets`. 0 is that of `poll_accept`.
    waiting: Vec<(u64, Waker)>,
    tickets: u64,
}

impl<L: Listener> Acceptor<L> {
    /// `listener` is to be non-blocking.
    pub(crate) fn new(listener: L) -> io::Result<Acceptor<L>> {
        let listener = Registered::new(listener)?;
        Ok(Acceptor { listener, pausing: AtomicBool::new(false), pause: Mutex::default() })
    }

    pub(crate) fn get_ref(&self) -> &L {
        self.listener.get_ref()
    }

    pub(crate) fn into_inner(self) -> L {
        self.listener.into_inner()
    }

    /// What waits for clients, one after the other.
    pub(crate) fn accepting(&self, at: Line) -> Accepting<'_, L> {
        let claim = self.listener.claim(Some(at), false);
        Accepting { acceptor: self, claim, at, pause: None, ticket: 0 }
    }

    /// The same through a poll function, where no future can be dropped: the last waker is kept.
    pub(crate) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
        at: Line,
    ) -> Poll<io::Result<L::Client>> {
        if self.pausing.load(Relaxed) {
            // Taken out while it is polled: a waker's code must not run under the lock.
            let mut kept = self.pause().kept.take();
            let over = self.poll_pause(cx, &mut kept, at);
            if over.is_pending() {
                self.wait_for_success(cx, 0);
            }
            let before = mem::replace(&mut self.pause().kept, kept);
            drop(before);
            ready!(over);
        }
        self.poll_next_client(|| self.listener.poll_io_kept::<Read, _>(cx, accept))
    }

    /// One accept that does not wait, neither for a client nor for descriptors.
    pub(crate) fn try_accept(&self) -> io::Result<L::Client> {
        loop {
            if let Some(accepted) = self.listener.try_io(Interest::READABLE, accept).transpose() {
                return self.settle(accepted);
            }
        }
    }

    /// Tries `once` until it says something else than that a client has gone again.
    fn poll_next_client(
        &self,
        once: impl FnMut() -> Poll<io::Result<Option<L::Client>>>,
    ) -> Poll<io::Result<L::Client>> {
        Poll::Ready(self.settle(ready!(go_on(once))))
    }

    /// Waits until it makes sense to accept again.
    fn poll_pause(&self, cx: &Context<'_>, pause: &mut Option<Sleep>, at: Line) -> Poll<()> {
        if !self.pausing.load(Relaxed) {
            return Poll::Ready(());
        }
        let until = self.pause().until;
        let Some(until) = until else { return Poll::Ready(()) };
        // A new one and no `reset`, which would put its way home into every program that accepts.
        pause.take_if(|sleep| sleep.deadline() != Some(until));
        let sleep = pause.get_or_insert_with(|| sleep_at(until, at));
        // Free of budget: the accept that follows spends it, and a pause that spent the last of it would come first again.
        sleep.poll_elapsed(cx)
    }

    /// A success elsewhere ends a pause before its time, and wakes who has this ticket.
    fn wait_for_success(&self, cx: &Context<'_>, ticket: u64) {
        // Cloned and dropped outside of the lock: a foreign one is somebody's code.
        let waker = cx.waker().clone();
        let mut pause = self.pause();
        let before = match pause.waiting.iter_mut().find(|(its, _)| *its == ticket) {
            Some((_, before)) => Some(mem::replace(before, waker)),
            None => {
                pause.waiting.push((ticket, waker));
                None
            }
        };
        drop(pause);
        before.into_iter().for_each(drop_contained);
    }

    /// Makes the next accept wait after an error that will not go away by itself.
    fn settle(&self, accepted: io::Result<L::Client>) -> io::Result<L::Client> {
        match &accepted {
            Ok(_) if self.pausing.load(Relaxed) => {
                self.pausing.store(false, Relaxed);
                let mut pause = self.pause();
                (pause.length, pause.until) = (Duration::ZERO, None);
                let waiting = mem::take(&mut pause.waiting);
                drop(pause);
                waiting.into_iter().for_each(|(_, waker)| wake_contained(waker));
            }
            Err(error) if sys::accept_failure(error) == AcceptFailure::OutOfResources => {
                let mut pause = self.pause();
                pause.length = (2 * pause.length).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                pause.until = Some(Instant::now() + pause.length);
                self.pausing.store(true, Relaxed);
            }
            _ => {}
        }
        accepted
    }

    fn next_ticket(&self) -> u64 {
        let mut pause = self.pause();
        pause.tickets += 1;
        pause.tickets
    }
}

impl<L> Acceptor<L> {
    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Acceptor::accepting`].
pub(crate) struct Accepting<'a, L> {
    acceptor: &'a Acceptor<L>,
    claim: Claim<'a, L, Read>,
    at: Line,
    pause: Option<Sleep>,
    /// Among those who wait for the end of a pause, or 0.
    ticket: u64,
}

impl<L> Drop for Accepting<'_, L> {
    fn drop(&mut self) {
        if self.ticket != 0 {
            let mut pause = self.acceptor.pause();
            let found = pause.waiting.iter().position(|(its, _)| *its == self.ticket);
            let waker = found.map(|place| pause.waiting.swap_remove(place).1);
            drop(pause);
            waker.into_iter().for_each(drop_contained);
        }
    }
}

impl<L: Listener> Accepting<'_, L> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<L::Client>> {
        let Accepting { acceptor, claim, at, pause, ticket } = self;
        if acceptor.poll_pause(cx, pause, at).is_pending() {
            if *ticket == 0 {
                *ticket = acceptor.next_ticket();
            }
            acceptor.wait_for_success(cx, *ticket);
            return Poll::Pending;
        }
        acceptor.poll_next_client(|| claim.poll(cx, accept))
    }
}

/// `Ok(None)`: this client has gone; ask for the next, and let it count as an operation.
fn accept<L: Listener>(listener: &L, _: &Source) -> io::Result<Option<L::Client>> {
    match listener.accept_once() {
        Ok(client) => Ok(Some(client)),
        Err(error) if sys::accept_failure(&error) == AcceptFailure::AskAgain => {
            // From what does not listen this error comes for ever.
            if sys::is_listening(listener.as_fd().as_raw_fd()) { Ok(None) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}
