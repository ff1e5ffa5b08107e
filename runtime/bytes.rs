//! Bytes in order, over a registered socket: the operations that a TCP stream and a Unix stream share. What is
//! public about them stands at the streams.

use crate::fd::{Registered, are_empty, retry};
use crate::interest::Interest;
use crate::source::{At, Read, Source, Write};
use crate::sys;
#[cfg(feature = "hyper")]
use ::hyper::rt::ReadBufCursor;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::task::{Context, Poll};

/// A stream socket of std's.
pub(crate) trait Stream: AsFd + AsRawFd {
    /// Whether a short read proves that nothing more is there, but for what the last event has said. So it is
    /// with TCP. On a Unix socket a read also ends where descriptors were sent along, unix(7).
    const SHORT_READS_PROVE: bool;
}

/// The kernel moves at most about this much at once, read(2), and less where pages are larger: a count from here on
/// proves nothing.
const MOST_AT_ONCE: usize = 0x7fff_0000;

#[inline]
fn is_short(n: usize, room: usize) -> bool {
    n < room.min(MOST_AT_ONCE)
}

/// What one read does: the call, and the end of readiness if it was short.
#[inline]
fn recv<S: Stream>(stream: &S, source: &Source, buf: &mut [u8]) -> io::Result<usize> {
    let n = sys::recv(stream.as_raw_fd(), buf)?;
    if S::SHORT_READS_PROVE && is_short(n, buf.len()) {
        source.short_read();
    }
    Ok(n)
}

/// The same, into room that need not be initialised.
#[cfg(feature = "hyper")]
fn recv_filling<S: Stream>(
    stream: &S,
    source: &Source,
    buf: &mut ReadBufCursor<'_>,
) -> io::Result<()> {
    let room = buf.remaining();
    let n = sys::recv_filling(stream.as_raw_fd(), buf)?;
    if S::SHORT_READS_PROVE && is_short(n, room) {
        source.short_read();
    }
    Ok(())
}

fn recv_vectored<S: Stream>(
    stream: &S,
    source: &Source,
    bufs: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    let n = sys::recv_vectored(stream.as_raw_fd(), bufs)?;
    // Of many buffers the kernel was offered only the first: what is certain is that the very first has room left.
    let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(0, |first| first.len());
    if S::SHORT_READS_PROVE && is_short(n, first) {
        source.short_read();
    }
    Ok(n)
}

#[inline]
fn send<S: Stream>(stream: &S, buf: &[u8]) -> io::Result<usize> {
    sys::send(stream.as_raw_fd(), buf)
}

fn send_vectored<S: Stream>(stream: &S, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    sys::send_vectored(stream.as_raw_fd(), bufs)
}

/// Nothing to transfer is ready at once, and nobody is asked.
impl<S: Stream> Registered<S> {
    #[inline]
    pub(crate) fn read(&self, at: At, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        let empty = buf.is_empty();
        self.io::<Read, _, _>(at, empty, move |stream, source| recv(stream, source, buf).map(Some))
    }

    #[inline]
    pub(crate) fn read_exact(
        &self,
        at: At,
        buf: &mut [u8],
    ) -> impl Future<Output = io::Result<()>> {
        let (mut filled, empty) = (0, buf.is_empty());
        self.io::<Read, _, _>(at, empty, move |stream, source| {
            let n = recv(stream, source, &mut buf[filled..])?;
            filled += n;
            match filled == buf.len() {
                true => Ok(Some(())),
                false if n == 0 => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the stream ended before the buffer was full",
                )),
                false => Ok(None),
            }
        })
    }

    pub(crate) fn read_vectored(
        &self,
        at: At,
        bufs: &mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> {
        self.io::<Read, _, _>(at, are_empty(bufs), move |stream, source| {
            recv_vectored(stream, source, bufs).map(Some)
        })
    }

    #[inline]
    pub(crate) fn write(&self, at: At, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        self.io::<Write, _, _>(at, buf.is_empty(), move |stream, _| send(stream, buf).map(Some))
    }

    #[inline]
    pub(crate) fn write_all(&self, at: At, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        let mut rest = buf;
        self.io::<Write, _, _>(at, buf.is_empty(), move |stream, _| {
            let n = send(stream, rest)?;
            if n == rest.len() {
                return Ok(Some(()));
            }
            rest = &rest[n..];
            Ok(None)
        })
    }

    pub(crate) fn write_vectored(
        &self,
        at: At,
        bufs: &[IoSlice<'_>],
    ) -> impl Future<Output = io::Result<usize>> {
        let operation = move |stream: &S, _: &Source| send_vectored(stream, bufs).map(Some);
        self.io::<Write, _, _>(at, are_empty(bufs), operation)
    }

    pub(crate) fn peek(&self, at: At, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.io::<Read, _, _>(at, buf.is_empty(), move |stream, _| {
            sys::peek(stream.as_raw_fd(), buf).map(Some)
        })
    }

    pub(crate) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.try_io(Interest::READABLE, |stream, source| retry(|| recv(stream, source, buf)))
    }

    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.try_io(Interest::WRITABLE, |stream, _| retry(|| send(stream, buf)))
    }

    // ---- for the traits of futures-io ---------------------------------------------------------

    #[inline]
    pub(crate) fn poll_read(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_io_kept::<Read, _>(cx, |stream, source| recv(stream, source, buf))
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn poll_read_filling(
        &self,
        cx: &Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_io_kept::<Read, _>(cx, |stream, source| recv_filling(stream, source, &mut buf))
    }

    pub(crate) fn poll_read_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(bufs) {
            return Poll::Ready(Ok(0));
        }
        self.poll_io_kept::<Read, _>(cx, |stream, source| recv_vectored(stream, source, bufs))
    }

    #[inline]
    pub(crate) fn poll_write(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_io_kept::<Write, _>(cx, |stream, _| send(stream, buf))
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(bufs) {
            return Poll::Ready(Ok(0));
        }
        self.poll_io_kept::<Write, _>(cx, |stream, _| send_vectored(stream, bufs))
    }
}

#[cfg(test)]
#[path = "../tests/inner/bytes.rs"]
mod tests;
