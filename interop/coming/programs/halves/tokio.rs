use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let (stream, mut peer) = UnixStream::pair()?;
    let (mut reader, mut writer) = stream.into_split();
    tokio::spawn(async move {
        writer.write_all(b"ping").await
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
}
