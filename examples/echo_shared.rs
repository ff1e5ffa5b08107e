//! The echo server once more, for very many clients that are mostly silent: all share one buffer.
//!
//! ```text
//! $ cargo run --release --example echo_shared [ADDR]      # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal
//! hello
//! hello
//! ```
//!
//! A task that awaits `read` owns a buffer while it waits, and so every client costs as much, although few send at a time.
//! `readable` takes nothing. What is there is then read and sent back at once, with no other task in between.

use std::cell::RefCell;
use std::io::{self, ErrorKind::WouldBlock};
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

thread_local! {
    static BUFFER: RefCell<[u8; 65536]> = const { RefCell::new([0; 65536]) };
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) => drop(spawn(echo(stream))), // it runs on alone
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

#[allow(clippy::manual_async_fn)] // which would keep room for its argument twice
fn echo(stream: AsyncTcpStream) -> impl Future<Output = io::Result<()>> {
    async move {
        loop {
            stream.readable().await?;
            // In a box, so that those who take what they are sent need no room for it.
            let rest = match pass_back(&stream)? {
                Passed::All => continue,
                Passed::AllBut(rest) => Box::pin(write(&stream, rest)),
                Passed::TheEnd => return Ok(()),
            };
            rest.await?;
        }
    }
}

enum Passed {
    All,
    /// The client sends and does not take: this is for when it does.
    AllBut(Vec<u8>),
    TheEnd,
}

fn pass_back(stream: &AsyncTcpStream) -> io::Result<Passed> {
    BUFFER.with_borrow_mut(|buffer| {
        let n = match stream.try_read(buffer) {
            Ok(0) => return Ok(Passed::TheEnd),
            Err(error) if error.kind() == WouldBlock => return Ok(Passed::All),
            result => result?,
        };
        let written = match stream.try_write(&buffer[..n]) {
            Err(error) if error.kind() == WouldBlock => 0,
            result => result?,
        };
        Ok(if written == n { Passed::All } else { Passed::AllBut(buffer[written..n].to_vec()) })
    })
}

async fn write(stream: &AsyncTcpStream, rest: Vec<u8>) -> io::Result<()> {
    stream.write_all(&rest).await
}
