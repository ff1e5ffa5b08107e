//! A server that hangs, in production: Ctrl-\ (SIGQUIT) prints who waits for what, and it goes on, as a Java program does.
//!
//! ```text
//! $ cargo run --features signal --example sigquit [ADDR]     # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal; then Ctrl-\ in the first:
//! task 1 `accept` (examples/sigquit.rs:27) waits 4.2 s for fd 8 readable (examples/sigquit.rs:39)
//! task 2 `echo 127.0.0.1:45678` (examples/sigquit.rs:42) waits 4.2 s for fd 9 readable (examples/sigquit.rs:52)
//! ```
//!
//! The sentences cost nothing until somebody asks. From elsewhere it is `kill -QUIT`; in a service it goes where standard
//! error goes. Names are for the reader: the address of a client is what `ss -tnp` shows too. What it cannot tell of is a
//! task that never returns from its poll, for then nobody is there to take the signal: see `Builder::on_long_poll`.

use std::io;
use waken::signal::Signals;
use waken::task::Builder;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        // Before the first client: until somebody catches it, SIGQUIT ends the process, with a core dump.
        let mut quit = Signals::new([libc::SIGQUIT])?;
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        drop(Builder::new().name("accept").spawn(accept(listener)));
        loop {
            quit.next().await;
            for task in waken::runtime::tasks() {
                eprintln!("{task}");
            }
        }
    })
}

async fn accept(listener: AsyncTcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let name = format!("echo {peer}");
                drop(Builder::new().name(name).spawn(echo(stream)));
            }
            Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
        }
    }
}

async fn echo(stream: AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}
