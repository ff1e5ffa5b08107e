//! The listener.

use super::AsyncUnixStream;
use crate::accept::{Accepting, Acceptor, Listener};
use crate::fd;
use crate::socket::socket;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::panic::Location;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Accepts connections on a Unix socket.
///
/// As with TCP, any number of tasks may accept, and a loop around [`accept`](AsyncUnixListener::accept) that logs its
/// errors can neither spin nor stall. Dropping it leaves the path in the file system: remove it before the next
/// `bind`, or use an abstract name.
///
/// ```
/// use std::os::linux::net::SocketAddrExt;
/// use std::os::unix::net::SocketAddr;
/// use waken::net::{AsyncUnixListener, AsyncUnixStream};
///
/// waken::block_on(async {
///     let name = SocketAddr::from_abstract_name(format!("waken-doc-{}", std::process::id()))?;
///     let listener = AsyncUnixListener::bind_addr(&name)?;
///     let client = AsyncUnixStream::connect_addr(&name).await?;
///     let (server, _peer) = listener.accept().await?;
///     client.write_all(b"hi").await?;
///     server.read_exact(&mut [0; 2]).await?;
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[doc(alias = "UnixListener")]
pub struct AsyncUnixListener {
    inner: Acceptor<net::UnixListener>,
}

impl Listener for net::UnixListener {
    type Client = (net::UnixStream, SocketAddr);

    fn accept_once(&self) -> io::Result<(net::UnixStream, SocketAddr)> {
        self.accept()
    }
}

fn registered(
    (stream, peer): (net::UnixStream, SocketAddr),
) -> io::Result<(AsyncUnixStream, SocketAddr)> {
    Ok((stream.try_into()?, peer))
}

impl AsyncUnixListener {
    /// Listens on `path`, which must not exist.
    ///
    /// # Errors
    /// `AddrInUse` when the path exists; see bind(2), unix(7); outside of a runtime.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<AsyncUnixListener> {
        fd::check()?; // Before there is a path.
        net::UnixListener::bind(path)?.try_into()
    }

    /// Listens on any Unix address: an abstract name, for example.
    ///
    /// # Errors
    /// As [`bind`](AsyncUnixListener::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<AsyncUnixListener> {
        fd::check()?;
        net::UnixListener::bind_addr(addr)?.try_into()
    }

    /// Waits for a client, and returns its connection and address, which seldom has a name. Cancel safe.
    ///
    /// # Errors
    /// As [`AsyncTcpListener::accept`](crate::AsyncTcpListener::accept): out of descriptors, the error comes once, and the
    /// next call waits first.
    #[doc(alias = "accept4")]
    #[track_caller]
    pub fn accept(&self) -> impl Future<Output = io::Result<(AsyncUnixStream, SocketAddr)>> {
        let mut accepting = self.inner.accepting(Location::caller());
        poll_fn(move |cx| Poll::Ready(ready!(accepting.poll(cx)).and_then(registered)))
    }

    /// [`accept`](AsyncUnixListener::accept), as a poll function. The last waker is woken.
    ///
    /// # Errors
    /// As [`accept`](AsyncUnixListener::accept).
    #[track_caller]
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(AsyncUnixStream, SocketAddr)>> {
        Poll::Ready(ready!(self.inner.poll_accept(cx, Location::caller())).and_then(registered))
    }

    /// One accept that does not wait, neither for a client nor for descriptors.
    ///
    /// # Errors
    /// `WouldBlock` when no client is there; as [`accept`](AsyncUnixListener::accept).
    pub fn try_accept(&self) -> io::Result<(AsyncUnixStream, SocketAddr)> {
        self.inner.try_accept().and_then(registered)
    }

    /// The clients, as a stream that never ends.
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, accepting: self.inner.accepting(Location::caller()) }
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// See getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.get_ref().local_addr()
    }

    /// Takes the socket out of the runtime. It stays non-blocking, and clients stay queued.
    #[must_use = "dropping it closes the socket"]
    pub fn into_std(self) -> net::UnixListener {
        self.inner.into_inner()
    }
}

/// See [`AsyncUnixListener::incoming`].
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'a> {
    listener: &'a AsyncUnixListener,
    accepting: Accepting<'a, net::UnixListener>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<AsyncUnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = ready!(self.accepting.poll(cx)).and_then(registered);
        Poll::Ready(Some(accepted.map(|(stream, _)| stream)))
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("listener", &self.listener).finish()
    }
}

socket!(AsyncUnixListener { Acceptor<net::UnixListener> }, "a listening Unix socket");
