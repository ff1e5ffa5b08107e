//! waken's echo server, as everybody writes it: a task and a buffer for each connection.
//! Usage: echo-waken PORT echo|sink BUF

mod serve;

use serve::{Options, serve};
use std::io;
use waken::AsyncTcpStream;

fn main() -> io::Result<()> {
    serve(connection)
}

async fn connection(stream: AsyncTcpStream, Options { sink, buffer }: Options) -> io::Result<()> {
    let mut buf = vec![0; buffer];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            n if !sink => stream.write_all(&buf[..n]).await?,
            _ => {}
        }
    }
}
