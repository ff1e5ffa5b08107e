//! An application with axum: routes, state, JSON, a body that takes its time, a WebSocket by upgrade, a timeout and a panic
//! that each end one request and nothing else, and an end that cuts nobody off.
//!
//! ```text
//! $ cargo run --release --bin axum_app [ADDR]       # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ curl --json '{"text": "buy milk"}' http://127.0.0.1:7000/notes      # in another terminal
//! {"id":1,"text":"buy milk"}
//! $ curl http://127.0.0.1:7000/notes                # all of them, and `/notes/1` one
//! $ curl -N 'http://127.0.0.1:7000/ticks?count=5'   # a line every 200 ms
//! $ curl http://127.0.0.1:7000/sleep/20000          # 503 after 5 s
//! $ curl http://127.0.0.1:7000/panic                # 500
//! $ python3 -m websockets ws://127.0.0.1:7000/echo  # pip install websockets
//! ```
//!
//! axum with `http1`, `json` and `query`, without its default `tokio`; hyper with `http1` and `server`; tower-service, whose
//! trait a router is; async-tungstenite with `handshake`; serde; async-channel, async-lock and futures-lite; socket2; libc.
//!
//! What of axum and tower needs another runtime is not used here, since it would panic: `axum::serve`, `extract::ws`,
//! `Sse::keep_alive`, `tower::timeout`. In their places are `serve`, `echo` and `in_time`. On a plain port it is HTTP/1 alone;
//! `http` has both.

use async_channel::Receiver;
use async_lock::{Semaphore, SemaphoreGuardArc};
use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite;
use async_tungstenite::tungstenite::handshake::server::create_response_with_body;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_lite::future::or;
use futures_lite::io::{copy, sink};
use futures_lite::{AsyncWriteExt, FutureExt, StreamExt, stream};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use serde::{Deserialize, Serialize};
use socket2::SockRef;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower_service::Service;
use waken::hyper::{FuturesIo, HyperTimer};
use waken::signal::Signals;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

/// At once, WebSockets too. When all places are taken, clients wait in the kernel's queue. It is less than the 1024 descriptors
/// that a process has when nobody has asked for more.
const PLACES: usize = 1000;
/// From the connection, or from an answer, to the end of the next head.
const HEAD: Duration = Duration::from_secs(10);
/// From a head to its answer: the time of the handler, and of the body that it reads.
const ANSWER: Duration = Duration::from_secs(5);
/// Of a client: with bytes of ours that it does not take, and of a WebSocket that says nothing.
const UNTAKEN: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
const LARGEST_MESSAGE: usize = 1 << 20;
const LARGEST_BODY: usize = 16 << 10;
/// At the end: for requests that are on their way already, and for all that is in flight.
const LAST_REQUESTS: Duration = Duration::from_millis(100);
const LAST_ANSWERS: Duration = Duration::from_secs(10);
const MOST_NOTES: usize = 1000;

/// axum asks for `Send` of this and of handlers. All of it is on one thread nevertheless: nobody waits for the lock.
#[derive(Clone)]
struct App {
    notes: Arc<Mutex<BTreeMap<u64, Note>>>,
    ending: Arc<AtomicBool>,
    ended: Receiver<Infallible>,
}

#[derive(Clone, Serialize)]
struct Note {
    id: u64,
    text: String,
}

/// Who keeps it, keeps the place: the connection, and its WebSocket after it.
struct Client {
    address: SocketAddr,
    _place: SemaphoreGuardArc,
}

fn router(app: App) -> Router {
    Router::new()
        .route("/", get(hello))
        .route("/notes", get(notes).post(add_note))
        .route("/notes/{id}", get(note).delete(remove_note))
        .route("/ticks", get(ticks))
        .route("/sleep/{millis}", get(sleeps))
        .route("/panic", get(panics))
        .route("/echo", get(echo))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(in_time))
        .layer(from_fn(panic_is_500))
        .layer(from_fn_with_state(app.clone(), last_answers))
        .with_state(app)
}

async fn hello(Extension(client): Extension<Arc<Client>>) -> String {
    format!("hello, {}\n", client.address)
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

async fn add_note(State(app): State<App>, Json(new): Json<NewNote>) -> impl IntoResponse {
    let mut notes = app.notes.lock().unwrap();
    if notes.len() >= MOST_NOTES {
        notes.pop_first();
    }
    let id = notes.last_key_value().map_or(1, |(last, _)| last + 1);
    let note = Note { id, text: new.text };
    notes.insert(id, note.clone());
    (StatusCode::CREATED, Json(note))
}

async fn notes(State(app): State<App>) -> Json<Vec<Note>> {
    Json(app.notes.lock().unwrap().values().cloned().collect())
}

async fn note(State(app): State<App>, Path(id): Path<u64>) -> Result<Json<Note>, StatusCode> {
    app.notes.lock().unwrap().get(&id).cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn remove_note(State(app): State<App>, Path(id): Path<u64>) -> StatusCode {
    match app.notes.lock().unwrap().remove(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

#[derive(Deserialize)]
struct Ticks {
    count: u32,
}

/// A body of which each piece is sent when it is made.
async fn ticks(Query(Ticks { count }): Query<Ticks>) -> Body {
    Body::from_stream(stream::unfold(0, move |n| async move {
        if n == count {
            return None;
        }
        sleep(Duration::from_millis(200)).await;
        Some((io::Result::Ok(format!("tick {n}\n")), n + 1))
    }))
}

async fn sleeps(Path(millis): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(millis)).await;
    "slept\n"
}

async fn panics() -> StatusCode {
    panic!("a handler that panics");
}

async fn in_time(request: Request, next: Next) -> Result<Response, StatusCode> {
    timeout(ANSWER, next.run(request)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

/// Without it, a panic would be the end of the connection: a task of ours, so nobody else's.
async fn panic_is_500(request: Request, next: Next) -> Result<Response, StatusCode> {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    answer.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// At the end each answer says that it is the last of its connection, so that no request is under way when that is closed.
async fn last_answers(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if app.ending.load(Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A WebSocket that sends back what it gets; see `websocket` for more of them.
async fn echo(
    State(app): State<App>,
    Extension(client): Extension<Arc<Client>>,
    mut request: Request,
) -> Result<Response, StatusCode> {
    let answer = create_response_with_body(&request, Body::empty);
    let answer = answer.map_err(|_| StatusCode::BAD_REQUEST)?;
    let upgrade = hyper::upgrade::on(&mut request);
    spawn(async move {
        // There is nothing to upgrade when the connection ends before its answer is written.
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE))
            .read_buffer_size(8 << 10);
        let stream = FuturesIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        if let Err(error) = send_back(&mut socket, &app.ended).await {
            eprintln!("{}: {error}", client.address);
        }
    });
    Ok(answer)
}

async fn send_back(
    socket: &mut WebSocketStream<FuturesIo<hyper::upgrade::Upgraded>>,
    ended: &Receiver<Infallible>,
) -> Result<(), Box<dyn Error>> {
    let (code, reason) = loop {
        let told = async {
            _ = ended.recv().await;
            Ok(None)
        };
        let said = async { timeout(SILENCE, socket.next()).await.map(Some) };
        match or(told, said).await? {
            None => break (CloseCode::Away, "the server ends"),
            Some(Some(Ok(message))) if message.is_text() || message.is_binary() => {
                socket.send(message).await?;
            }
            Some(Some(Ok(_))) => {} // a ping is answered, and a close, by who reads them
            Some(Some(Err(tungstenite::Error::Capacity(_)))) => {
                break (CloseCode::Size, "too large");
            }
            Some(Some(Err(error))) => return Err(error.into()),
            Some(None) => return Ok(()),
        }
    };
    socket.close(Some(CloseFrame { code, reason: reason.into() })).await?;
    // A close with bytes unread is a reset, which takes our last words with it.
    let stream = socket.get_mut();
    stream.close().await?;
    timeout(Duration::from_secs(1), copy(stream, sink())).await??;
    Ok(())
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);

        // Nothing is ever sent: it is closed, and everybody with a receiver knows.
        let (end, ended) = async_channel::bounded(1);
        let ending = Arc::new(AtomicBool::new(false));
        let app = App { notes: Arc::default(), ending: ending.clone(), ended: ended.clone() };
        let router = router(app);
        let places = Arc::new(Semaphore::new(PLACES));
        let begin = |(stream, address), place| {
            let client = Arc::new(Client { address, _place: place });
            let served = serve(stream, client, router.clone(), ended.clone());
            spawn(async move {
                if let Err(error) = served.await {
                    eprintln!("{address}: {error}");
                }
            });
        };
        let accept = async {
            loop {
                let place = places.acquire_arc().await;
                match listener.accept().await {
                    Ok(accepted) => begin(accepted, place),
                    Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
                }
            }
        };
        let signal = or(signals.next(), accept).await;

        // Whom the kernel has let in is a client. hyper would close a new connection, and one whose next request is on its
        // way, so they have a moment.
        while let Some(place) = places.try_acquire_arc() {
            let Ok(accepted) = listener.try_accept() else { break };
            begin(accepted, place);
        }
        drop(listener);
        ending.store(true, Relaxed);
        sleep(LAST_REQUESTS).await;
        end.close();
        eprintln!("signal {signal}: the last answers");
        let all = async {
            for _ in 0..PLACES {
                places.acquire().await.forget(); // all of them are free again
            }
        };
        if timeout(LAST_ANSWERS, or(all, async { _ = signals.next().await })).await.is_err() {
            eprintln!("the rest is cut off");
        }
        Ok(())
    })
}

/// One connection, to its end or its upgrade.
async fn serve(
    stream: AsyncTcpStream,
    client: Arc<Client>,
    router: Router,
    ended: Receiver<Infallible>,
) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    // hyper has no timeout for a client that takes no answers; the kernel has, see tcp(7).
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNTAKEN))?;
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(client.clone());
        router.clone().call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(HyperTimer).header_read_timeout(HEAD).max_header_size(16 << 10);
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let by_itself = async { Some(connection.as_mut().await) };
    let told = async {
        _ = ended.recv().await;
        None
    };
    if let Some(result) = or(by_itself, told).await {
        return Ok(result?);
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}
