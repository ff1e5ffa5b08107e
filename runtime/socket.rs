//! What every type of socket has: the way from std's type and back, its descriptor, and a `Debug`.

/// `Async` is a socket of ours that has std's in an `Inner`, its field `inner`. `shows` are methods of std's.
macro_rules! socket {
    ($Async:ident { $Inner:ident<$std:ty> }, $what:literal, shows $($field:ident: $method:ident),*) => {
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
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let socket = self.inner.get_ref();
                let mut f = f.debug_struct(stringify!($Async));
                $(if let Ok(value) = socket.$method() {
                    f.field(stringify!($field), &value);
                })*
                f.field("fd", &std::os::fd::AsRawFd::as_raw_fd(socket)).finish()
            }
        }
    };
}

pub(crate) use socket;
