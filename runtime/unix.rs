//! Unix sockets, by noun: the listener, the stream, the datagram socket. See unix(7).

mod datagram;
mod listener;
mod stream;

pub use datagram::AsyncUnixDatagram;
pub use listener::{AsyncUnixListener, Incoming};
pub use stream::{AsyncUnixStream, UCred};

use crate::current;
use crate::time;
use std::io;
use std::panic::Location;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Makes a call again that says `WouldBlock`, after a pause, where no event tells when it would not: the queue of
/// a listener, or of a socket that ours is not connected with, is full.
async fn patiently<R>(
    at: &'static Location<'static>,
    mut call: impl FnMut() -> io::Result<R>,
) -> io::Result<R> {
    let mut pause = FIRST_PAUSE;
    loop {
        current::operation().await;
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                time::sleep_at(time::now() + pause, at).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
