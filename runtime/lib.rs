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
//! Start with [`block_on`] and [`spawn`], or with [what you know](coming_from) from another runtime; then [`net`], [`time`], [`task`]. [`io::AsyncFd`] is for every other
//! descriptor, [`process::wait`] for children, [`Workers`] for all cores. [`Runtime`] is for who keeps one, looks into it,
//! reaches it from other threads, or runs it inside another loop. How it works inside is told by `README.md` and
//! `ARCHITECTURE.md`, and by the files themselves, which are meant to be read.
//!
//! # Where things work
//!
//! | | `Send` and `Sync` | on another thread, or under another runtime |
//! |---|---|---|
//! | [`Runtime`], [`EnterGuard`](runtime::EnterGuard) | no | cannot get there |
//! | sockets, listeners, [`io::AsyncFd`] | yes (an `AsyncFd` if its value is) | every operation is an error that says so; a drop closes it |
//! | [`Sleep`](time::Sleep), [`Interval`](time::Interval), [`Timeout`](time::Timeout) | yes (a `Timeout` if its future is) | waits with the runtime that polls it |
//! | [`JoinHandle`], [`JoinSet`] | if the output is | awaiting it panics while its runtime lives; a drop takes effect at home |
//! | [`AbortHandle`](task::AbortHandle), [`Remote`], [`RemoteJoinHandle`](runtime::RemoteJoinHandle), a task's `Waker` | yes | works (but `AbortHandle::is_finished` panics while the runtime lives) |
//!
//! Outside of any runtime [`spawn`] panics, a socket is an error, and a timer that has to wait panics when it is polled; one that is due
//! is ready. Each says what to do: [`block_on`], or [`Runtime::enter`]. After the end of its runtime a task is cancelled,
//! a socket is an error, and a wake does nothing. In a forked child the runtimes of the parent panic when they are run, and what is dropped
//! there is still the parent's; the child may make runtimes of its own.
//!
//! A global allocator must not call anything of this crate, and wake nobody: memory is asked for while tables are open.
//!
//! # Figures
//!
//! A turn polls each task once that was ready when it began; then the kernel brings up to 256 events, and timers that are due
//! fire. Within one poll a task may have 128 operations that are ready; then it lets the others go first. [`Builder`] changes
//! all of that. A pending task costs 64 bytes, in a table whose room doubles, and one allocation for its future; an idle connection, in a
//! task of its own, less than 400 bytes beside its buffer. A task that has ended keeps the room of its future until it is joined, or
//! its handle is dropped; that of the last one that was joined, up to 512 bytes, is kept for another. After a burst the
//! tables keep their room, of 64 bytes a task and 16 a socket, until no task, or no socket, is left.
//!
//! Three features have a dependency each: `signal` for signals (on `signal-hook-registry`), `blocking` for a pool of
//! threads (the crate `blocking`), `hyper` for HTTP (the traits of hyper 1). `trace` has none: it tells what the runtime does, while it
//! does it.

// docs.rs says of each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("waken is for 64-bit Linux: it is built on epoll, and packs a waker into 64 bits");

#[macro_use] // First: hooks are everywhere.
mod hook;

mod accept;
mod alarm;
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
mod ready;
mod run;
mod slab;
mod socket;
mod sorted;
mod source;
mod spawned;
#[allow(unsafe_code)] // The one place. See `ARCHITECTURE.md`.
mod sys;
mod tasks;
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
#[cfg(feature = "trace")]
pub mod trace;

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
#[doc(alias = "spawn_blocking")]
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

#[cfg(all(doc, not(doctest)))] // A page, and no module. Its programs are compiled by `interop/coming`.
#[doc = include_str!("../docs/coming-from.md")]
#[doc(alias = "select")]
#[doc(alias = "race")]
#[doc(alias = "mpsc")]
#[doc(alias = "Mutex")]
#[doc(alias = "AsyncReadExt")]
pub mod coming_from {}

/// The code of the README is compiled with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
