//! What several types of socket have alike: the way from std's type and back, the descriptor, a `Debug`; and what all
//! that carry messages have.

/// `Async` is a socket of ours that has std's in an `Inner`, its field `inner`.
macro_rules! socket {
    ($Async:ident { $Inner:ident<$std:ty> }, $what:literal) => {
        impl TryFrom<$std> for $Async {
            type Error = std::io::Error;

            /// Registers the socket with the current runtime and makes it non-blocking, for all its duplicates.
            fn try_from(socket: $std) -> std::io::Result<$Async> {
                socket.set_nonblocking(true)?;
                Ok($Async { inner: $Inner::new(socket)? })
            }
        }

        impl TryFrom<std::os::fd::OwnedFd> for $Async {
            type Error = std::io::Error;

            #[doc = concat!("`fd` is to be ", $what, ".")]
            fn try_from(fd: std::os::fd::OwnedFd) -> std::io::Result<$Async> {
                <$std>::from(fd).try_into()
            }
        }

        impl From<$Async> for std::os::fd::OwnedFd {
            fn from(socket: $Async) -> std::os::fd::OwnedFd {
                socket.into_std().into()
            }
        }

        impl std::os::fd::AsFd for $Async {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.inner.get_ref().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $Async {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.inner.get_ref().as_raw_fd()
            }
        }

        impl std::fmt::Debug for $Async {
            /// As std's, which has the same name but for the beginning.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Async")?;
                std::fmt::Debug::fmt(self.inner.get_ref(), f)
            }
        }
    };
}

/// What sockets that carry messages have beside sending and receiving them.
macro_rules! datagram {
    ($Async:ident over $std:ty, at $SocketAddr:ty) => {
        impl $Async {
            /// Waits until there may be a message. Takes none. Cancel safe. A hint: on a new socket it is ready at once.
            ///
            /// # Errors
            /// After the runtime's end, or on another thread.
            #[track_caller]
            pub fn readable(&self) -> impl Future<Output = std::io::Result<()>> {
                let at = std::panic::Location::caller();
                self.inner.readable(Some(at))
            }

            /// Waits until there may be room to send. Cancel safe. A hint, as `readable`.
            ///
            /// # Errors
            /// After the runtime's end, or on another thread.
            #[track_caller]
            pub fn writable(&self) -> impl Future<Output = std::io::Result<()>> {
                let at = std::panic::Location::caller();
                self.inner.writable(Some(at))
            }

            /// Runs `operation`, a call of your own on the socket, until it says something other than `WouldBlock`,
            /// and waits for `interest` in between. Cancel safe if `operation` is.
            ///
            /// # Errors
            /// Those of `operation`.
            #[track_caller]
            pub fn async_io<R>(
                &self,
                interest: crate::interest::Interest,
                operation: impl FnMut(&$std) -> std::io::Result<R>,
            ) -> impl Future<Output = std::io::Result<R>> {
                self.inner.async_io(interest, Some(std::panic::Location::caller()), operation)
            }

            /// Runs `operation`, a call of your own on the socket, once, and remembers it when that says
            /// `WouldBlock`.
            ///
            /// # Errors
            /// Those of `operation`.
            pub fn try_io<R>(
                &self,
                interest: crate::interest::Interest,
                operation: impl FnOnce(&$std) -> std::io::Result<R>,
            ) -> std::io::Result<R> {
                self.inner.try_io(interest, |socket, _| operation(socket))
            }

            /// The address of this side. That of a Unix socket may have no name.
            ///
            /// # Errors
            /// See getsockname(2).
            pub fn local_addr(&self) -> std::io::Result<$SocketAddr> {
                self.inner.get_ref().local_addr()
            }

            /// The address that `connect` has set.
            ///
            /// # Errors
            /// `NotConnected` when it has set none.
            pub fn peer_addr(&self) -> std::io::Result<$SocketAddr> {
                self.inner.get_ref().peer_addr()
            }

            /// The socket itself, for its options. Its calls do not wait: they say `WouldBlock`.
            pub fn get_ref(&self) -> &$std {
                self.inner.get_ref()
            }

            /// Takes the socket out of the runtime. It stays non-blocking.
            #[must_use = "dropping it closes the socket"]
            pub fn into_std(self) -> $std {
                self.inner.into_inner()
            }
        }
    };
}

pub(crate) use {datagram, socket};
