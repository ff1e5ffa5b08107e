//! A web server with hyper, HTTP/1 and HTTP/2 on one port, as one would let clients at it that nobody knows: with limits to places,
//! time and bytes, with uploads that go to the disk as they come, and with an end that cuts nobody off.
//!
//! ```text
//! $ cargo run --release --bin http [ADDR] [FOLDER]    # 127.0.0.1:7000 and the current folder when not given
//! listening on 127.0.0.1:7000
//! $ curl http://127.0.0.1:7000/                       # in another terminal
//! hello
//! $ curl -T a.bin http://127.0.0.1:7000/files/a.bin   # kept, and sent back by GET
//! $ curl --http2-prior-knowledge --data-binary @a.bin http://127.0.0.1:7000/echo
//! ```
//!
//! hyper with `http1`, `http2` and `server`; http-body-util; async-channel and futures-lite; socket2 for one option; libc for
//! the names of signals.
//!
//! | who | is cut off after |
//! |---|---|
//! | sends nothing, or a head that does not end; asks nothing more | 10 s, by HTTP/2 60 s if pings are answered |
//! | stands still in a body, or sends less than 16 KiB/s for more than 10 s | 10 s |
//! | takes nothing of an answer, or has vanished | 20 s |
//! | all others | an hour |
//!
//! Behind a load balancer, the end needs one step before: to fail its health checks for as long as it takes it to notice.

mod body;
mod files;

use async_channel::Receiver;
use files::Files;
use futures_lite::future::or;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use socket2::SockRef;
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::hyper::{HyperExecutor, HyperTimer};
use waken::signal::Signals;
use waken::time::{sleep, sleep_until, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on};

/// At once. When all places are taken, clients wait in the kernel's queue. See `examples/limits.rs` for a limit by address.
const PLACES: usize = 1024;
/// From the connection, or from an answer, to the end of the next head.
const HEAD: Duration = Duration::from_secs(10);
/// HTTP/2: between pings that must be answered, from the last request to a friendly end, and from a ping to its answer.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);
/// For bytes of ours that the client does not take.
const UNTAKEN: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(3600);
/// At the end: for requests that are on their way already, and for all that is in flight.
const LAST_REQUESTS: Duration = Duration::from_millis(100);
const LAST_ANSWERS: Duration = Duration::from_secs(10);

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:7000".into());
    let files = Files::new(arguments.next().unwrap_or(".".into()));
    block_on(async {
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);

        let server = Rc::new(Server { files, ending: Cell::new(false) });
        // Nothing is ever sent: it is closed, and everybody with a receiver knows.
        let (end, ended) = async_channel::bounded(1);
        let mut connections = JoinSet::new();
        let begin = |connections: &mut JoinSet<()>, (stream, peer)| {
            let served = serve(stream, server.clone(), ended.clone());
            connections.spawn(async move {
                if let Err(error) = served.await {
                    eprintln!("{peer}: {error}");
                }
            });
        };
        let accept = async {
            loop {
                // The group counts: who has ended is in it until joined, and that is a free place.
                while connections.try_join_next().is_some() {}
                while connections.len() >= PLACES {
                    connections.join_next().await;
                }
                match listener.accept().await {
                    Ok(accepted) => begin(&mut connections, accepted),
                    Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
                }
            }
        };
        let signal = or(signals.next(), accept).await;

        // Whom the kernel has let in is a client. hyper would close a new connection, and one whose next request is on its
        // way, so they have a moment, in which each answer says that it is the last.
        while let Ok(accepted) = listener.try_accept() {
            begin(&mut connections, accepted);
        }
        drop(listener);
        server.ending.set(true);
        sleep(LAST_REQUESTS).await;
        end.close();
        eprintln!("signal {signal}: {} connections to end", connections.len());
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, or(all, async { _ = signals.next().await })).await.is_err() {
            eprintln!("the rest is cut off");
        }
        Ok(())
    })
}

/// One connection, to its end.
async fn serve(
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
            until(told, connection, |connection| connection.graceful_shutdown()).await
        } else {
            let mut http = http1::Builder::new();
            http.timer(HyperTimer).header_read_timeout(HEAD).max_header_size(16 << 10);
            let told = async { _ = ended.recv().await };
            let connection = http.serve_connection(&stream, service);
            until(told, connection, |connection| connection.graceful_shutdown()).await
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

/// The connection until its end, and until it is told to come to one.
async fn until<C: Future>(
    told: impl Future,
    connection: C,
    tell: impl Fn(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    let by_itself = async { Some(connection.as_mut().await) };
    let first = or(by_itself, async {
        told.await;
        None
    });
    match first.await {
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

/// Of an answer.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// An answer that is not the one that was asked for.
pub struct Refusal(pub StatusCode, pub &'static str);

struct Server {
    files: Files,
    ending: Cell<bool>,
}

impl Server {
    async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let version = request.version();
        let answered = self.route(request).await;
        let mut response = answered.unwrap_or_else(|Refusal(status, why)| text(status, why));
        let has_unread_body = [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE]
            .contains(&response.status());
        if version < Version::HTTP_2 && (has_unread_body || self.ending.get()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        match (path, path.strip_prefix("/files/"), head.method) {
            ("/", _, Method::GET | Method::HEAD) => Ok(text(StatusCode::OK, "hello\n")),
            ("/echo", _, Method::POST) => {
                let size = body.size_hint().exact();
                let frames = body::paced(body, body::LARGEST)?;
                let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
                // HTTP/1.0 has no chunks, so that a body without a size ends with its connection.
                if let Some(size) = size {
                    response.headers_mut().insert(CONTENT_LENGTH, size.into());
                }
                Ok(response)
            }
            (_, Some(name), Method::GET | Method::HEAD) => self.files.get(name).await,
            (_, Some(name), Method::PUT) => self.files.put(name, body).await,
            ("/", ..) => Ok(not_allowed("GET, HEAD")),
            ("/echo", ..) => Ok(not_allowed("POST")),
            (_, Some(_), _) => Ok(not_allowed("GET, HEAD, PUT")),
            _ => Err(Refusal(StatusCode::NOT_FOUND, "nothing here\n")),
        }
    }
}

fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "not by this method\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
