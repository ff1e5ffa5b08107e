//! The calls on sockets: socket(7), tcp(7). Part of `sys.rs`, by whose macro they are made.

use super::own;
use std::ffi::c_int;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;

/// A non-blocking, close-on-exec TCP socket for addresses like `domain` (`libc::AF_INET`, `AF_INET6`).
#[doc(alias = "socket")]
pub(crate) fn tcp_socket(ipv6: bool) -> io::Result<OwnedFd> {
    stream_socket(if ipv6 { libc::AF_INET6 } else { libc::AF_INET })
}

/// The same, for Unix addresses: unix(7).
#[doc(alias = "socket")]
pub(crate) fn unix_socket() -> io::Result<OwnedFd> {
    stream_socket(libc::AF_UNIX)
}

fn stream_socket(domain: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    Ok(own(syscall!(socket(domain, kind, 0))?))
}

pub(crate) fn bind(fd: RawFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, length) = RawAddress::of(address);
    syscall!(bind(fd, raw.0.as_ptr().cast(), length))?;
    Ok(())
}

#[doc(alias = "getsockname")]
pub(crate) fn local_addr(fd: RawFd) -> io::Result<SocketAddr> {
    let mut raw = RawAddress([0; 32]);
    let mut length = size_of_val(&raw) as libc::socklen_t;
    syscall!(getsockname(fd, raw.0.as_mut_ptr().cast(), &raw mut length))?;
    raw.parse(length)
}

/// The kernel cuts `backlog` down to `net.core.somaxconn`, listen(2).
pub(crate) fn listen(fd: RawFd, backlog: u32) -> io::Result<()> {
    syscall!(listen(fd, backlog.min(c_int::MAX as u32) as c_int))?;
    Ok(())
}

pub(crate) fn connect(fd: RawFd, address: &SocketAddr) -> io::Result<()> {
    let (raw, length) = RawAddress::of(address);
    syscall!(connect(fd, raw.0.as_ptr().cast(), length))?;
    Ok(())
}

/// A `struct sockaddr_un` is the family, then a path that ends in 0, or a 0 and an abstract name: unix(7).
#[doc(alias = "connect")]
pub(crate) fn connect_unix(fd: RawFd, address: &unix::SocketAddr) -> io::Result<()> {
    let mut raw = [0; size_of::<libc::sockaddr_un>()];
    let (begin, name) = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => (2, path.as_os_str().as_bytes()),
        (None, Some(name)) => (3, name),
        (None, None) => {
            let why = "an address without a name: nobody can be reached there";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    raw[..2].copy_from_slice(&(libc::AF_UNIX as libc::sa_family_t).to_ne_bytes());
    raw[begin..begin + name.len()].copy_from_slice(name);
    let length = (begin + name.len() + usize::from(begin == 2)) as libc::socklen_t;
    syscall!(connect(fd, raw.as_ptr().cast(), length))?;
    Ok(())
}

/// Process, user and group of whoever connected, or called `listen`.
#[doc(alias = "SO_PEERCRED")]
pub(crate) fn peer_cred(fd: RawFd) -> io::Result<(i32, u32, u32)> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of_val(&cred) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    syscall!(getsockopt(fd, level, name, (&raw mut cred).cast(), &raw mut length))?;
    Ok((cred.pid, cred.uid, cred.gid))
}

/// Whether a `connect` that failed so goes on in the background, connect(2).
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

/// The peer's address comes from the call itself: a peer that has reset has none to ask for later.
#[doc(alias = "accept4")]
pub(crate) fn accept(fd: RawFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut raw = RawAddress([0; 32]);
    let mut length = size_of_val(&raw) as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = syscall!(accept4(fd, raw.0.as_mut_ptr().cast(), &raw mut length, flags))?;
    let fd = own(fd);
    Ok((fd, raw.parse(length)?))
}

/// What an error of `accept` means, accept(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// That client has gone, or its network has: the next one may be there.
    AskAgain,
    /// It fails again and again until somebody gives something back.
    OutOfResources,
    OfListener,
}

pub(crate) fn accept_failure(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error().unwrap_or(0) {
        libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::EPERM => AcceptFailure::AskAgain,
        libc::ENETDOWN | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::ENONET => {
            AcceptFailure::AskAgain
        }
        libc::EHOSTUNREACH | libc::EOPNOTSUPP | libc::ENETUNREACH => AcceptFailure::AskAgain,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => AcceptFailure::OutOfResources,
        _ => AcceptFailure::OfListener,
    }
}

/// Whether clients can come at all: whoever does not listen fails to accept with an error that a listener gives in passing.
#[doc(alias = "SO_ACCEPTCONN")]
pub(crate) fn is_listening(fd: RawFd) -> bool {
    let (mut yes, mut length) = (0 as c_int, size_of::<c_int>() as libc::socklen_t);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
    syscall!(getsockopt(fd, level, name, (&raw mut yes).cast(), &raw mut length)).is_ok()
        && yes != 0
}

#[inline]
pub(crate) fn recv(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(syscall!(recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0))? as usize)
}

#[doc(alias = "recv")]
#[doc(alias = "MSG_PEEK")]
pub(crate) fn peek(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(syscall!(recv(fd, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_PEEK))? as usize)
}

/// `MSG_NOSIGNAL`: a peer that has gone is the error `EPIPE`, never the signal.
#[inline]
pub(crate) fn send(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    Ok(syscall!(send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL))? as usize)
}

/// More buffers than the kernel takes at once: it would refuse them all, readv(2) (`IOV_MAX`).
const MOST_BUFFERS: usize = 1024;

#[doc(alias = "readv")]
pub(crate) fn recv_vectored(fd: RawFd, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // `IoSliceMut` has the layout of `struct iovec`; std guarantees it.
    let count = bufs.len().min(MOST_BUFFERS) as c_int;
    Ok(syscall!(readv(fd, bufs.as_mut_ptr().cast(), count))? as usize)
}

/// `sendmsg`, since `writev` has no `MSG_NOSIGNAL`.
#[doc(alias = "sendmsg")]
#[doc(alias = "writev")]
pub(crate) fn send_vectored(fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: `msghdr` is plain integers and pointers, for which zero is "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` has the layout of `struct iovec`, and sendmsg(2) only reads through it.
    message.msg_iov = bufs.as_ptr().cast_mut().cast();
    message.msg_iovlen = bufs.len().min(MOST_BUFFERS);
    Ok(syscall!(sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL))? as usize)
}

#[doc(alias = "shutdown")]
pub(crate) fn shut_down_writing(fd: RawFd) -> io::Result<()> {
    syscall!(shutdown(fd, libc::SHUT_WR))?;
    Ok(())
}

/// The socket options of socket(7) and ipv6(7) that have to be set before `bind` or `connect`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketOption {
    ReuseAddr,
    ReusePort,
    OnlyV6,
    RecvBuffer,
    SendBuffer,
}

#[doc(alias = "setsockopt")]
pub(crate) fn set_option(fd: RawFd, option: SocketOption, value: c_int) -> io::Result<()> {
    let (level, name) = match option {
        SocketOption::ReuseAddr => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        SocketOption::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
        SocketOption::OnlyV6 => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        SocketOption::RecvBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
        SocketOption::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUF),
    };
    let length = size_of::<c_int>() as libc::socklen_t;
    syscall!(setsockopt(fd, level, name, (&raw const value).cast(), length))?;
    Ok(())
}

/// Room for a `struct sockaddr_in` or `sockaddr_in6`, as bytes: read and written by position, ip(7), ipv6(7).
#[repr(align(8))]
struct RawAddress([u8; 32]);

impl RawAddress {
    fn of(address: &SocketAddr) -> (RawAddress, libc::socklen_t) {
        let mut raw = [0; 32];
        raw[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, length) = match address {
            SocketAddr::V4(v4) => {
                raw[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                raw[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                raw[8..24].copy_from_slice(&v6.ip().octets());
                raw[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
            }
        };
        raw[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        (RawAddress(raw), length as libc::socklen_t)
    }

    fn parse(&self, length: libc::socklen_t) -> io::Result<SocketAddr> {
        let bytes = |at: usize| [self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]];
        let family = libc::sa_family_t::from_ne_bytes([self.0[0], self.0[1]]) as c_int;
        let port = u16::from_be_bytes([self.0[2], self.0[3]]);
        match (family, length as usize) {
            (libc::AF_INET, length) if length >= size_of::<libc::sockaddr_in>() => {
                Ok(SocketAddrV4::new(Ipv4Addr::from(bytes(4)), port).into())
            }
            (libc::AF_INET6, length) if length >= size_of::<libc::sockaddr_in6>() => {
                let mut ip = [0; 16];
                ip.copy_from_slice(&self.0[8..24]);
                let (flow, scope) = (u32::from_ne_bytes(bytes(4)), u32::from_ne_bytes(bytes(24)));
                Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the address is neither IPv4 nor IPv6",
            )),
        }
    }
}

#[cfg(test)]
#[path = "../../tests/inner/addresses.rs"]
mod tests;
