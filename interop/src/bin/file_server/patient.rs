//! A stream for hyper with a limit for writing: hyper has one for the head of a request, and none for who does not read.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use waken::AsyncTcpStream;
use waken::time::{Sleep, sleep};

/// A write that has to wait for longer than `patience` is an error, which ends the connection. Each byte that is taken begins the
/// time anew; those that the kernel takes at its end begin it once more, so it may be twice as long.
pub struct Patient {
    stream: AsyncTcpStream,
    patience: Duration,
    end: Sleep,
    waits: bool,
}

impl Patient {
    pub fn new(stream: AsyncTcpStream, patience: Duration) -> Patient {
        Patient { stream, patience, end: sleep(patience), waits: false }
    }

    fn in_time(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            self.end.reset(Instant::now() + self.patience);
        }
        if Pin::new(&mut self.end).poll(cx).is_pending() {
            return Poll::Pending;
        }
        // The kernel tells of room when there is much of it. Of a little it has to be asked.
        self.waits = false;
        Poll::Ready(self.stream.try_write(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")
            }
            _ => error,
        }))
    }
}

impl Write for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.in_time(cx, written, first.map_or(&[], |slice| slice))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(Pin::new(&mut self.stream), cx)
    }
}

impl Read for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Read::poll_read(Pin::new(&mut self.stream), cx, buffer)
    }
}
