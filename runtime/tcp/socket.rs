//! A socket before it listens or connects, for what has to be set by then.

use super::{AsyncTcpListener, AsyncTcpStream};
use crate::current;
use crate::fd::{self, Registered};
use crate::source::{Read, Write};
use crate::sys::{self, SocketOption};
use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::Location;

/// A TCP socket that is neither bound nor connected yet.
///
/// What it has no method for can be set through `socket2::SockRef::from(&socket)`.
///
/// ```
/// use waken::net::TcpSocket;
/// waken::block_on(async {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuseport(true)?;
///     socket.bind("127.0.0.1:0".parse().unwrap())?;
///     let listener = socket.listen(1024)?;
///     assert_ne!(listener.local_addr()?.port(), 0);
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
pub struct TcpSocket {
    fd: OwnedFd,
    /// Made here, so it is non-blocking.
    is_ours: bool,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    /// See socket(2).
    #[doc(alias = "socket")]
    pub fn new_v4() -> io::Result<TcpSocket> {
        Ok(TcpSocket { fd: sys::tcp_socket(false)?, is_ours: true })
    }

    /// A socket for IPv6, and for IPv4 as well unless [`set_only_v6`](TcpSocket::set_only_v6) or the system's default forbids it.
    ///
    /// # Errors
    /// See socket(2).
    #[doc(alias = "socket")]
    pub fn new_v6() -> io::Result<TcpSocket> {
        Ok(TcpSocket { fd: sys::tcp_socket(true)?, is_ours: true })
    }

    /// One for addresses like `address`.
    pub(super) fn like(address: &SocketAddr) -> io::Result<TcpSocket> {
        if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
    }

    fn set(&self, option: SocketOption, value: i32) -> io::Result<()> {
        sys::set_option(self.fd.as_raw_fd(), option, value)
    }

    /// Lets `bind` have an address whose last connections are still in `TIME_WAIT`.
    ///
    /// # Errors
    /// See socket(7).
    #[doc(alias = "SO_REUSEADDR")]
    pub fn set_reuseaddr(&self, yes: bool) -> io::Result<()> {
        self.set(SocketOption::ReuseAddr, yes.into())
    }

    /// Lets several sockets listen on one address; the kernel divides the connections among them.
    ///
    /// # Errors
    /// See socket(7).
    #[doc(alias = "SO_REUSEPORT")]
    pub fn set_reuseport(&self, yes: bool) -> io::Result<()> {
        self.set(SocketOption::ReusePort, yes.into())
    }

    /// Keeps IPv4 away from an IPv6 socket.
    ///
    /// # Errors
    /// On an IPv4 socket; see ipv6(7).
    #[doc(alias = "IPV6_V6ONLY")]
    pub fn set_only_v6(&self, yes: bool) -> io::Result<()> {
        self.set(SocketOption::OnlyV6, yes.into())
    }

    /// The receive buffer, in bytes; the kernel doubles it for its own needs, and a listener hands it on to what it accepts.
    ///
    /// # Errors
    /// See socket(7).
    #[doc(alias = "SO_RCVBUF")]
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(SocketOption::RecvBuffer, bytes.min(i32::MAX as u32) as i32)
    }

    /// The send buffer, in bytes. As [`set_recv_buffer_size`](TcpSocket::set_recv_buffer_size).
    ///
    /// # Errors
    /// See socket(7).
    #[doc(alias = "SO_SNDBUF")]
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(SocketOption::SendBuffer, bytes.min(i32::MAX as u32) as i32)
    }

    /// Takes an address.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`: see bind(2).
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        sys::bind(self.fd.as_raw_fd(), &addr)
    }

    /// The address that `bind` took.
    ///
    /// # Errors
    /// See getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        sys::local_addr(self.fd.as_raw_fd())
    }

    /// Begins to listen. `backlog` connections may wait to be accepted; the kernel cuts it down to `net.core.somaxconn`.
    ///
    /// # Errors
    /// Outside of a runtime; see listen(2).
    pub fn listen(self, backlog: u32) -> io::Result<AsyncTcpListener> {
        sys::listen(self.fd.as_raw_fd(), backlog)?;
        net::TcpListener::from(self.fd).try_into()
    }

    /// Connects. Cancel safe: a connection that is given up is closed.
    ///
    /// # Errors
    /// See connect(2); outside of a runtime.
    #[track_caller]
    pub fn connect(self, addr: SocketAddr) -> impl Future<Output = io::Result<AsyncTcpStream>> {
        self.connect_from(addr, Location::caller())
    }

    pub(super) async fn connect_from(
        self,
        addr: SocketAddr,
        at: &'static Location<'static>,
    ) -> io::Result<AsyncTcpStream> {
        // Also an error that comes at once is an operation.
        current::operation().await;
        fd::check()?;
        let stream = net::TcpStream::from(self.fd);
        if !self.is_ours {
            stream.set_nonblocking(true)?;
        }
        match sys::connect(stream.as_raw_fd(), &addr) {
            Ok(()) => return AsyncTcpStream::new(stream),
            // It goes on by itself, also after a signal, connect(2).
            Err(error) if sys::is_in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        // Registered after the call: a socket that never connected is "writable" to epoll.
        let inner = Registered::new(stream)?;
        loop {
            // What a new source is taken to be ready for, this one is not: the kernel will say when.
            inner.source()?.clear_ready::<Write>();
            inner.source()?.clear_ready::<Read>();
            inner.writable(Some(at)).await?;
            if let Some(error) = inner.get_ref().take_error()? {
                return Err(error);
            }
            // Writable and no error does not prove a connection; to have a peer does.
            match inner.get_ref().peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(AsyncTcpStream { inner }),
            }
        }
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for TcpSocket {
    /// `fd` is to be a TCP socket. `listen` and `connect` make it non-blocking.
    fn from(fd: OwnedFd) -> TcpSocket {
        TcpSocket { fd, is_ours: false }
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket").field("fd", &self.fd.as_raw_fd()).finish()
    }
}
