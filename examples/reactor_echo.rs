//! The classic reactor: an echo server with 1,024 places, which drops whoever is idle.
//!
//! ```text
//! $ cargo run --release --example reactor_echo [ADDR] [--idle SECONDS]   # 127.0.0.1:6666 and 60 when not given
//! listening on 127.0.0.1:6666
//! $ nc 127.0.0.1 6666                              # in another terminal; after 60 s of silence it is closed
//! hello
//! hello
//! ```
//!
//! By hand this is an array of 1,024 structs: descriptor, callback, buffer, last-active time. What goes wrong in the
//! well-known versions, and what is here instead:
//!
//! * `send` takes less than it was given, and the rest is forgotten. `write` waits, says how much, and is called again.
//! * `buf[len] = 0` after a full `recv` is one byte past the end. A slice knows where it ends.
//! * One `accept` for an edge leaves the other clients waiting. The runtime remembers an edge until `WouldBlock`.
//! * `close` comes before `EPOLL_CTL_DEL`, or, for the one too many, not at all. A dropped stream is taken out, then closed.
//! * Idle ones are looked for every second, a hundred at a time. Each wait has a deadline; in between all sleep.
//!
//! Where `ulimit -n` is 1,024, descriptors run out before the places do: then the next clients wait to be accepted.

use std::io;
use std::rc::Rc;
use std::time::Duration;
use waken::time::timeout;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

const PLACES: usize = 1024;

fn main() -> io::Result<()> {
    let (mut address, mut idle) = ("127.0.0.1:6666".to_owned(), Duration::from_secs(60));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--idle" => idle = seconds(arguments.next())?,
            _ => address = argument,
        }
    }
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        // Every connection holds a clone, however it ends: the count is theirs, and one.
        let places = Rc::new(());
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) if Rc::strong_count(&places) > PLACES => {
                    // A new connection has room for a line, so nobody waits. Then it is dropped: closed.
                    let _gone_already = stream.try_write(b"too many connections\n");
                }
                Ok((stream, peer)) => {
                    let place = places.clone();
                    drop(spawn(async move {
                        if let Err(error) = echo(stream, idle).await {
                            eprintln!("{peer}: {error}");
                        }
                        drop(place);
                    }));
                }
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

/// Every wait begins when bytes have moved, so its limit is the limit of being idle. A peer that never reads is
/// idle too: its write waits.
async fn echo(stream: AsyncTcpStream, idle: Duration) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let n = timeout(idle, stream.read(&mut buf)).await??;
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buf[..n];
        while !rest.is_empty() {
            let n = match timeout(idle, stream.write(rest)).await {
                Ok(written) => written?,
                // The kernel calls when a third of its buffer is free: a slow reader may have taken less.
                Err(elapsed) => stream.try_write(rest).map_err(|_| elapsed)?,
            };
            rest = &rest[n..];
        }
    }
}

fn seconds(argument: Option<String>) -> io::Result<Duration> {
    let number = argument.and_then(|argument| argument.parse().ok());
    let seconds = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    seconds.ok_or_else(|| io::Error::other("`--idle` needs a number of seconds: 60, or 0.5"))
}
