//! A proxy: it passes on bytes between its clients and another server, one task each way.
//!
//! ```text
//! $ cargo run --example echo                       # the server, in another terminal
//! $ cargo run --example proxy [ADDR [TARGET]]      # 127.0.0.1:7001 and 127.0.0.1:7000 when not given
//! listening on 127.0.0.1:7001
//! $ cargo run --example client 127.0.0.1:7001      # in a third
//! hello
//! ```

use std::io;
use waken::net::{OwnedReadHalf, OwnedWriteHalf};
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:7001".into());
    let target = arguments.next().unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((client, peer)) => {
                    let target = target.clone();
                    drop(spawn(async move {
                        if let Err(error) = forward(client, target).await {
                            eprintln!("{peer}: {error}");
                        }
                    }));
                }
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

async fn forward(client: AsyncTcpStream, target: String) -> io::Result<()> {
    let server = AsyncTcpStream::connect(target).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // When the way back breaks, `?` drops `there`, and with it the task: nothing is left half open.
    let there = spawn(copy(from_client, to_server)).abort_on_drop();
    copy(from_server, to_client).await?;
    there.await?
}

/// Until `from` ends. Then `to` is dropped, which ends the writing there, and that way alone.
async fn copy(from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
    let mut buf = [0; 8192];
    loop {
        match from.as_ref().read(&mut buf).await? {
            0 => return Ok(()),
            n => to.as_ref().write_all(&buf[..n]).await?,
        }
    }
}
