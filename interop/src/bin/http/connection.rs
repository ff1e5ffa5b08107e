//! One connection: by HTTP/1 or HTTP/2, whichever the client speaks, and not for longer than it should.

use crate::Server;
use async_channel::Receiver;
use futures_lite::future::or;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use socket2::SockRef;
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::AsyncTcpStream;
use waken::hyper::{HyperExecutor, HyperTimer};
use waken::time::{sleep, sleep_until, timeout};

/// From the connection, or from an answer, to the end of the next head.
const HEAD: Duration = Duration::from_secs(10);
/// HTTP/2: from the last bytes to a ping, from a ping to its answer, and from the last request to a friendly end. A ping
/// waits behind all that is on its way to a client, which may be slow.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);
/// For bytes of ours that the client does not take.
const UNTAKEN: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(3600);

/// To the end of the connection, by itself or when `ended` is closed.
pub async fn serve(
    stream: AsyncTcpStream,
    server: Rc<Server>,
    ended: Receiver<Infallible>,
) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    // hyper has no timeout for a client that takes no answers; the kernel has, see tcp(7).
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNTAKEN))?;
    let first = async { Some(timeout(HEAD, speaks_http2(&stream)).await) };
    let too_late = async {
        _ = ended.recv().await;
        None
    };
    let Some(first) = or(first, too_late).await else { return Ok(()) };
    let is_http2 = first.map_err(|_| "no first bytes")??;

    let asked = Rc::new(Cell::new(Instant::now()));
    let last = asked.clone();
    let service = service_fn(move |request| {
        asked.set(Instant::now());
        server.clone().answer(request)
    });
    // hyper gets the stream lent, so that the end of it is ours.
    let served = async {
        if is_http2 {
            let mut http = http2::Builder::new(HyperExecutor);
            http.timer(HyperTimer).keep_alive_interval(PING).keep_alive_timeout(PONG);
            let told = or(async { _ = ended.recv().await }, idle(&last));
            let connection = http.serve_connection(&stream, service);
            to_its_end(connection, told, |connection| connection.graceful_shutdown()).await
        } else {
            let mut http = http1::Builder::new();
            http.timer(HyperTimer).header_read_timeout(HEAD).max_header_size(16 << 10);
            let told = async { _ = ended.recv().await };
            let connection = http.serve_connection(&stream, service);
            to_its_end(connection, told, |connection| connection.graceful_shutdown()).await
        }
    };
    let result = timeout(LONGEST, served).await;
    // A close with bytes unread is a reset, which takes an answer with it that the client has not read yet.
    if stream.shutdown(Shutdown::Write).is_ok() {
        let _in_any_case_it_is_closed = timeout(Duration::from_secs(1), discard(&stream)).await;
    }
    Ok(result.map_err(|_| "the longest time is over")??)
}

/// By the first bytes, which stay where they are, for hyper.
async fn speaks_http2(stream: &AsyncTcpStream) -> io::Result<bool> {
    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut first = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut first).await?;
        if n == 0 || first[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        // It comes in pieces, which is rare. The bytes that are there would be seen again at once.
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends when nothing has been asked for a while.
async fn idle(last: &Cell<Instant>) {
    while last.get().elapsed() < IDLE {
        sleep_until(last.get() + IDLE).await;
    }
}

/// hyper's two kinds of connection have no trait in common: `tell` is how this one is told to finish what it has begun.
async fn to_its_end<C: Future>(
    connection: C,
    told: impl Future,
    tell: impl Fn(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    let by_itself = async { Some(connection.as_mut().await) };
    let told = async {
        told.await;
        None
    };
    match or(by_itself, told).await {
        Some(output) => output,
        None => {
            tell(connection.as_mut());
            connection.await
        }
    }
}

async fn discard(stream: &AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}
