use futures_lite::AsyncReadExt;
use std::io;
use waken::net::AsyncUnixStream;
use waken::{block_on, spawn};

fn main() -> io::Result<()> {
    block_on(async {
        let (stream, mut peer) = AsyncUnixStream::pair()?;
        let (mut reader, writer) = stream.into_split();
        spawn(async move {
            writer.as_ref().write_all(b"ping").await
            // Dropped here, so the peer reads the end.
        });

        let mut text = String::new();
        peer.read_to_string(&mut text).await?;
        println!("{text}");

        peer.write_all(b"pong").await?;
        drop(peer);
        text.clear();
        reader.read_to_string(&mut text).await?;
        println!("{text}");
        Ok(())
    })
}
