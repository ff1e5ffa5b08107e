//! A client: it sends its arguments as one line, and prints what comes back.
//!
//! ```text
//! $ cargo run --example echo                       # in another terminal
//! $ cargo run --example client 127.0.0.1:7000 hello world
//! hello world
//! ```
//!
//! Without words it sends `hello`, without an address it connects to 127.0.0.1:7000.

use std::io::{self, Write};
use std::net::Shutdown;
use waken::{AsyncTcpStream, block_on};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:7000".into());
    let words: Vec<String> = arguments.collect();
    let line = if words.is_empty() { "hello\n".into() } else { words.join(" ") + "\n" };
    block_on(async {
        let stream = AsyncTcpStream::connect(address).await?;
        // A line fits into the kernel's buffers. To send more, read in a second task meanwhile: a
        // server that waits until it gets rid of its answer does not read on.
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown(Shutdown::Write)?; // that was all; we can still read
        let mut buf = [0; 4096];
        loop {
            match stream.read(&mut buf).await? {
                0 => return Ok(()), // the server is done as well
                n => io::stdout().write_all(&buf[..n])?,
            }
        }
    })
}
