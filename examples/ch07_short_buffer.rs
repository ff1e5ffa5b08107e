//! Chapter 7 of the guide: ten bytes come at once, and are read four at a time. There is one edge for all of them.
//!
//! ```text
//! $ cargo run --example ch07_short_buffer
//! read 4
//! read 4
//! read 2
//! ```

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, block_on};

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let mut peer = TcpStream::connect(listener.local_addr()?)?;
        let stream = listener.accept().await?.0;
        peer.write_all(b"ten bytes!")?;
        sleep(Duration::from_millis(10)).await;
        let (mut buf, mut unread) = ([0; 4], 10);
        while unread > 0 {
            match timeout(Duration::from_secs(1), stream.read(&mut buf)).await {
                Ok(read) => {
                    let n = read?;
                    println!("read {n}");
                    unread -= n;
                }
                Err(_) => {
                    println!("{unread} bytes are there, unread, and no edge will come for them");
                    break;
                }
            }
        }
        Ok(())
    })
}
