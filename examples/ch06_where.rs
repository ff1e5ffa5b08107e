//! Chapter 6 of the guide: where tasks are that wait, two to read and one to write, all at one connection.
//!
//! ```text
//! $ cargo run --example ch06_where
//! task 1 `reader` (examples/ch06_where.rs:29) waits 0.1 s for fd 8 readable (examples/ch06_where.rs:30), polled 1 times
//! task 2 `reader` (examples/ch06_where.rs:29) waits 0.1 s for fd 8 readable (examples/ch06_where.rs:30), polled 1 times
//! task 3 `writer` (examples/ch06_where.rs:34) waits 0.1 s for fd 8 writable (examples/ch06_where.rs:36), polled 1 times
//! task 1 was woken and has ended
//! task 2 was woken and has ended
//! task 3 was woken and has ended
//! ```

use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;
use waken::task::Builder;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, block_on};

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let stream: Rc<AsyncTcpStream> = Rc::new(listener.accept().await?.0);
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let stream = stream.clone();
            let reader = Builder::new().name("reader");
            tasks.push(reader.spawn(async move {
                let _n = stream.read(&mut [0; 1]).await;
            }));
        }
        let writing = stream.clone();
        tasks.push(Builder::new().name("writer").spawn(async move {
            // More than the kernel has room for.
            let _ = writing.write_all(&[0; 8 << 20]).await;
        }));
        sleep(Duration::from_millis(100)).await;
        waken::runtime::tasks().iter().for_each(|it| println!("{it}, polled {} times", it.polls));
        // Now the peer writes two bytes, and reads all.
        peer.write_all(b"ab")?;
        let peer = std::thread::spawn(move || peer.take(8 << 20).read_to_end(&mut Vec::new()));
        for (n, task) in (1..).zip(tasks) {
            match timeout(Duration::from_secs(2), task).await {
                Ok(_) => println!("task {n} was woken and has ended"),
                Err(_) => println!("task {n} waits, and nobody has woken it"),
            }
        }
        peer.join().map(drop).map_err(|_| std::io::Error::other("the peer has panicked"))
    })
}
