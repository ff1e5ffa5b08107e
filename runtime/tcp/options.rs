//! What a stream shares with `std::net::TcpStream`: its options, its addresses, and the way there and back.

use super::{AsyncTcpStream, OwnedReadHalf, OwnedWriteHalf, split};
use crate::fd::Registered;
use crate::socket::socket;
use std::io;
use std::net::{self, Shutdown, SocketAddr};

impl AsyncTcpStream {
    fn std(&self) -> &net::TcpStream {
        self.inner.get_ref()
    }

    /// Shuts down reading, writing, or both, as [`std::net::TcpStream::shutdown`] does.
    ///
    /// After `Shutdown::Read` the kernel still delivers what the peer sends later: an end of file is not final then.
    ///
    /// # Errors
    /// `NotConnected` when the peer has reset the connection.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// use std::net::Shutdown;
    /// client.write_all(b"a question").await?;
    /// client.shutdown(Shutdown::Write)?;                     // that is all
    /// let mut buf = [0; 1024];
    /// while stream.read(&mut buf).await? > 0 {}
    /// stream.write_all(b"an answer").await?;                 // the other direction is open
    /// assert_eq!(client.read(&mut buf).await?, 9);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.std().shutdown(how)
    }

    /// The address of this side.
    ///
    /// # Errors
    /// See getsockname(2).
    #[doc(alias = "getsockname")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// `NotConnected` when the peer has reset the connection.
    #[doc(alias = "getpeername")]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.std().peer_addr()
    }

    /// Whether small writes are sent at once. Off in a new stream, as in the kernel.
    ///
    /// # Errors
    /// See getsockopt(2).
    #[doc(alias = "TCP_NODELAY")]
    pub fn nodelay(&self) -> io::Result<bool> {
        self.std().nodelay()
    }

    /// Sends small writes at once (`true`), instead of waiting for the peer to acknowledge the last ones.
    ///
    /// # Errors
    /// See setsockopt(2).
    #[doc(alias = "TCP_NODELAY")]
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.std().set_nodelay(nodelay)
    }

    /// How many hops a packet may take.
    ///
    /// # Errors
    /// See getsockopt(2).
    #[doc(alias = "IP_TTL")]
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// See setsockopt(2).
    #[doc(alias = "IP_TTL")]
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Takes the socket's pending error, which is gone then: the next operation does not see it.
    ///
    /// # Errors
    /// See getsockopt(2).
    #[doc(alias = "SO_ERROR")]
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }

    /// Two halves that own the stream together, for two tasks. Borrowing is cheaper: two `&AsyncTcpStream` can do all
    /// that two halves can. Dropping the write half shuts down writing.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// let (reader, writer) = stream.into_split();
    /// let writing = waken::spawn(async move { writer.as_ref().write_all(b"hello").await });
    /// client.write_all(b"x").await?;
    /// assert_eq!(reader.as_ref().read(&mut [0; 8]).await?, 1);
    /// writing.await??;
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "split")]
    #[must_use = "dropping the halves closes the connection"]
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split(self)
    }

    /// Takes the socket out of the runtime, for another thread or another library. It stays non-blocking.
    ///
    /// ```
    /// # use waken::{AsyncTcpListener, AsyncTcpStream};
    /// # waken::block_on(async {
    /// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    /// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    /// # let stream = listener.accept().await?.0;
    /// let stream = stream.into_std();
    /// let elsewhere = std::thread::spawn(move || {
    ///     waken::block_on(async { AsyncTcpStream::try_from(stream)?.write_all(b"x").await })
    /// });
    /// client.read_exact(&mut [0; 1]).await?;
    /// elsewhere.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[must_use = "dropping it closes the socket"]
    pub fn into_std(self) -> net::TcpStream {
        self.inner.into_inner()
    }
}

socket!(AsyncTcpStream { Registered<net::TcpStream> }, "a connected TCP socket");
