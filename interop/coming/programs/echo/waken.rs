use std::io;
use waken::{
    AsyncTcpListener, AsyncTcpStream, block_on, spawn,
};

fn main() -> io::Result<()> {
    block_on(async {
        let listener =
            AsyncTcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _peer) = listener.accept().await?;
            spawn(echo(stream));
        }
    })
}

async fn echo(stream: AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}
