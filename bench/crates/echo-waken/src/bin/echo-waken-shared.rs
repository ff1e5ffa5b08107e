//! waken's echo server with one buffer for all connections: a task waits until its stream is readable, and only then reads.
//! Usage: echo-waken-shared PORT echo|sink BUF

#[path = "../serve.rs"]
mod serve;

use serve::{Options, serve};
use std::cell::RefCell;
use std::io::{self, ErrorKind::WouldBlock};
use waken::AsyncTcpStream;

thread_local!(static BUF: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

fn main() -> io::Result<()> {
    serve(connection)
}

async fn connection(stream: AsyncTcpStream, options: Options) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match BUF.with_borrow_mut(|buf| echo(&stream, buf, options)) {
            Ok(None) => return Ok(()),
            Ok(Some(rest)) if rest.is_empty() => {}
            Ok(Some(rest)) => stream.write_all(&rest).await?,
            Err(error) if error.kind() == WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads and writes once, and answers with what the stream did not take. `None` at the end of the stream.
fn echo(
    stream: &AsyncTcpStream,
    buf: &mut Vec<u8>,
    options: Options,
) -> io::Result<Option<Vec<u8>>> {
    buf.resize(options.buffer, 0);
    let n = stream.try_read(buf)?;
    if n == 0 || options.sink {
        return Ok((n > 0).then(Vec::new));
    }
    let written = match stream.try_write(&buf[..n]) {
        Err(error) if error.kind() == WouldBlock => 0,
        written => written?,
    };
    Ok(Some(buf[written..n].to_vec()))
}
