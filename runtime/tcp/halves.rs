//! A stream in two owned halves, for two tasks that end at different times.

use super::AsyncTcpStream;
use crate::sys;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The reading half of [`AsyncTcpStream::into_split`]. The stream's own methods are there through `as_ref()`.
#[derive(Debug)]
pub struct OwnedReadHalf {
    stream: Arc<AsyncTcpStream>,
}

/// The writing half of [`AsyncTcpStream::into_split`]. Dropping it shuts down writing: the peer reads an end of file.
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
pub struct OwnedWriteHalf {
    stream: Arc<AsyncTcpStream>,
    /// In which process its drop shuts down writing: a forked child has only a copy.
    shut_down_in: Option<u32>,
}

pub(super) fn split(stream: AsyncTcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(stream);
    (
        OwnedReadHalf { stream: stream.clone() },
        OwnedWriteHalf { stream, shut_down_in: Some(sys::process()) },
    )
}

impl OwnedReadHalf {
    /// The whole stream again.
    ///
    /// # Errors
    /// Both halves, when they are not of one stream.
    pub fn reunite(
        self,
        other: OwnedWriteHalf,
    ) -> Result<AsyncTcpStream, (OwnedReadHalf, OwnedWriteHalf)> {
        if !Arc::ptr_eq(&self.stream, &other.stream) {
            return Err((self, other));
        }
        other.forget();
        Ok(Arc::into_inner(self.stream).expect("two halves hold a stream, and nobody else can"))
    }
}

impl OwnedWriteHalf {
    /// Drops the half without shutting down writing.
    pub fn forget(mut self) {
        self.shut_down_in = None;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.shut_down_in == Some(sys::process()) {
            // It fails when the peer has reset the connection: then there is nothing to shut down.
            let _gone = self.stream.shutdown(Shutdown::Write);
        }
    }
}

impl AsRef<AsyncTcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &AsyncTcpStream {
        &self.stream
    }
}

impl AsRef<AsyncTcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &AsyncTcpStream {
        &self.stream
    }
}

impl AsyncRead for OwnedReadHalf {
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

impl AsyncWrite for OwnedWriteHalf {
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
