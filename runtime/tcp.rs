//! TCP, by noun: the listener, the stream, its two halves, the socket that is neither yet, and addresses.

mod addrs;
mod halves;
mod listener;
mod socket;
mod stream;

mod options;
mod traits;

pub use addrs::ToSocketAddrs;
pub use halves::{OwnedReadHalf, OwnedWriteHalf};
pub use listener::{AsyncTcpListener, Incoming};
pub use socket::TcpSocket;
pub use stream::AsyncTcpStream;
