use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);

    let clients = TaskTracker::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                clients.spawn(echo(accepted?.0));
            }
            _ = stop.recv() => break,
        }
    }
    drop(listener);
    clients.close();
    let ended =
        timeout(Duration::from_secs(5), clients.wait()).await;
    println!("all served: {}", ended.is_ok());
    Ok(()) // who is left is dropped with the runtime
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}
