use futures_lite::AsyncReadExt;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use waken::net::AsyncUnixStream;
use waken::{block_on, spawn};

fn main() -> io::Result<()> {
    block_on(async {
        let (stream, mut peer) = AsyncUnixStream::pair()?;
        let stream = Rc::new(stream);
        let writer = stream.clone();
        spawn(async move {
            writer.write_all(b"ping").await?;
            writer.shutdown(Shutdown::Write)
        });

        let mut text = String::new();
        peer.read_to_string(&mut text).await?;
        println!("{text}");

        peer.write_all(b"pong").await?;
        let mut buf = [0; 4];
        stream.read_exact(&mut buf).await?;
        println!("{}", String::from_utf8_lossy(&buf));
        Ok(())
    })
}
