use futures_lite::future::or;
use std::io;
use std::time::Duration;
use waken::signal::Signals;
use waken::time::timeout;
use waken::{
    AsyncTcpListener, AsyncTcpStream, JoinSet, block_on,
};

fn main() -> io::Result<()> {
    block_on(async {
        let mut stop = Signals::new([libc::SIGTERM])?;
        let listener =
            AsyncTcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);

        let mut clients = JoinSet::new();
        loop {
            let accept =
                async { Some(listener.accept().await) };
            let stop = async {
                stop.next().await;
                None
            };
            let Some(accepted) = or(accept, stop).await else {
                break;
            };
            clients.spawn(echo(accepted?.0));
            while clients.try_join_next().is_some() {}
        }
        drop(listener);
        let all = async {
            while clients.join_next().await.is_some() {}
        };
        let ended = timeout(Duration::from_secs(5), all).await;
        println!("all served: {}", ended.is_ok());
        Ok(()) // who is left is dropped with the set
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
