//! The listener. How it accepts without ever spinning or stalling is in `accept.rs`.

use super::{AsyncTcpStream, TcpSocket, ToSocketAddrs};
use crate::accept::{Accepting, Acceptor, Listener};
use crate::current;
use crate::socket::socket;
use crate::sys;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How many clients may wait to be accepted. The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

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
#[doc(alias = "TcpListener")]
pub struct AsyncTcpListener {
    inner: Acceptor<net::TcpListener>,
}

impl Listener for net::TcpListener {
    type Client = (OwnedFd, SocketAddr);

    fn accept_once(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        sys::accept(self.as_raw_fd())
    }
}

fn registered((fd, peer): (OwnedFd, SocketAddr)) -> io::Result<(AsyncTcpStream, SocketAddr)> {
    Ok((AsyncTcpStream::new(fd.into())?, peer))
}

impl AsyncTcpListener {
    /// Listens on `addr`; of several addresses on the first that can be bound. `SO_REUSEADDR` is on, and up to
    /// 4,096 clients may wait to be accepted. Cancel safe. On `[::]` it follows the system whether IPv4 clients come too.
    ///
    /// # Errors
    /// The last address's error, see bind(2); outside of a runtime.
    ///
    /// ```
    /// use waken::AsyncTcpListener;
    /// waken::block_on(async {
    ///     let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;   // any free port
    ///     println!("listening on {}", listener.local_addr()?);
    ///     let taken = AsyncTcpListener::bind(listener.local_addr()?).await;
    ///     assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    ///     std::io::Result::Ok(())
    /// }).unwrap();
    /// ```
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
    ///
    /// ```
    /// use waken::{AsyncTcpListener, AsyncTcpStream, spawn};
    /// async fn serve(listener: AsyncTcpListener) {
    ///     loop {
    ///         match listener.accept().await {
    ///             Ok((stream, _peer)) => drop(spawn(greet(stream))),
    ///             Err(error) => eprintln!("accept: {error}"), // and the next accept waits
    ///         }
    ///     }
    /// }
    /// async fn greet(stream: AsyncTcpStream) -> std::io::Result<()> {
    ///     stream.write_all(b"hello").await
    /// }
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// # spawn(serve(listener));
    /// # AsyncTcpStream::connect(address).await?.read_exact(&mut [0; 5]).await
    /// # }).unwrap();
    /// ```
    #[doc(alias = "accept4")]
    #[track_caller]
    pub fn accept(&self) -> impl Future<Output = io::Result<(AsyncTcpStream, SocketAddr)>> {
        let mut accepting = self.inner.accepting(Location::caller());
        poll_fn(move |cx| Poll::Ready(ready!(accepting.poll(cx)).and_then(registered)))
    }

    /// [`accept`](AsyncTcpListener::accept), as a poll function. The last waker is woken.
    ///
    /// # Errors
    /// As [`accept`](AsyncTcpListener::accept).
    #[track_caller]
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(AsyncTcpStream, SocketAddr)>> {
        Poll::Ready(ready!(self.inner.poll_accept(cx, Location::caller())).and_then(registered))
    }

    /// One accept that does not wait, neither for a client nor for descriptors.
    ///
    /// # Errors
    /// `WouldBlock` when no client is there; as [`accept`](AsyncTcpListener::accept).
    pub fn try_accept(&self) -> io::Result<(AsyncTcpStream, SocketAddr)> {
        self.inner.try_accept().and_then(registered)
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
        Incoming { listener: self, accepting: self.inner.accepting(Location::caller()) }
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
    #[must_use = "dropping it closes the socket"]
    pub fn into_std(self) -> net::TcpListener {
        self.inner.into_inner()
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
    accepting: Accepting<'a, net::TcpListener>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<AsyncTcpStream>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<AsyncTcpStream>>> {
        let accepted = ready!(self.accepting.poll(cx)).and_then(registered);
        Poll::Ready(Some(accepted.map(|(stream, _)| stream)))
    }
}

impl fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("listener", &self.listener).finish()
    }
}

socket!(AsyncTcpListener { Acceptor<net::TcpListener> }, "a listening TCP socket: one that systemd hands over, for example");
