//! Chapter 6 of the guide: a descriptor is closed behind the runtime's back, and a duplicate of it goes on to have events.
//!
//! ```text
//! $ cargo run --example ch06_duplicate
//! the newcomer has the place in the table, and waits
//! somebody writes to the old connection
//! the newcomer was polled 1 times
//! ```

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use waken::io::AsyncFd;
use waken::time::sleep;
use waken::{AsyncTcpListener, block_on, spawn};

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut old_peer = TcpStream::connect(address)?;
        let old = listener.accept().await?.0.into_std();
        let _duplicate = old.try_clone()?;
        let another = TcpStream::connect(address)?;
        let mut old = AsyncFd::new(old)?;
        // This closes what was there. Its duplicate keeps it in epoll, under the old key.
        *old.get_mut() = another;
        drop(old);
        let _new_peer = TcpStream::connect(address)?;
        drop(listener.accept().await?);
        let newcomer = listener.accept().await?.0;
        spawn(async move { newcomer.read(&mut [0; 1]).await });
        sleep(Duration::from_millis(50)).await;
        println!("the newcomer has the place in the table, and waits");
        println!("somebody writes to the old connection");
        old_peer.write_all(b"for nobody")?;
        sleep(Duration::from_millis(50)).await;
        println!("the newcomer was polled {} times", waken::runtime::tasks()[0].polls);
        Ok(())
    })
}
