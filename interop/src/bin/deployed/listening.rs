//! The listener: handed over by who started us, or made here. `examples/activation.rs` tells more of the protocol.

use crate::options::Options;
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use waken::AsyncTcpListener;
use waken::net::TcpSocket;

/// How many clients may wait to be accepted. The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// sd_listen_fds(3): the descriptor is 3, and `LISTEN_PID` says for whom. None is no error: then we listen by ourselves.
pub fn inherited() -> io::Result<Option<TcpListener>> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    if number("LISTEN_FDS") != Some(1) {
        return Err(wrong("LISTEN_FDS is not 1: one socket is listened on"));
    }
    if !Path::new("/proc/self/fd/3").exists() {
        return Err(wrong("LISTEN_FDS is 1, but there is no descriptor 3"));
    }
    // SAFETY: it is open, and nobody else's: `LISTEN_PID` says that it was given to this process, which has just
    // begun and takes it once.
    let owned = unsafe { OwnedFd::from_raw_fd(3) };
    let socket = SockRef::from(&owned);
    if !socket.is_listener()? {
        return Err(wrong("descriptor 3 does not listen"));
    }
    socket.set_cloexec(true)?; // a child of ours should not hold it open
    Ok(Some(TcpListener::from(owned)))
}

pub async fn listen(
    options: &Options,
    inherited: Option<TcpListener>,
) -> io::Result<AsyncTcpListener> {
    if let Some(listener) = inherited {
        return listener.try_into();
    }
    if !options.reuse_port {
        return AsyncTcpListener::bind(options.address.as_str()).await;
    }
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let address: SocketAddr = options.address.parse().map_err(wrong)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
