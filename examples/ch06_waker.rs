//! Chapter 6 of the guide: a waker that owns a socket. When the reactor drops the waker, the socket is closed: by the reactor.
//!
//! ```text
//! $ cargo run --example ch06_waker
//! watched: 3 descriptors
//! an edge: the waker is woken and dropped, and its socket with it
//! watched: 2 descriptors
//! ```

use std::io::Write;
use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use waken::time::sleep;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on};

/// Sockets are `Send + Sync`, so another executor's task may own one, and so may its waker.
struct Owner(#[allow(dead_code)] AsyncTcpStream);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let mut peer = TcpStream::connect(listener.local_addr()?)?;
        let stream = listener.accept().await?.0;
        let _other = TcpStream::connect(listener.local_addr()?)?;
        let owned = listener.accept().await?.0;

        let (waker, mut buf) = (Waker::from(Arc::new(Owner(owned))), [0; 1]);
        let mut reading = pin!(stream.read(&mut buf));
        let polled = reading.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(waker); // From here on the reactor has the only one.
        println!("watched: {} descriptors", waken::runtime::metrics().sources_alive);
        println!("an edge: the waker is woken and dropped, and its socket with it");
        peer.write_all(b"x")?;
        sleep(Duration::from_millis(50)).await;
        println!("watched: {} descriptors", waken::runtime::metrics().sources_alive);
        Ok(())
    })
}
