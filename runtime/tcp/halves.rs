//! A stream in two owned halves, for two tasks that end at different times.

use super::AsyncTcpStream;
use crate::sys;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The reading half of a stream that was split, see [`AsyncTcpStream::into_split`]. The stream's own methods are there
/// through `as_ref()`.
#[derive(Debug)]
pub struct OwnedReadHalf<S: AsFd = AsyncTcpStream> {
    stream: Arc<S>,
}

/// The writing half of a stream that was split, see [`AsyncTcpStream::into_split`]. Dropping it shuts down writing: the
/// peer reads an end of file.
///
/// ```
/// # use waken::{AsyncTcpListener, AsyncTcpStream};
/// # waken::block_on(async {
/// # let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
/// # let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
/// # let server = listener.accept().await?.0;
/// let (reader, writer) = server.into_split();
/// writer.as_ref().write_all(b"bye").await?;
/// drop(writer);
/// let mut buf = [0; 8];
/// assert_eq!(client.read(&mut buf).await?, 3);
/// assert_eq!(client.read(&mut buf).await?, 0);
/// drop(reader);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct OwnedWriteHalf<S: AsFd = AsyncTcpStream> {
    stream: Arc<S>,
    /// In which process its drop shuts down writing: a forked child has only a copy.
    shut_down_in: Option<u32>,
}

pub(crate) fn split<S: AsFd>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    (
        OwnedReadHalf { stream: stream.clone() },
        OwnedWriteHalf { stream, shut_down_in: Some(sys::process()) },
    )
}

impl<S: AsFd> OwnedReadHalf<S> {
    /// The whole stream again.
    ///
    /// # Errors
    /// Both halves, when they are not of one stream.
    pub fn reunite(
        self,
        other: OwnedWriteHalf<S>,
    ) -> Result<S, (OwnedReadHalf<S>, OwnedWriteHalf<S>)> {
        if !Arc::ptr_eq(&self.stream, &other.stream) {
            return Err((self, other));
        }
        other.forget();
        match Arc::into_inner(self.stream) {
            Some(stream) => Ok(stream),
            None => unreachable!("two halves hold a stream, and nobody else can"),
        }
    }
}

impl<S: AsFd> OwnedWriteHalf<S> {
    /// Drops the half without shutting down writing.
    pub fn forget(mut self) {
        self.shut_down_in = None;
    }
}

impl<S: AsFd> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.shut_down_in == Some(sys::process()) {
            // It fails when the peer has reset the connection: then there is nothing to shut down.
            let _gone = sys::shut_down_writing(self.stream.as_fd().as_raw_fd());
        }
    }
}

impl<S: AsFd> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsFd> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsFd> AsyncRead for OwnedReadHalf<S>
where
    for<'a> &'a S: AsyncRead,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_read_vectored(cx, bufs)
    }
}

impl<S: AsFd> AsyncWrite for OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_close(cx)
    }
}
