//! Any descriptor that epoll can wait for. Nothing is inferred from the length of a read: of a terminal, an inotify,
//! a semaphore, a read that is short says nothing of the next one.

use crate::fd::{Registered, are_empty, retry};
use crate::interest::{Interest, Ready};
use crate::sys;
use futures_io::{AsyncRead, AsyncWrite};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Something with a descriptor, which can be waited for: a pipe, a pidfd, a timerfd, an inotify, a terminal, a tun,
/// a socket of another family, another epoll instance, another runtime.
///
/// A call of your own on it, which says `WouldBlock`, becomes a future by [`async_io`](AsyncFd::async_io); readiness is
/// cleared when the call says so, and by nothing else, so there is nothing to forget. Through the traits of futures-io
/// it reads and writes where `T` does, or where `&T` does.
///
/// It is `Send + Sync` when `T` is, and works on its own runtime's thread.
///
/// ```
/// use futures_lite::AsyncReadExt;
/// use std::process::{Command, Stdio};
/// use waken::io::AsyncFd;
///
/// waken::block_on(async {
///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     let mut out = AsyncFd::new(child.stdout.take().unwrap())?;
///     let mut text = String::new();
///     out.read_to_string(&mut text).await?;
///     assert_eq!(text, "hello\n");
///     child.wait()?;
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[doc(alias = "Async")]
#[doc(alias = "PollEvented")]
pub struct AsyncFd<T: AsFd> {
    inner: Registered<T>,
    interest: Interest,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers `io` with the current runtime, for both directions, and makes it non-blocking, for all its
    /// duplicates: a terminal that is shared with a shell, say, is non-blocking for that as well.
    ///
    /// # Errors
    /// `Unsupported` for what epoll cannot wait for: regular files, directories. Outside of a runtime. `AlreadyExists` when
    /// the descriptor is registered already. See epoll_ctl(2).
    pub fn new(io: T) -> io::Result<AsyncFd<T>> {
        AsyncFd::with_interest(io, Interest::ALL)
    }

    /// [`new`](AsyncFd::new), for something of which only `interest` will ever be waited for: other events of it cost
    /// nothing then. To wait for something else is an error.
    ///
    /// # Errors
    /// As [`new`](AsyncFd::new).
    pub fn with_interest(io: T, interest: Interest) -> io::Result<AsyncFd<T>> {
        match Registered::with_interest(io, interest) {
            Ok(inner) => {
                // Last: what is refused is left as it was.
                sys::set_nonblocking(inner.get_ref().as_fd().as_raw_fd())?;
                Ok(AsyncFd { inner, interest })
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "epoll cannot wait for this descriptor: a regular file or a directory is always ready, so read it on a thread of its own, as the `blocking` crate does",
            )),
            Err(error) => Err(error),
        }
    }

    /// What was registered. Its calls do not wait: they say `WouldBlock`.
    pub fn get_ref(&self) -> &T {
        self.inner.get_ref()
    }

    /// What was registered. To put another descriptor into its place is a mistake, which harms nobody else: who waits here
    /// waits for the one that was registered.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.registration().lend();
        self.inner.split_mut().1
    }

    /// Takes it out of the runtime. It stays non-blocking.
    #[must_use = "dropping it closes the descriptor"]
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }

    /// Waits until there may be something to read, an end or an error included. Takes nothing. Cancel safe. A hint: when
    /// it is new it is ready at once, until a call has said `WouldBlock`.
    ///
    /// # Errors
    /// After the runtime's end, or on another thread.
    #[track_caller]
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.wait(Interest::READABLE, Location::caller(), |_| ())
    }

    /// Waits until there may be room to write. Cancel safe. A hint, as [`readable`](AsyncFd::readable).
    ///
    /// # Errors
    /// After the runtime's end, or on another thread.
    #[track_caller]
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> {
        self.wait(Interest::WRITABLE, Location::caller(), |_| ())
    }

    /// Waits until it may be ready for something of `interest`, and says for what. Cancel safe. A hint, as
    /// [`readable`](AsyncFd::readable).
    ///
    /// # Errors
    /// After the runtime's end, or on another thread.
    #[track_caller]
    pub fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        self.wait(interest, Location::caller(), |ready| ready)
    }

    /// Runs `operation` until it says something other than `WouldBlock`, and waits for `interest` in between. A `WouldBlock`
    /// must hold for all of `interest`. Cancel safe if `operation` is.
    ///
    /// # Errors
    /// Those of `operation`.
    ///
    /// ```
    /// # waken::block_on(async {
    /// use std::io::{Read, Write};
    /// use waken::io::{AsyncFd, Interest};
    ///
    /// let (one, mut other) = std::os::unix::net::UnixStream::pair()?;
    /// let one = AsyncFd::new(one)?;
    /// other.write_all(b"x")?;
    /// let mut buf = [0; 16];
    /// let n = one.async_io(Interest::READABLE, |mut socket| socket.read(&mut buf)).await?;
    /// assert_eq!(n, 1);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn async_io<R>(
        &self,
        interest: Interest,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> impl Future<Output = io::Result<R>> {
        self.async_io_at(interest, Location::caller(), operation)
    }

    /// The same, of which the wait graph says that it was called `at` that line.
    pub(crate) async fn async_io_at<R>(
        &self,
        interest: Interest,
        at: &'static Location<'static>,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.allow(interest)?;
        self.inner.async_io(interest, Some(at), operation).await
    }

    /// Runs `operation` once, and remembers it when that says `WouldBlock`, so that the next
    /// [`ready`](AsyncFd::ready) waits.
    ///
    /// # Errors
    /// Those of `operation`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.allow(interest)?;
        self.inner.try_io(interest, |io, _| operation(io))
    }

    /// [`async_io`](AsyncFd::async_io), as a poll function. In each direction the last waker is woken.
    ///
    /// # Errors
    /// Those of `operation`.
    pub fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.allow(interest)?;
        self.inner.registration().poll_io_kept(cx, interest, || operation(self.get_ref()))
    }

    fn poll_mut<R>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        interest: Interest,
        mut operation: impl FnMut(&mut T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let this = self.get_mut();
        this.allow(interest)?;
        let (registration, io) = this.inner.split_mut();
        registration.poll_io_kept(cx, interest, || operation(io))
    }

    async fn wait<R>(
        &self,
        interest: Interest,
        at: &'static Location<'static>,
        show: fn(Ready) -> R,
    ) -> io::Result<R> {
        self.allow(interest)?;
        self.inner.ready(interest, Some(at)).await.map(show)
    }

    fn allow(&self, interest: Interest) -> io::Result<()> {
        if self.interest.has_all(interest) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this `AsyncFd` was registered for less than it is asked to wait for: make it with `AsyncFd::new`",
        ))
    }
}

// What is in it is called, never pinned.
impl<T: AsFd> Unpin for AsyncFd<T> {}

impl<T: AsFd + Read> AsyncRead for AsyncFd<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_mut(cx, Interest::READABLE, |io| io.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(bufs) {
            return Poll::Ready(Ok(0));
        }
        self.poll_mut(cx, Interest::READABLE, |io| io.read_vectored(bufs))
    }
}

impl<T: AsFd> AsyncRead for &AsyncFd<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_io(cx, Interest::READABLE, |mut io| io.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(bufs) {
            return Poll::Ready(Ok(0));
        }
        self.poll_io(cx, Interest::READABLE, |mut io| io.read_vectored(bufs))
    }
}

/// Closing flushes, and no more: the descriptor is closed when the `AsyncFd` is dropped.
impl<T: AsFd + Write> AsyncWrite for AsyncFd<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_mut(cx, Interest::WRITABLE, |io| io.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(bufs) {
            return Poll::Ready(Ok(0));
        }
        self.poll_mut(cx, Interest::WRITABLE, |io| io.write_vectored(bufs))
    }

    /// Asks once also when there is no room: most hold nothing back, and have nothing to wait for.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.source()?;
        match retry(|| self.inner.split_mut().1.flush()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.poll_mut(cx, Interest::WRITABLE, |io| io.flush())
            }
            result => Poll::Ready(result),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T: AsFd> AsyncWrite for &AsyncFd<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_io(cx, Interest::WRITABLE, |mut io| io.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(bufs) {
            return Poll::Ready(Ok(0));
        }
        self.poll_io(cx, Interest::WRITABLE, |mut io| io.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.source()?;
        match retry(|| self.inner.get_ref().flush()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.poll_io(cx, Interest::WRITABLE, |mut io| io.flush())
            }
            result => Poll::Ready(result),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd> AsRawFd for AsyncFd<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}
