//! Peers that vanish without a word: options of TCP, set by socket2, which takes every socket as it is.
//!
//! ```text
//! $ cargo run --example keepalive [ADDR]           # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal; then the first says, of what the kernel has:
//! 127.0.0.1:45678: keepalive after 30 s, every 10 s, 3 times; unacknowledged 59 s at most; no delay
//! ```
//!
//! A machine that loses its power, or a network that forgets a connection, sends nothing: `read` waits for ever. So:
//!
//! * Keepalive: after 30 s of silence the kernel asks, and again each 10 s. When three in a row have no answer, `read` says
//!   `TimedOut`, after 60 s. The system's own figures are 2 hours, 75 s and 9 times, see tcp(7).
//! * It does not ask while bytes of ours are on their way: those are sent again and again, for 15 minutes or more. The limit
//!   for that is `TCP_USER_TIMEOUT`. It also overrides the count of keepalives, so it is a little less than their 60 s.
//! * A peer whose kernel answers is alive, however long its program is silent. For that it takes a `timeout`: see `limits`.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => drop(spawn(async move {
                    match set_options(&stream).and_then(|()| shown(&stream)) {
                        Ok(options) => eprintln!("{peer}: {options}"),
                        Err(error) => return eprintln!("{peer}: {error}"),
                    }
                    if let Err(error) = echo(stream).await {
                        eprintln!("{peer}: {error}"); // `Connection timed out`, when it has vanished
                    }
                })),
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

fn set_options(stream: &AsyncTcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(59)))?;
    stream.set_nodelay(true) // this one is everybody's, and needs no socket2
}

/// As the kernel tells it: it may have rounded, or refused in silence.
fn shown(stream: &AsyncTcpStream) -> io::Result<String> {
    let socket = SockRef::from(stream);
    let keepalive = if socket.keepalive()? { "keepalive" } else { "no keepalive" };
    let after = socket.tcp_keepalive_time()?.as_secs();
    let every = socket.tcp_keepalive_interval()?.as_secs();
    let times = socket.tcp_keepalive_retries()?;
    let at_most = socket.tcp_user_timeout()?.map_or(0, |limit| limit.as_secs());
    let delay = if stream.nodelay()? { "no delay" } else { "delay" };
    Ok(format!(
        "{keepalive} after {after} s, every {every} s, {times} times; \
         unacknowledged {at_most} s at most; {delay}"
    ))
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
