#![doc = include_str!("../README.md")]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("waken is for 64-bit Linux: it is built on epoll, and packs a waker into 64 bits");

mod current;
mod executor;
mod fd;
mod home;
mod interest;
mod mailbox;
mod reactor;
mod slab;
mod source;
mod spawned;
#[allow(unsafe_code)] // The one place. See `ARCHITECTURE.md`.
mod sys;
mod tcp;
mod timers;
mod waker;

pub mod runtime;
pub mod task;
pub mod time;

/// TCP: a listener, a stream, its halves, and a socket that is neither yet.
pub mod net {
    pub use crate::tcp::{
        AsyncTcpListener, AsyncTcpStream, Incoming, OwnedReadHalf, OwnedWriteHalf, TcpSocket,
        ToSocketAddrs,
    };
}

/// Readiness: what to wait for, and what a socket is ready for.
pub mod io {
    pub use crate::interest::{Interest, Ready};
}

pub use net::{AsyncTcpListener, AsyncTcpStream};
pub use runtime::{Builder, Remote, Runtime, block_on, spawn};
pub use task::{JoinError, JoinHandle, JoinSet};
