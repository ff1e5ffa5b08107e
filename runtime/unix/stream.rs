//! The stream: the operations of `bytes.rs`, over a Unix socket.

use super::patiently;
use crate::bytes;
use crate::current;
use crate::fd::{self, Registered};
use crate::interest::{Interest, Ready};
use crate::socket::socket;
use crate::sys;
use crate::tcp::{OwnedReadHalf, OwnedWriteHalf, split};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{self, SocketAddr};
use std::panic::Location;
use std::path::Path;

/// A connection over a Unix socket. All of [`AsyncTcpStream`](crate::AsyncTcpStream) is here too, and means the same.
///
/// ```
/// use waken::net::AsyncUnixStream;
///
/// waken::block_on(async {
///     let (one, other) = AsyncUnixStream::pair()?;
///     one.write_all(b"hello").await?;
///     let mut buf = [0; 5];
///     other.read_exact(&mut buf).await?;
///     assert_eq!(&buf, b"hello");
///     assert_eq!(other.peer_cred()?.pid, std::process::id() as i32);
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
///
/// Descriptors that are sent along (`SCM_RIGHTS`, unix(7)) are taken by a call of your own under
/// [`async_io`](AsyncUnixStream::async_io); a plain read drops them. A read ends where they were sent, and goes on after.
#[doc(alias = "UnixStream")]
pub struct AsyncUnixStream {
    pub(crate) inner: Registered<net::UnixStream>,
}

impl bytes::Stream for net::UnixStream {
    const SHORT_READS_PROVE: bool = false;
}

/// Whose process is at the other end, as [`peer_cred`](AsyncUnixStream::peer_cred) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UCred {
    /// The process, when it connected or listened.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl AsyncUnixStream {
    /// Connects to the listener at `path`. When that has no room for another client it asks again, after 1 ms and
    /// each time twice as long up to 100 ms: no event says when there is room. Cancel safe.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused` (nobody listens), `PermissionDenied`: see connect(2); outside of a runtime.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> impl Future<Output = io::Result<AsyncUnixStream>> {
        connect(SocketAddr::from_pathname(path), Location::caller())
    }

    /// [`connect`](AsyncUnixStream::connect), to any Unix address: an abstract name, for example. Cancel safe.
    ///
    /// # Errors
    /// As [`connect`](AsyncUnixStream::connect).
    #[track_caller]
    pub fn connect_addr(
        addr: &SocketAddr,
    ) -> impl Future<Output = io::Result<AsyncUnixStream>> + use<> {
        connect(Ok(addr.clone()), Location::caller())
    }

    /// Two streams that are connected with each other.
    ///
    /// # Errors
    /// Out of descriptors, see socketpair(2); outside of a runtime.
    #[doc(alias = "socketpair")]
    pub fn pair() -> io::Result<(AsyncUnixStream, AsyncUnixStream)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((one.try_into()?, other.try_into()?))
    }

    /// The process at the other end, its user and group, when it connected (or began to listen).
    ///
    /// # Errors
    /// See getsockopt(2).
    #[doc(alias = "SO_PEERCRED")]
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let (pid, uid, gid) = sys::peer_cred(self.as_raw_fd())?;
        Ok(UCred { pid, uid, gid })
    }

    /// As [`AsyncTcpStream::read`](crate::AsyncTcpStream::read). Cancel safe.
    ///
    /// # Errors
    /// See recv(2).
    #[inline]
    #[track_caller]
    pub fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.read(Some(Location::caller()), buf)
    }

    /// As [`AsyncTcpStream::read_exact`](crate::AsyncTcpStream::read_exact). Not cancel safe.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends first; see recv(2).
    #[inline]
    #[track_caller]
    pub fn read_exact(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<()>> {
        self.inner.read_exact(Some(Location::caller()), buf)
    }

    /// As [`AsyncTcpStream::read_vectored`](crate::AsyncTcpStream::read_vectored). Cancel safe.
    ///
    /// # Errors
    /// See recv(2).
    #[track_caller]
    pub fn read_vectored(
        &self,
        bufs: &mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> {
        self.inner.read_vectored(Some(Location::caller()), bufs)
    }

    /// As [`AsyncTcpStream::write`](crate::AsyncTcpStream::write). Cancel safe.
    ///
    /// # Errors
    /// `BrokenPipe` when the peer has gone; see send(2). Never the signal `SIGPIPE`.
    #[inline]
    #[track_caller]
    pub fn write(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.write(Some(Location::caller()), buf)
    }

    /// As [`AsyncTcpStream::write_all`](crate::AsyncTcpStream::write_all). Not cancel safe.
    ///
    /// # Errors
    /// As [`write`](AsyncUnixStream::write).
    #[inline]
    #[track_caller]
    pub fn write_all(&self, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        self.inner.write_all(Some(Location::caller()), buf)
    }

    /// As [`AsyncTcpStream::write_vectored`](crate::AsyncTcpStream::write_vectored). Cancel safe.
    ///
    /// # Errors
    /// As [`write`](AsyncUnixStream::write).
    #[track_caller]
    pub fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> impl Future<Output = io::Result<usize>> {
        self.inner.write_vectored(Some(Location::caller()), bufs)
    }

    /// As [`AsyncTcpStream::peek`](crate::AsyncTcpStream::peek). Cancel safe.
    ///
    /// # Errors
    /// See recv(2).
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.peek(Some(Location::caller()), buf)
    }

    /// As [`AsyncTcpStream::readable`](crate::AsyncTcpStream::readable). Cancel safe.
    ///
    /// # Errors
    /// After the runtime's end, or on another thread.
    #[track_caller]
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.inner.readable(Some(Location::caller()))
    }

    /// As [`AsyncTcpStream::writable`](crate::AsyncTcpStream::writable). Cancel safe.
    ///
    /// # Errors
    /// After the runtime's end, or on another thread.
    #[track_caller]
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> {
        self.inner.writable(Some(Location::caller()))
    }

    /// As [`AsyncTcpStream::ready`](crate::AsyncTcpStream::ready). Cancel safe.
    ///
    /// # Errors
    /// After the runtime's end, or on another thread.
    #[track_caller]
    pub fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        self.inner.ready(interest, Some(Location::caller()))
    }

    /// One read that does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; see recv(2).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.try_read(buf)
    }

    /// One write that does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; see [`write`](AsyncUnixStream::write).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.inner.try_write(buf)
    }

    /// As [`AsyncTcpStream::try_io`](crate::AsyncTcpStream::try_io).
    ///
    /// # Errors
    /// Those of `operation`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce(&net::UnixStream) -> io::Result<R>,
    ) -> io::Result<R> {
        self.inner.try_io(interest, |stream, _| operation(stream))
    }

    /// As [`AsyncTcpStream::async_io`](crate::AsyncTcpStream::async_io). Cancel safe if `operation` is.
    ///
    /// # Errors
    /// Those of `operation`.
    #[track_caller]
    pub fn async_io<R>(
        &self,
        interest: Interest,
        operation: impl FnMut(&net::UnixStream) -> io::Result<R>,
    ) -> impl Future<Output = io::Result<R>> {
        self.inner.async_io(interest, Some(Location::caller()), operation)
    }

    /// Shuts down reading, writing, or both.
    ///
    /// # Errors
    /// `NotConnected`, see shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.inner.get_ref().shutdown(how)
    }

    /// The address of this side, which seldom has a name.
    ///
    /// # Errors
    /// See getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.get_ref().local_addr()
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// See getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.get_ref().peer_addr()
    }

    /// Takes the socket's pending error, which is gone then.
    ///
    /// # Errors
    /// See getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.inner.get_ref().take_error()
    }

    /// As [`AsyncTcpStream::into_split`](crate::AsyncTcpStream::into_split).
    #[must_use = "dropping the halves closes the connection"]
    pub fn into_split(self) -> (OwnedReadHalf<AsyncUnixStream>, OwnedWriteHalf<AsyncUnixStream>) {
        split(self)
    }

    /// Takes the socket out of the runtime. It stays non-blocking.
    #[must_use = "dropping it closes the socket"]
    pub fn into_std(self) -> net::UnixStream {
        self.inner.into_inner()
    }
}

async fn connect(
    addr: io::Result<SocketAddr>,
    at: &'static Location<'static>,
) -> io::Result<AsyncUnixStream> {
    let socket = || Ok((addr?, fd::check().and_then(|()| sys::unix_socket())?));
    let (addr, socket) = match socket() {
        Ok(both) => both,
        Err(error) => return current::failed(error).await,
    };
    let stream = net::UnixStream::from(socket);
    patiently(at, || sys::connect_unix(stream.as_raw_fd(), &addr)).await?;
    Ok(AsyncUnixStream { inner: Registered::new(stream)? })
}

socket!(AsyncUnixStream { Registered<net::UnixStream> }, "a connected Unix stream socket");
