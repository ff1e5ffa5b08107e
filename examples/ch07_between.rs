//! Chapter 7 of the guide: a byte that comes between `WouldBlock` and what the runtime makes of it.
//!
//! ```text
//! $ cargo run --example ch07_between
//! try 1: WouldBlock. The peer writes, before anybody has heard of that
//! try 2: 1 byte
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use waken::block_on;
use waken::io::{AsyncFd, Interest};
use waken::time::timeout;

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peer = TcpStream::connect(listener.local_addr()?)?;
        let stream = AsyncFd::new(listener.accept()?.0)?;
        let mut tries = 0;
        let read = |mut stream: &TcpStream| {
            tries += 1;
            let result = stream.read(&mut [0; 1]);
            match &result {
                Ok(n) => println!("try {tries}: {n} byte"),
                Err(_) => {
                    println!(
                        "try {tries}: WouldBlock. The peer writes, before anybody has heard of that"
                    );
                    peer.write_all(b"x")?;
                }
            }
            result
        };
        let reading = stream.async_io(Interest::READABLE, read);
        if timeout(Duration::from_secs(1), reading).await.is_err() {
            println!("the edge is lost");
        }
        Ok(())
    })
}
