//! TCP, by noun: the listener, the stream, the socket that is neither yet, and addresses.

mod addrs;
mod halves;
mod listener;
mod socket;
mod stream;

mod options;

pub use addrs::ToSocketAddrs;
pub(crate) use halves::split;
pub use halves::{OwnedReadHalf, OwnedWriteHalf};
pub use listener::{AsyncTcpListener, Incoming};
pub use socket::TcpSocket;
pub use stream::AsyncTcpStream;
