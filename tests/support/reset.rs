//! How a peer goes away without saying goodbye: for the tests of the runtime, and for those of the kernel without it.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Closes the connection by a reset (`RST`) instead of an end (`FIN`).
pub fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    let (fd, value) = (stream.as_raw_fd(), (&raw const linger).cast());
    // SAFETY: `linger` lives, and has the length that is given.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, length) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
    drop(stream);
}
