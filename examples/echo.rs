//! An echo server: it sends back whatever it is sent.
//!
//! ```text
//! $ cargo run --release --example echo [ADDR]      # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal
//! hello
//! hello
//! ```

use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

fn main() -> std::io::Result<()> {
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

async fn echo(stream: AsyncTcpStream) -> std::io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}
