//! UDP. A datagram is a message: an empty buffer takes one as well, and a short read says nothing of the next.

use crate::current;
use crate::fd::Registered;
use crate::socket::{datagram, socket};
use crate::source::{Read, Write};
use crate::tcp::ToSocketAddrs;
use std::io;
use std::net::{self, SocketAddr};
use std::panic::Location;

/// A UDP socket.
///
/// All is done through `&self`, and any number of tasks may send and receive; each datagram goes to one of them. It is
/// `Send + Sync`, and works on its own runtime's thread. What has no method here (`set_broadcast`, multicast, …) is
/// there through [`get_ref`](AsyncUdpSocket::get_ref).
///
/// ```
/// use waken::net::AsyncUdpSocket;
///
/// waken::block_on(async {
///     let one = AsyncUdpSocket::bind("127.0.0.1:0").await?;
///     let other = AsyncUdpSocket::bind("127.0.0.1:0").await?;
///     one.send_to(b"hello", other.local_addr()?).await?;
///     let mut buf = [0; 16];
///     let (n, from) = other.recv_from(&mut buf).await?;
///     assert_eq!((&buf[..n], from), (&b"hello"[..], one.local_addr()?));
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[doc(alias = "UdpSocket")]
pub struct AsyncUdpSocket {
    inner: Registered<net::UdpSocket>,
}

impl AsyncUdpSocket {
    /// Takes an address; of several the first that can be bound. Cancel safe.
    ///
    /// # Errors
    /// The last address's error, see bind(2); outside of a runtime.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<AsyncUdpSocket> {
        let addresses = addr.addresses().resolve().await?;
        current::operation().await;
        net::UdpSocket::bind(&*addresses)?.try_into()
    }

    /// Sets the only peer: where [`send`](AsyncUdpSocket::send) goes, and from whom anything is received. Of
    /// several addresses the first that can be reached. Cancel safe.
    ///
    /// # Errors
    /// The last address's error, see connect(2).
    ///
    /// ```
    /// # use waken::net::AsyncUdpSocket;
    /// # waken::block_on(async {
    /// # let server = AsyncUdpSocket::bind("127.0.0.1:0").await?;
    /// let client = AsyncUdpSocket::bind("127.0.0.1:0").await?;
    /// client.connect(server.local_addr()?).await?;
    /// client.send(b"a question").await?;
    /// # let mut buf = [0; 16];
    /// # let (_, from) = server.recv_from(&mut buf).await?;
    /// # server.send_to(b"an answer", from).await?;
    /// let mut buf = [0; 16];
    /// let n = client.recv(&mut buf).await?;                  // from nobody else
    /// assert_eq!(&buf[..n], b"an answer");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    pub async fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        let addresses = addr.addresses().resolve().await?;
        current::operation().await;
        self.inner.get_ref().connect(&*addresses)
    }

    /// Sends one datagram to the peer that `connect` has set. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionRefused` when an earlier one found nobody; `EDESTADDRREQ` before `connect`; see send(2).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.call::<Write, _>(Some(Location::caller()), move |socket| socket.send(buf))
    }

    /// Receives one datagram from the peer that `connect` has set. What has no room in `buf` is lost. Cancel safe.
    ///
    /// # Errors
    /// `ConnectionRefused` once, when what was sent found nobody; see recv(2).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.inner.call::<Read, _>(Some(Location::caller()), move |socket| socket.recv(buf))
    }

    /// Sends one datagram to `addr`; of several addresses to the first. Cancel safe.
    ///
    /// # Errors
    /// See sendto(2).
    #[doc(alias = "sendto")]
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(
        &self,
        buf: &[u8],
        addr: A,
    ) -> impl Future<Output = io::Result<usize>> {
        let (addresses, at) = (addr.addresses(), Some(Location::caller()));
        async move {
            match addresses.resolve().await?.first() {
                Some(addr) => self.inner.call::<Write, _>(at, |to| to.send_to(buf, addr)).await,
                None => Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "there is no address to send to",
                )),
            }
        }
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

    /// As [`recv_from`](AsyncUdpSocket::recv_from), but the datagram stays to be received again. Cancel safe.
    ///
    /// # Errors
    /// See recvfrom(2).
    #[track_caller]
    pub fn peek_from(
        &self,
        buf: &mut [u8],
    ) -> impl Future<Output = io::Result<(usize, SocketAddr)>> {
        self.inner.call::<Read, _>(Some(Location::caller()), move |socket| socket.peek_from(buf))
    }
}

socket!(AsyncUdpSocket { Registered<net::UdpSocket> }, "a UDP socket");
datagram!(AsyncUdpSocket over net::UdpSocket, at SocketAddr);
