//! Limits, so that slow clients cannot use up a server that sends back every line: of places, and of time.
//!
//! ```text
//! $ cargo run --example limits [ADDR] [--OPTION NUMBER] …    # 127.0.0.1:7000 when no address is given; options below
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal; in silence it ends after 5 s,
//! hello                                            # after a line in 60 s, and in the middle of a line in 10 s
//! hello
//! ```
//!
//! | option | when not given | |
//! |---|---:|---|
//! | `--connections` | 1024 | at all. When all places are taken, clients wait in the kernel's queue |
//! | `--each` | 16 | of one address. One more is told so, and closed: it must not stand in the way of others |
//! | `--first` | 5 | seconds from the connection to its first byte |
//! | `--idle` | 60 | seconds from an answer to the first byte of the next request |
//! | `--request` | 10 | seconds from the first byte of a request until its answer is written |
//!
//! A limit for each `read` would not do: of 5 s, a client that sends a byte every 4 s (Slowloris) never meets it. The last one
//! is around all of a request, and no byte moves it. A client that takes no answers meets it as well.

use std::io;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;
use waken::time::timeout;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on};

#[derive(Clone, Copy)]
struct Limits {
    connections: usize,
    each: usize,
    first: Duration,
    idle: Duration,
    request: Duration,
}

fn main() -> io::Result<()> {
    let (address, limits) = arguments()?;
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut connections = JoinSet::new();
        let mut places = Vec::<Weak<IpAddr>>::new(); // each is its task's, and goes with it
        loop {
            // The group counts: who has ended is in it until joined, and that is a free place.
            while connections.len() >= limits.connections {
                connections.join_next().await;
            }
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("accept: {error}"); // out of descriptors: the next accept waits
                    continue;
                }
            };
            // A thousand places are looked through in no time. Whoever has IPv6 has 2⁶⁴ addresses: compare the first half.
            places.retain(|place| place.strong_count() > 0);
            let place = Rc::new(peer.ip());
            let is_same = |other: &&Weak<IpAddr>| other.upgrade().as_ref() == Some(&place);
            if places.iter().filter(is_same).count() >= limits.each {
                let _gone_already = stream.try_write(b"too many connections\n");
                continue;
            }
            places.push(Rc::downgrade(&place));
            connections.spawn(async move {
                if let Err(error) = serve(stream, limits).await {
                    eprintln!("{peer}: {error}");
                }
                drop(place);
            });
        }
    })
}

async fn serve(stream: AsyncTcpStream, limits: Limits) -> io::Result<()> {
    let (mut buf, mut filled) = ([0; 1024], 0);
    let mut silence = (limits.first, "no first byte");
    loop {
        if filled == 0 {
            filled = within(silence, stream.read(&mut buf)).await?;
            silence = (limits.idle, "idle");
        }
        let rest = answer(&stream, &mut buf, filled);
        match within((limits.request, "a slow request"), rest).await? {
            Some(rest) => filled = rest,
            None => return Ok(()),
        }
    }
}

/// Reads the rest of a line and sends it back. How much of the next one has come along; none at the end.
async fn answer(
    stream: &AsyncTcpStream,
    buf: &mut [u8],
    mut filled: usize,
) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            stream.write_all(&buf[..=end]).await?;
            buf.copy_within(end + 1..filled, 0);
            return Ok(Some(filled - end - 1));
        }
        match stream.read(&mut buf[filled..]).await? {
            0 => return Ok(None), // the end; or the buffer is full, and no line may be longer
            n => filled += n,
        }
    }
}

async fn within<T>(
    (limit, what): (Duration, &str),
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} for {limit:?}"))),
    }
}

fn arguments() -> io::Result<(String, Limits)> {
    const OPTIONS: [&str; 5] = ["--connections", "--each", "--first", "--idle", "--request"];
    let (mut address, mut numbers) =
        ("127.0.0.1:7000".to_owned(), [1024.0_f64, 16.0, 5.0, 60.0, 10.0]);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let Some(option) = OPTIONS.iter().position(|option| *option == argument) else {
            address = argument;
            continue;
        };
        let number = arguments.next().and_then(|number| number.parse().ok());
        let number = number.filter(|number| (0.01..1e6).contains(number));
        let wrong = || io::Error::other(format!("`{argument}` needs a number, from 0.01 on"));
        numbers[option] = number.ok_or_else(wrong)?;
    }
    let [connections, each] = [numbers[0], numbers[1]].map(|number| number.ceil() as usize);
    let [first, idle, request] = [numbers[2], numbers[3], numbers[4]].map(Duration::from_secs_f64);
    Ok((address, Limits { connections, each, first, idle, request }))
}
