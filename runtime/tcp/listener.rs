//! The listener: accepting that can neither spin nor stall.
//!
//! Out of descriptors, `accept` fails at once and for ever, while the queue of clients stays. A loop that logs
//! the error and goes on would burn the CPU. So that error is given out once, and then the next accept waits,
//! longer each time; the readiness is kept meanwhile, since no edge will come for clients that are queued already.

use super::{AsyncTcpStream, TcpSocket, ToSocketAddrs};
use crate::current;
use crate::fd::{Claim, Registered};
use crate::interest::Interest;
use crate::source::{Read, Source};
use crate::sys::{self, AcceptFailure};
use crate::time::{Sleep, sleep_until};
use crate::waker::wake_contained;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// How many clients may wait to be accepted. The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts TCP connections.
///
/// Any number of tasks may accept; each client goes to one of them. As a stream, it is `Send + Sync`, and works on
/// its own runtime's thread.
///
/// ```
/// use waken::{AsyncTcpListener, AsyncTcpStream};
///
/// waken::block_on(async {
///     let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
///     let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
///     let (_stream, peer) = listener.accept().await?;
///     assert_eq!(peer, client.local_addr()?);
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
pub struct AsyncTcpListener {
    inner: Registered<net::TcpListener>,
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
    /// Who waits for its end. Those that have given up are left in until then.
    waiting: Vec<Waker>,
}

impl AsyncTcpListener {
    /// Listens on `addr`; of several addresses on the first that can be bound. `SO_REUSEADDR` is on, and up to
    /// 4,096 clients may wait to be accepted. Cancel safe. On `[::]` it follows the system whether IPv4 clients come too.
    ///
    /// # Errors
    /// The last address's error, see bind(2); outside of a runtime.
    #[doc(alias = "listen")]
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<AsyncTcpListener> {
        let mut result =
            Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no address to bind"));
        for address in addr.addresses().resolve().await? {
            current::operation().await;
            result = listen(address);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Waits for a client, and returns its connection and address.
    ///
    /// Cancel safe: a client that was not returned stays in the queue. A client that has gone again meanwhile, and
    /// the network errors that accept(2) says to retry, do not come out of here.
    ///
    /// # Errors
    /// Out of descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`): once, and then the next call waits
    /// first, 10 ms and each time twice as long up to 1 s, or until a client is accepted elsewhere. So a loop may log it and
    /// go on. `ENOSPC`: the client could not be registered and is closed (`max_user_watches`, epoll(7)). Other errors
    /// mean that the listener itself is broken.
    #[doc(alias = "accept4")]
    #[track_caller]
    pub fn accept(&self) -> impl Future<Output = io::Result<(AsyncTcpStream, SocketAddr)>> {
        let at = Some(Location::caller());
        let (mut pause, mut claim) = (None, self.inner.claim(at));
        poll_fn(move |cx| self.poll_accept_by(cx, &mut pause, &mut claim))
    }

    /// [`accept`](AsyncTcpListener::accept), as a poll function. The last waker is woken.
    ///
    /// # Errors
    /// As [`accept`](AsyncTcpListener::accept).
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(AsyncTcpStream, SocketAddr)>> {
        if self.pausing.load(Relaxed) {
            // Taken out while it is polled: a waker's code must not run under the lock.
            let mut kept = self.pause().kept.take();
            let over = self.poll_pause(cx, &mut kept);
            let before = mem::replace(&mut self.pause().kept, kept);
            drop(before);
            ready!(over);
        }
        self.poll_next_client(|| self.inner.poll_io_kept::<Read, _>(cx, accept))
    }

    /// One accept that does not wait, neither for a client nor for descriptors.
    ///
    /// # Errors
    /// `WouldBlock` when no client is there; as [`accept`](AsyncTcpListener::accept).
    pub fn try_accept(&self) -> io::Result<(AsyncTcpStream, SocketAddr)> {
        loop {
            if let Some(accepted) = self.inner.try_io(Interest::READABLE, accept).transpose() {
                return self.settle(accepted);
            }
        }
    }

    /// The clients, as a stream that never ends.
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let _client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// let stream = listener.incoming().next().await.unwrap()?;
    /// # drop(stream);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, claim: self.inner.claim(Some(Location::caller())), pause: None }
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// See getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.get_ref().local_addr()
    }

    /// How many hops a packet may take.
    ///
    /// # Errors
    /// See getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        self.inner.get_ref().ttl()
    }

    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// See setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.inner.get_ref().set_ttl(ttl)
    }

    /// Takes the socket out of the runtime. It stays non-blocking, and clients stay queued.
    pub fn into_std(self) -> net::TcpListener {
        self.inner.into_inner()
    }

    fn poll_accept_by(
        &self,
        cx: &mut Context<'_>,
        pause: &mut Option<Sleep>,
        claim: &mut Claim<'_, net::TcpListener, Read>,
    ) -> Poll<io::Result<(AsyncTcpStream, SocketAddr)>> {
        ready!(self.poll_pause(cx, pause));
        self.poll_next_client(|| claim.poll(cx, accept))
    }

    /// Tries `once` until it says something else than that a client has gone again.
    fn poll_next_client(
        &self,
        mut once: impl FnMut() -> Poll<io::Result<Option<(OwnedFd, SocketAddr)>>>,
    ) -> Poll<io::Result<(AsyncTcpStream, SocketAddr)>> {
        loop {
            if let Some(accepted) = ready!(once()).transpose() {
                return Poll::Ready(self.settle(accepted));
            }
        }
    }

    /// Waits until it makes sense to accept again.
    fn poll_pause(&self, cx: &mut Context<'_>, pause: &mut Option<Sleep>) -> Poll<()> {
        if !self.pausing.load(Relaxed) {
            return Poll::Ready(());
        }
        let until = self.pause().until;
        let Some(until) = until else {
            return Poll::Ready(());
        };
        let sleep = pause.get_or_insert_with(|| sleep_until(until));
        if sleep.deadline() != Some(until) {
            sleep.reset(until);
        }
        let over = Pin::new(sleep).poll(cx);
        if over.is_pending() {
            // A success elsewhere ends the pause before its time.
            let waker = cx.waker().clone();
            let mut pause = self.pause();
            if !pause.waiting.iter().any(|other| other.will_wake(&waker)) {
                pause.waiting.push(waker);
            }
        }
        over
    }

    /// Makes a stream of what was accepted, and the next accept wait after an error that will not go away by itself.
    fn settle(
        &self,
        accepted: io::Result<(OwnedFd, SocketAddr)>,
    ) -> io::Result<(AsyncTcpStream, SocketAddr)> {
        match accepted {
            Ok((fd, peer)) => {
                if self.pausing.load(Relaxed) {
                    self.pausing.store(false, Relaxed);
                    let mut pause = self.pause();
                    (pause.length, pause.until) = (Duration::ZERO, None);
                    let waiting = mem::take(&mut pause.waiting);
                    drop(pause);
                    waiting.into_iter().for_each(wake_contained);
                }
                Ok((AsyncTcpStream::new(fd.into())?, peer))
            }
            Err(error) => {
                if sys::accept_failure(&error) == AcceptFailure::OutOfResources {
                    let mut pause = self.pause();
                    pause.length = (2 * pause.length).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    pause.until = Some(Instant::now() + pause.length);
                    self.pausing.store(true, Relaxed);
                }
                Err(error)
            }
        }
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(address: SocketAddr) -> io::Result<AsyncTcpListener> {
    let socket = TcpSocket::like(&address)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// See [`AsyncTcpListener::incoming`].
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'a> {
    listener: &'a AsyncTcpListener,
    claim: Claim<'a, net::TcpListener, Read>,
    pause: Option<Sleep>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<AsyncTcpStream>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<AsyncTcpStream>>> {
        let Incoming { listener, claim, pause } = &mut *self;
        let accepted = ready!(listener.poll_accept_by(cx, pause, claim));
        Poll::Ready(Some(accepted.map(|(stream, _)| stream)))
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("listener", &self.listener).finish()
    }
}

/// `Ok(None)`: this client has gone; ask for the next, and let it count as an operation.
fn accept(listener: &net::TcpListener, _: &Source) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
    match sys::accept(listener.as_raw_fd()) {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if sys::accept_failure(&error) == AcceptFailure::AskAgain => Ok(None),
        Err(error) => Err(error),
    }
}

impl TryFrom<net::TcpListener> for AsyncTcpListener {
    type Error = io::Error;

    /// Registers the socket with the current runtime and makes it non-blocking, for all its duplicates.
    fn try_from(listener: net::TcpListener) -> io::Result<AsyncTcpListener> {
        listener.set_nonblocking(true)?;
        Ok(AsyncTcpListener {
            inner: Registered::new(listener)?,
            pausing: AtomicBool::new(false),
            pause: Mutex::default(),
        })
    }
}

impl TryFrom<OwnedFd> for AsyncTcpListener {
    type Error = io::Error;

    /// `fd` is to be a listening TCP socket: one that systemd hands over, for example.
    fn try_from(fd: OwnedFd) -> io::Result<AsyncTcpListener> {
        net::TcpListener::from(fd).try_into()
    }
}

impl From<AsyncTcpListener> for OwnedFd {
    fn from(listener: AsyncTcpListener) -> OwnedFd {
        listener.into_std().into()
    }
}

impl AsFd for AsyncTcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.get_ref().as_fd()
    }
}

impl AsRawFd for AsyncTcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.get_ref().as_raw_fd()
    }
}

impl fmt::Debug for AsyncTcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("AsyncTcpListener");
        if let Ok(addr) = self.local_addr() {
            f.field("addr", &addr);
        }
        f.field("fd", &self.as_raw_fd()).finish()
    }
}
