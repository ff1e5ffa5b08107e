//! The classic "Hello, world!" over HTTP: it answers when the head of a request has ended, and closes.
//!
//! ```text
//! $ cargo run --release --example hello_http [ADDR] [--limit SECONDS]    # 127.0.0.1:8080 and 10 when not given
//! listening on 127.0.0.1:8080
//! $ curl http://127.0.0.1:8080/                    # in another terminal
//! Hello, world!
//! ```
//!
//! By hand this is three tables by descriptor: connections, requests so far, rests of answers. What goes wrong in the
//! well-known versions, and what is here instead:
//!
//! * `recv` until `EAGAIN` never gets there when the client has closed: it says 0 for ever. Here 0 is the end.
//! * An event comes for a descriptor that is in no table any more. A task has its stream as a variable.
//! * `send` takes a part of the answer, and the rest needs a place and an event. `write_all` waits.
//! * `close` with bytes unread is a reset, and the client may lose the answer. See `discard`.
//! * Whoever never ends a request is kept for ever, with all that it sends. There is a limit to the time and to the head.

use std::io;
use std::net::Shutdown;
use std::time::Duration;
use waken::time::timeout;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

const HELLO: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\
    Connection: close\r\n\r\nHello, world!";
const TOO_LONG: &[u8] = b"HTTP/1.0 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";

/// Of the head of a request, in bytes.
const LONGEST: usize = 8192;

/// How many bytes behind a request are read, and for how long, before it is closed.
const DISCARDED: usize = 1 << 20;
const DISCARDING: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let (mut address, mut limit) = ("127.0.0.1:8080".to_owned(), Duration::from_secs(10));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--limit" => limit = seconds(arguments.next())?,
            _ => address = argument,
        }
    }
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => drop(spawn(async move {
                    if let Err(error) = serve(stream, limit).await {
                        eprintln!("{peer}: {error}");
                    }
                })),
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

async fn serve(stream: AsyncTcpStream, limit: Duration) -> io::Result<()> {
    // One limit for the whole head, not one for each read: a byte now and then does not prolong it.
    let Some(answer) = timeout(limit, request(&stream)).await?? else {
        return Ok(());
    };
    timeout(limit, stream.write_all(answer)).await??;
    stream.shutdown(Shutdown::Write)?;
    let _in_any_case_it_is_closed = timeout(DISCARDING, discard(&stream)).await;
    Ok(())
}

/// The answer to a request when its head has ended, in whatever pieces it came; none if the client ends before that.
async fn request(stream: &AsyncTcpStream) -> io::Result<Option<&'static [u8]>> {
    let (mut head, mut filled) = ([0; LONGEST], 0);
    while filled < head.len() {
        // An end may begin in what was there before: in its last two bytes.
        let from = filled.saturating_sub(2);
        match stream.read(&mut head[filled..]).await? {
            0 => return Ok(None),
            n => filled += n,
        }
        let new = &head[from..filled];
        let ends = |end: &[u8]| new.windows(end.len()).any(|window| window == end);
        if ends(b"\n\n") || ends(b"\n\r\n") {
            return Ok(Some(HELLO));
        }
    }
    Ok(Some(TOO_LONG))
}

/// Reads what the client still sends, until it has closed as well, or that takes too long or is too much.
async fn discard(stream: &AsyncTcpStream) -> io::Result<()> {
    let (mut buf, mut discarded) = ([0; 4096], 0);
    while discarded < DISCARDED {
        match stream.read(&mut buf).await? {
            0 => break,
            n => discarded += n,
        }
    }
    Ok(())
}

fn seconds(argument: Option<String>) -> io::Result<Duration> {
    let number = argument.and_then(|argument| argument.parse().ok());
    let seconds = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    seconds.ok_or_else(|| io::Error::other("`--limit` needs a number of seconds: 10, or 0.5"))
}
