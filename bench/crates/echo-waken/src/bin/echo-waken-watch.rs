//! waken's echo server that closes a connection after a minute of silence: a second task for each looks once a minute.
//! Usage: echo-waken-watch PORT echo|sink BUF

#[path = "../serve.rs"]
mod serve;

use serve::{Options, serve};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::time::timeout_at;
use waken::{AsyncTcpStream, spawn};

const IDLE: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    serve(watched)
}

async fn watched(stream: AsyncTcpStream, options: Options) -> io::Result<()> {
    let seen = Rc::new(Cell::new(Instant::now()));
    let mut connection = spawn(connection(stream, options, seen.clone()));
    loop {
        let deadline = seen.get() + IDLE;
        match timeout_at(deadline, &mut connection).await {
            Ok(ended) => return ended?,
            Err(_) if seen.get() + IDLE > deadline => {}
            Err(_) => {
                connection.abort();
                return Ok(());
            }
        }
    }
}

async fn connection(
    stream: AsyncTcpStream,
    Options { sink, buffer }: Options,
    seen: Rc<Cell<Instant>>,
) -> io::Result<()> {
    let mut buf = vec![0; buffer];
    loop {
        let n = stream.read(&mut buf).await?;
        seen.set(Instant::now());
        match n {
            0 => return Ok(()),
            n if !sink => stream.write_all(&buf[..n]).await?,
            _ => {}
        }
    }
}
