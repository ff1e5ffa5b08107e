//! A graceful end. On SIGTERM, or Ctrl-C, nobody new is let in, and what is in flight is finished: for a while.
//!
//! ```text
//! $ cargo run --features signal --example drain [ADDR] [--deadline SECONDS]   # 127.0.0.1:7000 and 10 when not given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal; and Ctrl-C in the first while it takes its time
//! sleep 5000
//! sleep 5000
//! ```
//!
//! It sends back every line, and `sleep 5000` after 5,000 ms. The order of the end is what counts:
//!
//! * The listener is closed first: new clients are refused, and go to another server. Those that the kernel has let in
//!   already are clients, so they are accepted before that.
//! * Then reading ends, on every connection: an idle one is over at once. What has arrived is still read, and answered.
//! * Whoever is not ready at the deadline is aborted, or at a second signal. A supervisor would send SIGKILL next, so the
//!   deadline is to be shorter than its patience (systemd: `TimeoutStopSec`, 90 s; Kubernetes: 30 s).
//! * The status is 0: to end when one is told to is no failure.

use futures_lite::future::or;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use waken::signal::Signals;
use waken::time::sleep;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on};

fn main() -> io::Result<()> {
    let (mut address, mut deadline) = ("127.0.0.1:7000".to_owned(), Duration::from_secs(10));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--deadline" => deadline = seconds(arguments.next())?,
            _ => address = argument,
        }
    }
    block_on(async {
        // Caught from here on: a signal that comes before anybody waits for it is kept.
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);

        let mut connections = Connections::default();
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => connections.begin(stream, peer),
                    Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
                }
            }
        };
        let signal = or(signals.next(), accept).await;

        while let Ok((stream, peer)) = listener.try_accept() {
            connections.begin(stream, peer);
        }
        drop(listener);
        eprintln!("signal {signal}: {} connections to end", connections.tasks.len());
        let ended = or(connections.end(), async {
            sleep(deadline).await;
            "the deadline is over"
        });
        let again = async {
            signals.next().await;
            "another signal"
        };
        eprintln!("{}", or(again, ended).await);
        Ok(()) // what is left is dropped with its `JoinSet`: aborted
    })
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    begun: u64,
    streams: Rc<RefCell<BTreeMap<u64, Rc<AsyncTcpStream>>>>,
}

impl Connections {
    fn begin(&mut self, stream: AsyncTcpStream, peer: SocketAddr) {
        while self.tasks.try_join_next().is_some() {} // the group keeps who has ended until it is joined
        self.begun += 1;
        let (number, stream, streams) = (self.begun, Rc::new(stream), self.streams.clone());
        streams.borrow_mut().insert(number, stream.clone());
        self.tasks.spawn(async move {
            if let Err(error) = serve(&stream).await {
                eprintln!("{peer}: {error}");
            }
            streams.borrow_mut().remove(&number);
        });
    }

    /// No request is cut: a task is anywhere in its work, and finds the end only when it asks for more.
    async fn end(&mut self) -> &'static str {
        for stream in self.streams.borrow().values() {
            let _gone_already = stream.shutdown(Shutdown::Read);
        }
        while self.tasks.join_next().await.is_some() {}
        "all are served"
    }
}

async fn serve(stream: &AsyncTcpStream) -> io::Result<()> {
    let (mut buf, mut filled) = ([0; 1024], 0);
    loop {
        while let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            work(&buf[..end]).await;
            stream.write_all(&buf[..=end]).await?;
            buf.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        match stream.read(&mut buf[filled..]).await? {
            0 => return Ok(()), // the end, of the client or of us; or the buffer is full, and no line may be longer
            n => filled += n,
        }
    }
}

/// What takes a moment: here it only waits.
async fn work(line: &[u8]) {
    let millis = std::str::from_utf8(line).ok().and_then(|line| line.trim().strip_prefix("sleep "));
    if let Some(millis) = millis.and_then(|millis| millis.parse().ok()) {
        sleep(Duration::from_millis(millis)).await;
    }
}

fn seconds(argument: Option<String>) -> io::Result<Duration> {
    let number = argument.and_then(|argument| argument.parse().ok());
    let seconds = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    seconds.ok_or_else(|| io::Error::other("`--deadline` needs a number of seconds: 10, or 0.5"))
}
