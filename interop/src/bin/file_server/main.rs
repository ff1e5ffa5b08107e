//! Files by HTTP: GET and HEAD, ranges, so that downloads can be resumed, and validators, so that nothing is sent twice.
//!
//! ```text
//! $ cargo run --release --bin file_server ROOT [ADDR [PATIENCE]]   # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ curl -O -C - http://127.0.0.1:7000/large.iso                   # in another terminal; and again, after Ctrl-C
//! ```
//!
//! PATIENCE is in seconds, 20 when it is not given: whoever takes not a byte for that long is cut off.
//!
//! Epoll cannot wait for files: to read one that is not in memory blocks, and with it everybody. So all that touches files
//! is done by `unblock`, on other threads: a first call opens, decides and reads the beginning, and each one after that
//! reads a piece. hyper asks for a piece when it has room, so a slow client costs one piece. From memory, a MB takes 0.5 ms of a
//! processor that way. sendfile(2) takes 0.25 ms, as it copies nothing, but then HTTP is one's own, and it waits for the disk just the same.
//!
//! Everything beneath ROOT is public, and nothing else is there: the kernel itself refuses to go up or away, by `..` or by a
//! symbolic link (openat2(2), `RESOLVE_BENEATH`, since Linux 5.6). Links to what is inside work, if they are relative. There are no
//! listings: `/` at the end of a path shows the directory's `index.html`.
//!
//! `conditions.rs` is what HTTP says about ranges and validators, `files.rs` opens and reads, `patient.rs` is the limit for writing.
//! The crates: waken with features `hyper` and `blocking`, hyper with `http1` and `server`, http-body-util, futures-lite,
//! httpdate, percent-encoding, and rustix with `fs`, for openat2 and for pread into memory that nobody has zeroed.

mod conditions;
mod files;
mod patient;

use conditions::{Version, decide};
use futures_lite::stream::{self, Stream};
use http_body_util::StreamBody;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use patient::Patient;
use rustix::io::Errno;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use waken::hyper::HyperTimer;
use waken::{AsyncTcpListener, JoinSet, block_on, unblock};

/// The head of a request has to be there by then; so the pause between two is no longer either.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// When there are as many, clients wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("file_server ROOT [ADDR [PATIENCE]]");
    let root = arguments.next().ok_or_else(usage)?;
    let address = arguments.next().unwrap_or("127.0.0.1:7000".into());
    let patience = arguments.next().map_or(Ok(20_u32), |seconds| seconds.parse());
    let patience = Duration::from_secs(patience.map_err(|_| usage())?.into());
    let root = Arc::new(File::open(root)?);
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut http = http1::Builder::new();
        // hyper asks for a piece when it holds less than this, and writes it from where it lies.
        http.timer(HyperTimer).header_read_timeout(HEAD_WITHIN).max_buf_size(16 << 10);
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            while connections.try_join_next().is_some() {} // the group keeps who has ended until it is joined
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("accept: {error}"); // out of descriptors: the next accept waits
                    continue;
                }
            };
            let root = root.clone();
            let service = service_fn(move |request| answer(root.clone(), request));
            let connection = http.serve_connection(Patient::new(stream, patience), service);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("{peer}: {error}");
                }
            });
        }
    })
}

async fn answer(
    root: Arc<File>,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = io::Error>>, Infallible> {
    let (asked, _a_body_means_nothing) = request.into_parts();
    let response = unblock(move || {
        let path = asked.uri.path();
        find(&root, &asked.method, path, &asked.headers)
            .unwrap_or_else(|error| failed(path, &error))
    });
    Ok(response.await.map(|content| StreamBody::new(content.pieces())))
}

/// What has been read of an answer, and what of which file is to follow.
struct Content {
    first: Bytes,
    file: Option<Arc<File>>,
    rest: Range<u64>,
}

impl Content {
    /// Each piece is read when it is asked for. A file that has become shorter meanwhile ends in an error: its length was
    /// promised, so hyper closes the connection, and the client can tell.
    fn pieces(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
        stream::try_unfold(self, |mut content| async move {
            let mut piece = std::mem::take(&mut content.first);
            let file =
                content.file.clone().filter(|_| piece.is_empty() && !content.rest.is_empty());
            if let Some(file) = file {
                let rest = content.rest.clone();
                piece = unblock(move || files::read(&file, &rest)).await?;
                content.rest.start += piece.len() as u64;
            }
            Ok((!piece.is_empty()).then(|| (Frame::data(piece), content)))
        })
    }
}

fn find(
    root: &File,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> io::Result<Response<Content>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let (file, metadata) = files::open(root, path)?;
    let version = Version::of(&metadata);
    let (head, range) = decide(method, headers, &version);
    let first = files::read(&file, &range)?;
    let rest = range.start + first.len() as u64..range.end;
    let mut response = head.map(|()| Content { first, file: Some(Arc::new(file)), rest });
    files::describe(path, response.headers_mut());
    Ok(response)
}

/// What is outside is, as far as anybody can tell, not there.
fn failed(path: &str, error: &io::Error) -> Response<Content> {
    plain(match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::XDEV) => StatusCode::NOT_FOUND,
        Some(Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL) => StatusCode::NOT_FOUND, // none has such a name
        Some(Errno::ACCESS | Errno::PERM) => StatusCode::FORBIDDEN,
        _ => {
            eprintln!("{path}: {error}");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    })
}

fn plain(status: StatusCode) -> Response<Content> {
    let text = Bytes::from(format!("{status}\n"));
    let length = text.len().into();
    let mut response = Response::new(Content { first: text, file: None, rest: 0..0 });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}
