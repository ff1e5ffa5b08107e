//! A small async runtime for Linux: a single-threaded executor, an edge-triggered epoll reactor, timers and sockets.
//!
//! ```
//! use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};
//!
//! block_on(async {
//!     let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     spawn(async move {
//!         let (stream, _peer) = listener.accept().await?;
//!         stream.write_all(b"hello").await
//!     });
//!     let stream = AsyncTcpStream::connect(address).await?;
//!     let mut buf = [0; 5];
//!     stream.read_exact(&mut buf).await?;
//!     assert_eq!(&buf, b"hello");
//!     std::io::Result::Ok(())
//! }).unwrap();
//! ```
//!
//! Start with [`block_on`] and [`spawn`]; then [`net`], [`time`], [`task`]. [`io::AsyncFd`] is for every other
//! descriptor, [`process::wait`] for children, [`Workers`] for all cores. [`Runtime`] is for who keeps one, looks into it,
//! reaches it from other threads, or runs it inside another loop. How it works inside is told by `README.md` and
//! `ARCHITECTURE.md`, and by the files themselves, which are meant to be read.
//!
//! Three features, each with a dependency: `signal` for signals (on `signal-hook-registry`), `blocking` for a pool of
//! threads (the crate `blocking`), `hyper` for HTTP (the traits of hyper 1).

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("waken is for 64-bit Linux: it is built on epoll, and packs a waker into 64 bits");

mod accept;
mod async_fd;
mod bytes;
mod current;
mod executor;
mod fd;
mod forgotten;
mod home;
mod interest;
mod mailbox;
mod number;
mod patience;
mod reactor;
mod run;
mod slab;
mod socket;
mod source;
mod spawned;
#[allow(unsafe_code)] // The one place. See `ARCHITECTURE.md`.
mod sys;
mod tcp;
mod timers;
mod traits;
mod udp;
mod unix;
mod waker;

#[cfg(feature = "hyper")]
pub mod hyper;
pub mod process;
pub mod runtime;
#[cfg(feature = "signal")]
pub mod signal;
pub mod task;
pub mod time;

/// Sockets: TCP, UDP and Unix.
pub mod net {
    pub use crate::tcp::{
        AsyncTcpListener, AsyncTcpStream, Incoming, OwnedReadHalf, OwnedWriteHalf, TcpSocket,
        ToSocketAddrs,
    };
    pub use crate::udp::AsyncUdpSocket;
    pub use crate::unix::{
        AsyncUnixDatagram, AsyncUnixListener, AsyncUnixStream, Incoming as UnixIncoming, UCred,
    };
}

/// Any descriptor, and readiness: what to wait for, and what a descriptor is ready for.
pub mod io {
    pub use crate::async_fd::AsyncFd;
    pub use crate::interest::{Interest, Ready};
}

/// Calls that block, on a pool of threads: the crate `blocking`. Feature `blocking`. The pool grows to 500 threads, and with
/// version 1.7 of the crate they stay, for the next call. While it has none and the system lets it make none (`EAGAIN`), `unblock`
/// asks again and again on the thread that calls it, and the runtime stands still.
#[cfg(feature = "blocking")]
pub mod blocking {
    pub use ::blocking::unblock;
}

#[cfg(feature = "blocking")]
#[doc(inline)]
pub use ::blocking::unblock;
#[doc(inline)]
pub use net::{AsyncTcpListener, AsyncTcpStream};
#[doc(inline)]
pub use runtime::{Builder, Remote, Runtime, Workers, block_on, spawn};
#[doc(inline)]
pub use task::{JoinError, JoinHandle, JoinSet};

/// The code of the README is compiled with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
