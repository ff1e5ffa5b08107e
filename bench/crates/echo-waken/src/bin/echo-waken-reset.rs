//! waken's echo server that closes a connection after a minute of silence: one sleep each, moved at every request.
//! Usage: echo-waken-reset PORT echo|sink BUF

#[path = "../serve.rs"]
mod serve;

use serve::{Options, serve};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use waken::AsyncTcpStream;
use waken::time::sleep;

const IDLE: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    serve(connection)
}

async fn connection(stream: AsyncTcpStream, Options { sink, buffer }: Options) -> io::Result<()> {
    let mut buf = vec![0; buffer];
    let mut idle = pin!(sleep(IDLE));
    loop {
        idle.as_mut().reset(Instant::now() + IDLE);
        let n = {
            let mut read = pin!(stream.read(&mut buf));
            poll_fn(|cx| match read.as_mut().poll(cx) {
                Poll::Pending => idle.as_mut().poll(cx).map(|()| Ok(0)),
                ready => ready,
            })
            .await?
        };
        match n {
            0 => return Ok(()),
            n if !sink => stream.write_all(&buf[..n]).await?,
            _ => {}
        }
    }
}
