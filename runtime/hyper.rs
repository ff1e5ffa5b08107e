//! Under hyper 1: our streams, timers and tasks by its traits. HTTP is hyper's. Feature `hyper`.
//!
//! [`AsyncTcpStream`] and [`AsyncUnixStream`] implement [`hyper::rt::Read`] and [`Write`] themselves, so they are given to
//! hyper as they are: the kernel writes right into hyper's buffers, which are never zeroed for it, and many slices are
//! one system call. [`HyperIo`] makes the same of any stream of futures-io, such as TLS, and [`FuturesIo`] goes the other way, for what
//! hyper hands out after an upgrade. [`HyperTimer`] and [`HyperExecutor`] have no state: they are of the runtime that runs
//! the connection.
//!
//! A whole server, with hyper's features `http1` and `server`, and `http-body-util`; it is `interop/src/bin/hello.rs`:
//!
//! ```ignore
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response};
//! use std::time::Duration;
//! use waken::hyper::HyperTimer;
//! use waken::{AsyncTcpListener, block_on, spawn};
//!
//! async fn hello(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
//!     let text = format!("hello from {}\n", request.uri().path());
//!     Ok(Response::new(Full::from(text)))
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
//!     block_on(async {
//!         let listener = AsyncTcpListener::bind(address).await?;
//!         println!("listening on {}", listener.local_addr()?);
//!         let mut http = http1::Builder::new();
//!         http.timer(HyperTimer).header_read_timeout(Duration::from_secs(10));
//!         loop {
//!             // An error here is about this one client, or passes: nobody else has to go for it.
//!             let Ok((stream, peer)) = listener.accept().await else { continue };
//!             let connection = http.serve_connection(stream, service_fn(hello));
//!             spawn(async move {
//!                 if let Err(error) = connection.await {
//!                     eprintln!("{peer}: {error}");
//!                 }
//!             });
//!         }
//!     })
//! }
//! ```
//!
//! hyper closes a client that sends its headers too slowly only if it has a timer: without one, `header_read_timeout` panics.
//! An idle runtime sleeps as it does without hyper.

use crate::sys;
use crate::task;
use crate::tcp::AsyncTcpStream;
use crate::time;
use crate::unix::AsyncUnixStream;
use ::hyper::rt::{Executor, Read, ReadBuf, ReadBufCursor, Sleep, Timer, Write};
use futures_io::{AsyncRead, AsyncWrite};
use pin_project_lite::pin_project;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

macro_rules! hyper_io {
    ($($Stream:ty),*) => {$(
        impl Read for $Stream {
            #[inline]
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                self.inner.poll_read_filling(cx, buf)
            }
        }

        impl Write for $Stream {
            #[inline]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.inner.poll_write(cx, buf)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.inner.poll_write_vectored(cx, bufs)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                AsyncWrite::poll_flush(self, cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                AsyncWrite::poll_close(self, cx)
            }
        }
    )*};
}

hyper_io!(AsyncTcpStream, &AsyncTcpStream, AsyncUnixStream, &AsyncUnixStream);

pin_project! {
    /// A stream of futures-io, such as TLS, as one of hyper's.
    ///
    /// It reads at most 16 KiB at once, which is all that a TLS record holds: that much of hyper's buffer is zeroed before
    /// each read. Our own sockets need no wrapper, and no zeros.
    ///
    /// # Panics
    /// When the inner stream says that it has read more than it was given room for.
    ///
    /// ```
    /// use hyper::rt::Write;
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    /// use waken::hyper::HyperIo;
    ///
    /// waken::block_on(async {
    ///     let mut io = HyperIo::new(futures_lite::io::Cursor::new(Vec::new()));
    ///     poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"hello")).await.unwrap();
    ///     assert_eq!(io.into_inner().into_inner(), b"hello");
    /// });
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct HyperIo<T> {
        #[pin]
        inner: T,
    }
}

/// What `HyperIo` reads at most at once: one record of TLS.
const MOST_ZEROED: usize = 16 << 10;

pin_project! {
    /// A stream of hyper's as one of futures-io: what an upgrade has left, for a WebSocket, say.
    ///
    /// ```
    /// use futures_lite::AsyncReadExt;
    /// use waken::hyper::{FuturesIo, HyperIo};
    ///
    /// waken::block_on(async {
    ///     let of_hyper = HyperIo::new(&b"hello"[..]);
    ///     let mut text = String::new();
    ///     FuturesIo::new(of_hyper).read_to_string(&mut text).await.unwrap();
    ///     assert_eq!(text, "hello");
    /// });
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct FuturesIo<T> {
        #[pin]
        inner: T,
    }
}

macro_rules! wrapper {
    ($($Wrapper:ident),*) => {$(
        impl<T> $Wrapper<T> {
            /// Wraps `inner`.
            pub fn new(inner: T) -> Self {
                $Wrapper { inner }
            }

            /// The inner stream.
            pub fn get_ref(&self) -> &T {
                &self.inner
            }

            /// The inner stream, to be changed.
            pub fn get_mut(&mut self) -> &mut T {
                &mut self.inner
            }

            /// The inner stream, and no wrapper any more. Nothing was held back in it.
            pub fn into_inner(self) -> T {
                self.inner
            }
        }
    )*};
}

wrapper!(HyperIo, FuturesIo);

impl<T: AsyncRead> Read for HyperIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        sys::poll_filling(&mut buf, MOST_ZEROED, |room| self.project().inner.poll_read(cx, room))
    }
}

// futures-io has no way to ask whether many slices are one call, so `is_write_vectored` stays false.
impl<T: AsyncWrite> Write for HyperIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_close(cx)
    }
}

impl<T: Read> AsyncRead for FuturesIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.project().inner.poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: Write> AsyncWrite for FuturesIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }
}

/// The timers of the runtime that polls the connection, for `http1::Builder::timer` and its like.
///
/// hyper moves the timer of the headers at each request. That is done in place: nothing is allocated for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperTimer;

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(time::sleep_until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<time::Sleep>() {
            Some(ours) => ours.get_mut().reset(new_deadline),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

impl Sleep for time::Sleep {}

/// Spawns on the current runtime, for `http2::Builder::new` and its like. Its tasks need no `Send`, run on when their
/// connection has ended, and are called `hyper` in the wait graph.
///
/// # Panics
/// When it is used outside of a runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for HyperExecutor {
    fn execute(&self, future: F) {
        drop(task::Builder::new().name("hyper").spawn(future));
    }
}
