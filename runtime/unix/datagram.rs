//! The datagram socket: messages over a Unix socket, in order and none lost.

use super::patiently;
use crate::fd::{self, Registered};
use crate::socket::{datagram, socket};
use crate::source::{Read, Write};
use std::io;
use std::os::unix::net::{self, SocketAddr};
use std::panic::Location;
use std::path::Path;

/// A Unix datagram socket. As [`AsyncUdpSocket`](crate::net::AsyncUdpSocket), but nothing is lost: a sender waits
/// for room.
///
/// ```
/// use waken::net::AsyncUnixDatagram;
///
/// waken::block_on(async {
///     let (one, other) = AsyncUnixDatagram::pair()?;
///     one.send(b"hello").await?;
///     let mut buf = [0; 16];
///     assert_eq!(other.recv(&mut buf).await?, 5);
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[doc(alias = "UnixDatagram")]
pub struct AsyncUnixDatagram {
    inner: Registered<net::UnixDatagram>,
}

impl AsyncUnixDatagram {
    /// Takes `path`, which must not exist, and which stays in the file system.
    ///
    /// # Errors
    /// `AddrInUse` when the path exists; see bind(2), unix(7); outside of a runtime.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<AsyncUnixDatagram> {
        fd::check()?; // Before there is a path.
        net::UnixDatagram::bind(path)?.try_into()
    }

    /// Takes any Unix address: an abstract name, for example.
    ///
    /// # Errors
    /// As [`bind`](AsyncUnixDatagram::bind).
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<AsyncUnixDatagram> {
        fd::check()?;
        net::UnixDatagram::bind_addr(addr)?.try_into()
    }

    /// A socket without an address: nobody can answer it.
    ///
    /// # Errors
    /// Out of descriptors, see socket(2); outside of a runtime.
    pub fn unbound() -> io::Result<AsyncUnixDatagram> {
        net::UnixDatagram::unbound()?.try_into()
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    /// Out of descriptors, see socketpair(2); outside of a runtime.
    #[doc(alias = "socketpair")]
    pub fn pair() -> io::Result<(AsyncUnixDatagram, AsyncUnixDatagram)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((one.try_into()?, other.try_into()?))
    }

    /// Sets where [`send`](AsyncUnixDatagram::send) goes.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused` (nobody has it open): see connect(2).
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.inner.get_ref().connect(path)
    }

    /// [`connect`](AsyncUnixDatagram::connect), to any Unix address.
    ///
    /// # Errors
    /// As [`connect`](AsyncUnixDatagram::connect).
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.inner.get_ref().connect_addr(addr)
    }

    /// Sends one datagram to the peer that `connect` has set, and waits while that has no room. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionRefused` when the peer is closed; `NotConnected`; see send(2).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.call::<Write, _>(Some(Location::caller()), move |socket| socket.send(buf))
    }

    /// Receives one datagram. What has no room in `buf` is lost. Cancel safe.
    ///
    /// # Errors
    /// See recv(2).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.call::<Read, _>(Some(Location::caller()), move |socket| socket.recv(buf))
    }

    /// Sends one datagram to `path`. While the receiver has no room it asks again, after 1 ms and each time twice as
    /// long up to 100 ms: no event says when there is room, but to a socket that is connected. Cancel safe.
    ///
    /// # Errors
    /// See sendto(2), unix(7).
    #[doc(alias = "sendto")]
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(
        &self,
        buf: &[u8],
        path: P,
    ) -> impl Future<Output = io::Result<usize>> {
        let at = Location::caller();
        patiently(at, move || self.here()?.send_to(buf, path.as_ref()))
    }

    /// [`send_to`](AsyncUnixDatagram::send_to), to any Unix address. Cancel safe.
    ///
    /// # Errors
    /// As [`send_to`](AsyncUnixDatagram::send_to).
    #[track_caller]
    pub fn send_to_addr(
        &self,
        buf: &[u8],
        addr: &SocketAddr,
    ) -> impl Future<Output = io::Result<usize>> {
        let at = Location::caller();
        patiently(at, move || self.here()?.send_to_addr(buf, addr))
    }

    /// The socket, if this is the thread to use it. That the receiver has no room says nothing of our own
    /// readiness, so nothing is remembered.
    fn here(&self) -> io::Result<&net::UnixDatagram> {
        self.inner.source()?;
        Ok(self.inner.get_ref())
    }

    /// Receives one datagram, and from whom. What has no room in `buf` is lost. Cancel safe.
    ///
    /// # Errors
    /// See recvfrom(2).
    #[doc(alias = "recvfrom")]
    #[track_caller]
    pub fn recv_from(
        &self,
        buf: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> {
        self.inner.call::<Read, _>(Some(Location::caller()), move |socket| socket.recv_from(buf))
    }
}

socket!(AsyncUnixDatagram { Registered<net::UnixDatagram> }, "a Unix datagram socket");
datagram!(AsyncUnixDatagram over net::UnixDatagram, at SocketAddr);
