//! The stream: reading, writing, and waiting for either. What is std's own about it is in `options.rs`.

use super::{TcpSocket, ToSocketAddrs};
use crate::bytes;
use crate::current;
use crate::fd::Registered;
use crate::interest::{Interest, Ready};
use std::io::{self, IoSlice, IoSliceMut};
use std::net;
use std::panic::Location;

/// A TCP connection.
///
/// Everything is done through `&self`, as `std` implements `Read for &TcpStream`: one task can read while another
/// writes, with no split. [`AsyncRead`](futures_io::AsyncRead) and
/// [`AsyncWrite`](futures_io::AsyncWrite) are implemented for the type and for references to it.
///
/// Any number of tasks may wait in one direction, and all are woken (through the poll traits the last one only); who
/// reads first gets the bytes. Dropping it
/// closes the connection; if received bytes are left unread, the kernel tells the peer by a reset, which can
/// cost it the last bytes we sent: [`shutdown`](AsyncTcpStream::shutdown) and read to the end to avoid that.
///
/// What futures-lite has for any stream works on it: `BufReader::new(&stream).lines()`,
/// `(&mut &stream).read_to_string(…)`. Through those the wait graph cannot name the line that waits.
///
/// It is `Send + Sync`, and works on its own runtime's thread: elsewhere, and after the runtime's end, every operation is an
/// error that says so. To move a connection to another thread, take it out by [`into_std`](AsyncTcpStream::into_std).
///
/// ```
/// use waken::{AsyncTcpListener, AsyncTcpStream};
///
/// waken::block_on(async {
///     let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
///     let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
///     let (server, _peer) = listener.accept().await?;
///
///     client.write_all(b"hello").await?;
///     let mut buf = [0; 5];
///     server.read_exact(&mut buf).await?;
///     assert_eq!(&buf, b"hello");
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[doc(alias = "TcpStream")]
pub struct AsyncTcpStream {
    pub(crate) inner: Registered<net::TcpStream>,
}

impl bytes::Stream for net::TcpStream {
    const SHORT_READS_PROVE: bool = true;
}

impl AsyncTcpStream {
    pub(super) fn new(stream: net::TcpStream) -> io::Result<AsyncTcpStream> {
        Ok(AsyncTcpStream { inner: Registered::new(stream)? })
    }

    /// Connects to `addr`; of several addresses to the first that answers.
    ///
    /// Cancel safe: a connection that is given up is closed.
    ///
    /// # Errors
    /// The last address's error, see connect(2); outside of a runtime.
    ///
    /// ```
    /// use std::time::Duration;
    /// use waken::{AsyncTcpStream, time::timeout};
    /// # waken::block_on(async {
    /// # let listener = waken::AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// // The kernel gives up after two minutes. Whoever cannot wait as long says so.
    /// let stream = timeout(Duration::from_secs(5), AsyncTcpStream::connect(address)).await??;
    /// assert_eq!(stream.peer_addr()?, address);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "connect_timeout")]
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(addr: A) -> impl Future<Output = io::Result<AsyncTcpStream>> {
        let (addresses, at) = (addr.addresses(), Location::caller());
        async move {
            let mut result = Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there is no address to connect to",
            ));
            for address in addresses.resolve().await? {
                result = match TcpSocket::like(&address) {
                    Ok(socket) => socket.connect_from(address, at).await,
                    Err(error) => current::failed(error).await,
                };
                if result.is_ok() {
                    break;
                }
            }
            result
        }
    }

    /// Reads what is there, and waits if nothing is. `Ok(0)` is the end of the stream, or an empty `buf`.
    ///
    /// Cancel safe: a read that is dropped before it is ready has taken nothing.
    ///
    /// # Errors
    /// See recv(2): `ConnectionReset` is the usual one.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// client.write_all(b"hello").await?;
    /// let mut buf = [0; 1024];
    /// let n = stream.read(&mut buf).await?;
    /// assert_eq!(&buf[..n], b"hello");
    /// drop(client);
    /// assert_eq!(stream.read(&mut buf).await?, 0, "the end");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv")]
    #[inline]
    #[track_caller]
    pub fn read(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.read(Some(Location::caller()), buf)
    }

    /// Fills `buf`.
    ///
    /// Not cancel safe: what was read before the drop is in `buf`, and nobody knows how much it is.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends first; see recv(2).
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// client.write_all(&[0, 2, 104, 105]).await?;
    /// let mut length = [0; 2];
    /// stream.read_exact(&mut length).await?;
    /// let mut message = vec![0; u16::from_be_bytes(length).into()];
    /// stream.read_exact(&mut message).await?;
    /// assert_eq!(message, b"hi");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[inline]
    #[track_caller]
    pub fn read_exact(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<()>> {
        self.inner.read_exact(Some(Location::caller()), buf)
    }

    /// [`read`](AsyncTcpStream::read) into several buffers, the first first. Of more than 1,024 (`IOV_MAX`) the first 1,024 are used. Cancel safe.
    #[doc(alias = "readv")]
    #[track_caller]
    pub fn read_vectored(
        &self,
        bufs: &mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> {
        self.inner.read_vectored(Some(Location::caller()), bufs)
    }

    /// Writes as much of `buf` as there is room for, and waits if there is none.
    ///
    /// Cancel safe: a write that is dropped before it is ready has written nothing.
    ///
    /// With a time limit around it, make one [`try_write`](AsyncTcpStream::try_write) when the time is up: the kernel tells
    /// of new room only when a third of the buffer is free, which a slow reader may take long to make.
    ///
    /// # Errors
    /// See send(2): `BrokenPipe` and `ConnectionReset` are the usual ones. Never the signal `SIGPIPE`.
    #[doc(alias = "send")]
    #[inline]
    #[track_caller]
    pub fn write(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.write(Some(Location::caller()), buf)
    }

    /// Writes all of `buf`.
    ///
    /// Not cancel safe: some of `buf` may be written before the drop, and nobody knows how much it was.
    ///
    /// # Errors
    /// As [`write`](AsyncTcpStream::write).
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// let answer = vec![7; 100_000];                         // more than the kernel takes at once
    /// let writing = waken::spawn(async move { client.write_all(&answer).await });
    /// let mut received = vec![0; 100_000];
    /// stream.read_exact(&mut received).await?;
    /// writing.await??;
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[inline]
    #[track_caller]
    pub fn write_all(&self, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        self.inner.write_all(Some(Location::caller()), buf)
    }

    /// [`write`](AsyncTcpStream::write) from several buffers, the first first. Of more than 1,024 (`IOV_MAX`) the first 1,024 are used. Cancel safe.
    #[doc(alias = "writev")]
    #[track_caller]
    pub fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> impl Future<Output = io::Result<usize>> {
        self.inner.write_vectored(Some(Location::caller()), bufs)
    }

    /// As [`read`](AsyncTcpStream::read), but the bytes stay to be read again. Cancel safe.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// client.write_all(b"GET / HTTP/1.1").await?;
    /// let mut first = [0; 1];
    /// stream.peek(&mut first).await?;
    /// assert_eq!(&first, b"G", "not TLS, which begins with 22; and nothing is taken");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.peek(Some(Location::caller()), buf)
    }

    /// Waits until there may be something to read, an end or an error included. Takes nothing, so an idle
    /// connection needs no buffer: wait here, then [`try_read`](AsyncTcpStream::try_read) into one that all share.
    ///
    /// Cancel safe. A hint: on a new stream it is ready at once.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// # client.write_all(b"x").await?;
    /// let mut shared = [0; 4096];
    /// let n = loop {
    ///     stream.readable().await?;
    ///     match stream.try_read(&mut shared) {
    ///         Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
    ///         result => break result?,
    ///     }
    /// };
    /// # assert_eq!(n, 1);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.inner.readable(Some(Location::caller()))
    }

    /// Waits until there may be room to write. Cancel safe. A hint: on a new stream it is ready at once.
    #[track_caller]
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> {
        self.inner.writable(Some(Location::caller()))
    }

    /// Waits until the stream may be ready for something of `interest`, and says for what. Cancel safe.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// use waken::io::Interest;
    /// client.write_all(b"x").await?;
    /// let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
    /// assert!(ready.is_readable() || ready.is_writable());
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        self.inner.ready(interest, Some(Location::caller()))
    }

    /// One read that does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; see [`read`](AsyncTcpStream::read).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.try_read(buf)
    }

    /// One write that does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; see [`write`](AsyncTcpStream::write).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.inner.try_write(buf)
    }

    /// Runs `operation`, a call of your own on the socket, and remembers it when that says `WouldBlock`,
    /// which must hold for all of `interest`, so that the next [`ready`](AsyncTcpStream::ready) waits.
    ///
    /// # Errors
    /// Those of `operation`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce(&net::TcpStream) -> io::Result<R>,
    ) -> io::Result<R> {
        self.inner.try_io(interest, |stream, _| operation(stream))
    }

    /// Runs `operation`, a call of your own on the socket, until it says something other than `WouldBlock`, and
    /// waits for `interest` in between. A `WouldBlock` must hold for all of `interest`. Cancel safe if
    /// `operation` is.
    ///
    /// # Errors
    /// Those of `operation`.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream, io::Interest};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// # client.write_all(b"x").await?;
    /// use std::io::Read;
    /// let mut buf = [0; 16];
    /// let n = stream.async_io(Interest::READABLE, |mut socket| socket.read(&mut buf)).await?;
    /// # assert_eq!(n, 1);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn async_io<R>(
        &self,
        interest: Interest,
        operation: impl FnMut(&net::TcpStream) -> io::Result<R>,
    ) -> impl Future<Output = io::Result<R>> {
        self.inner.async_io(interest, Some(Location::caller()), operation)
    }
}
