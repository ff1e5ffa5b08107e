//! waken's echo server that closes a connection after a minute of silence: a new timeout around every read.
//! Usage: echo-waken-timeout PORT echo|sink BUF

#[path = "../serve.rs"]
mod serve;

use serve::{Options, serve};
use std::io;
use std::time::Duration;
use waken::AsyncTcpStream;
use waken::time::timeout;

const IDLE: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    serve(connection)
}

async fn connection(stream: AsyncTcpStream, Options { sink, buffer }: Options) -> io::Result<()> {
    let mut buf = vec![0; buffer];
    loop {
        match timeout(IDLE, stream.read(&mut buf)).await?? {
            0 => return Ok(()),
            n if !sink => stream.write_all(&buf[..n]).await?,
            _ => {}
        }
    }
}
