//! A client knocks at the door of a server that sleeps. Who wakes it?
//!
//! ```text
//! $ cargo run --example ch00_door
//! a client knocks, and is let in after 0 s
//! ```

use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{io, thread};
use waken::time::timeout;
use waken::{AsyncTcpListener, block_on};

fn main() -> io::Result<()> {
    let begin = Instant::now();
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let client = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect(address)
        });
        // Two may wake it: the client, and a second later the clock.
        timeout(Duration::from_secs(1), listener.accept()).await??;
        println!("a client knocks, and is let in after {} s", begin.elapsed().as_secs());
        client.join().expect("the client does not panic").map(drop)
    })
}
