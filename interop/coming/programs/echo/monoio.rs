use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use std::io;

#[monoio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _peer) = listener.accept().await?;
        monoio::spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf: Vec<u8> = Vec::with_capacity(4096);
    loop {
        // The buffer goes into the kernel, and comes back.
        let (n, read) = stream.read(buf).await;
        if n? == 0 {
            return Ok(());
        }
        let (written, back) = stream.write_all(read).await;
        written?;
        buf = back;
        buf.clear();
    }
}
