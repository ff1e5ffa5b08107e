//! Signals, as a stream of their numbers. The handler sets a bit and writes an eventfd; the rest happens in tasks.

use crate::async_fd::AsyncFd;
use crate::interest::Interest;
use crate::sys::{Caught, Handler, SIGINT};
use futures_core::Stream;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Signals that come to this process, from when it was made on.
///
/// Other handlers of the same signal, of other libraries too, are called as well. While one `Signals` waits for a signal,
/// that no longer ends the process, nor does it after all of them are dropped: the system's default does
/// not come back. Several that come before one is taken are one, as signals are.
///
/// ```no_run
/// use waken::signal::Signals;
///
/// waken::block_on(async {
///     let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
///     let signal = signals.next().await;
///     println!("signal {signal}: finishing what is in flight");
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[must_use = "streams do nothing unless they are polled"]
pub struct Signals {
    caught: AsyncFd<Pending>,
    handlers: Vec<(i32, Handler)>,
}

/// With the descriptor that has an edge for each signal.
struct Pending(Arc<Caught>);

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event().as_fd()
    }
}

impl Signals {
    /// Begins to catch `signals`, by their numbers: `libc::SIGTERM`, …
    ///
    /// # Errors
    /// `InvalidInput` for what no handler may catch (`SIGKILL`, `SIGSTOP`, `SIGSEGV`, `SIGILL`, `SIGFPE`) or is no
    /// signal; outside of a runtime; out of descriptors.
    pub fn new(signals: impl IntoIterator<Item = i32>) -> io::Result<Signals> {
        let shared = Arc::new(Caught::new()?);
        // Before any handler: one that was installed takes the place of the default for ever.
        let caught = AsyncFd::with_interest(Pending(shared.clone()), Interest::READABLE)?;
        let handlers = signals
            .into_iter()
            .map(|signal| Ok((signal, Handler::new(signal, shared.clone())?)))
            .collect::<io::Result<_>>()?;
        Ok(Signals { caught, handlers })
    }

    /// Waits for the next signal, and returns its number. Cancel safe.
    ///
    /// # Panics
    /// On another thread than the runtime's, and after its end: no signal would ever come.
    #[allow(clippy::should_implement_trait)] // `StreamExt::next` is the one it looks like, and means the same.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = i32> {
        let next = self.caught.async_io(Interest::READABLE, taken);
        async move { next.await.unwrap_or_else(|error| panic!("`Signals::next`: {error}")) }
    }
}

fn taken(pending: &Pending) -> io::Result<i32> {
    // A signal that comes just now has an edge that comes after it.
    pending.0.take().ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

/// As [`Signals::next`], without end.
impl Stream for Signals {
    type Item = i32;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<i32>> {
        let taken = ready!(self.caught.poll_io(cx, Interest::READABLE, taken));
        Poll::Ready(Some(taken.unwrap_or_else(|error| panic!("`Signals`: {error}"))))
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signals: Vec<i32> = self.handlers.iter().map(|(signal, _)| *signal).collect();
        f.debug_struct("Signals").field("signals", &signals).finish_non_exhaustive()
    }
}

/// Waits for `SIGINT`, which Ctrl-C in a terminal sends: one that comes after this call, or outside of a runtime, as in
/// `block_on(ctrl_c())`, after the first poll. See [`Signals`], also for what becomes of the default. Cancel safe.
///
/// # Errors
/// Polled outside of a runtime; out of descriptors.
///
/// ```no_run
/// waken::block_on(async {
///     let stop = waken::signal::ctrl_c();
///     println!("press Ctrl-C");
///     stop.await
/// }).unwrap();
/// ```
#[track_caller]
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    let signals = Signals::new([SIGINT]);
    async move {
        signals.or_else(|_| Signals::new([SIGINT]))?.next().await;
        Ok(())
    }
}
