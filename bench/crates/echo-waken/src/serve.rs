//! What the servers have alike: arguments, and the accept loop.

use std::future::Future;
use std::io;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

#[derive(Clone, Copy)]
pub struct Options {
    /// Do not answer, only read.
    pub sink: bool,
    pub buffer: usize,
}

pub fn serve<F>(connection: impl Fn(AsyncTcpStream, Options) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, mode, buffer] = &arguments[..] else {
        panic!("usage: {} PORT echo|sink BUF", arguments[0]);
    };
    let port: u16 = port.parse().unwrap();
    let options = Options { sink: mode == "sink", buffer: buffer.parse().unwrap() };
    block_on(async {
        let listener = AsyncTcpListener::bind(("127.0.0.1", port)).await?;
        println!("READY");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                drop(spawn(connection(stream, options)));
            }
        }
    })
}
