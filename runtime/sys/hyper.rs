//! Reads into hyper's buffers, which need not be initialised. Part of `sys.rs`, by whose macro they are made.

use ::hyper::rt::ReadBufCursor;
use std::io;
use std::os::fd::RawFd;
use std::task::{Poll, ready};

/// Lets the kernel write into the room that `buf` has, whatever is there now.
#[doc(alias = "recv")]
pub(crate) fn recv_filling(fd: RawFd, buf: &mut ReadBufCursor<'_>) -> io::Result<usize> {
    // SAFETY: nothing in it is made uninitialised: it is written by the kernel alone, or not at all.
    let room = unsafe { buf.as_mut() };
    let n = syscall!(recv(fd, room.as_mut_ptr().cast(), room.len(), 0))? as usize;
    // SAFETY: the kernel has written the first `n` bytes of the room, and says no more than it was given.
    unsafe { buf.advance(n) };
    Ok(n)
}

/// Lets `read` write into the first bytes of the room, at most `most`, which are made zeros before.
///
/// # Panics
/// When `read` says that it has filled more than it was given.
pub(crate) fn poll_filling(
    buf: &mut ReadBufCursor<'_>,
    most: usize,
    read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<()>> {
    let room = buf.initialize_unfilled_to(most.min(buf.remaining()));
    let given = room.len();
    let n = ready!(read(room))?;
    assert!(n <= given, "a reader says that it has read {n} bytes into a buffer of {given}");
    // SAFETY: `given` bytes are initialised, and `n` is no more.
    unsafe { buf.advance(n) };
    Poll::Ready(Ok(()))
}
