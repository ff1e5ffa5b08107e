use std::io;
use std::net::TcpListener;
use waken::{AsyncTcpListener, AsyncTcpStream, Workers, spawn};

// One loop a core; a task stays where it was spawned.
fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let serve = async |_worker| {
        let listener = listener.try_clone()?;
        let listener = AsyncTcpListener::try_from(listener)?;
        loop {
            let (stream, _peer) = listener.accept().await?;
            spawn(echo(stream));
        }
    };
    let ended = Workers::per_core()?.run(serve)?;
    ended.into_iter().collect()
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
