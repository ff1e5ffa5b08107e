//! Chapter 12 of the guide: a thousand answers of 64 KiB, for a client that reads none of them.
//!
//! ```text
//! $ cargo run --example ch12_never_reads
//! one after the other: 60 answers are made. task 1 (examples/ch12_never_reads.rs:28) waits 0.2 s for fd 9 writable (examples/ch12_never_reads.rs:31)
//! through a queue:     1000 answers are made, and 940 of them lie in memory: 58 MiB
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use waken::time::sleep;
use waken::{AsyncTcpListener, block_on, runtime::tasks, spawn};

const ANSWER: usize = 64 << 10;

fn main() -> std::io::Result<()> {
    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let _clients = [TcpStream::connect(address)?, TcpStream::connect(address)?];

        let (stream, _) = listener.accept().await?;
        let made = Rc::new(Cell::new(0));
        let counted = made.clone();
        drop(spawn(async move {
            while counted.get() < 1000 {
                counted.set(counted.get() + 1);
                stream.write_all(&vec![0; ANSWER]).await.unwrap();
            }
        }));
        sleep(Duration::from_millis(200)).await;
        println!("one after the other: {} answers are made. {}", made.get(), tasks()[0]);

        let (stream, _) = listener.accept().await?;
        let queue = Rc::new(RefCell::new(VecDeque::from(vec![vec![0; ANSWER]; 1000])));
        let sent = queue.clone();
        let next = move || sent.borrow_mut().pop_front();
        drop(spawn(async move {
            while let Some(answer) = next() {
                stream.write_all(&answer).await.unwrap();
            }
        }));
        sleep(Duration::from_millis(200)).await;
        let left = queue.borrow().len();
        let mib = (left * ANSWER) >> 20;
        println!(
            "through a queue:     1000 answers are made, and {left} of them lie in memory: {mib} MiB"
        );
        Ok(())
    })
}
