//! A web server with hyper, HTTP/1 and HTTP/2 on one port, for clients that nobody knows: with limits to places, time and
//! bytes, with uploads that go to the disk as they come, and with an end that cuts nobody off.
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
//! | sends nothing, or a head that does not end; asks nothing more | 10 s |
//! | does so by HTTP/2, or answers no ping | 25 s |
//! | asks nothing more by HTTP/2, and answers pings | 60 s |
//! | stands still in a body, or sends less than 16 KiB/s for more than 10 s | 10 s |
//! | takes nothing of an answer, or has vanished | 20 s |
//! | all others | an hour |
//!
//! Behind a load balancer, the end needs one step before: to fail its health checks for as long as it takes it to notice.

mod body;
mod connection;
mod files;

use files::Files;
use futures_lite::future::or;
use futures_lite::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use waken::signal::Signals;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, JoinSet, block_on};

/// At once. When all places are taken, clients wait in the kernel's queue. Each may have a file open as well, and 1024
/// descriptors is what a process has when nobody has asked for more. See `examples/limits.rs` for a limit by address.
const PLACES: usize = 500;
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
            let served = connection::serve(stream, server.clone(), ended.clone());
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

pub struct Server {
    files: Files,
    ending: Cell<bool>,
}

impl Server {
    pub async fn answer(
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
                let mut frames = Box::pin(body::paced(body, body::LARGEST)?);
                // Who waits for `100 Continue` sends nothing before the body is asked for, and no answer may begin before.
                let first = frames.next().await.transpose()?;
                let frames = stream::iter(first).map(Ok).chain(frames);
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
