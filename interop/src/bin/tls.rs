//! An HTTPS server: TLS by rustls, then HTTP/2 or HTTP/1.1, as the client and we have agreed in the handshake (ALPN).
//!
//! ```text
//! $ cargo run --release --bin tls 127.0.0.1:7443 --self-signed ca.pem    # or: --cert CERT.pem --key KEY.pem
//! listening on 127.0.0.1:7443
//! $ curl --cacert ca.pem https://localhost:7443/                         # in another terminal
//! HTTP/2.0 over TLSv1_3
//! $ curl --cacert ca.pem --data-binary @FILE https://localhost:7443/     # sends it back
//! $ curl --cacert ca.pem https://localhost:7443/1000000                  # so many bytes
//! ```
//!
//! Crates: `futures-rustls` with `ring` and `tls12` (its default is another library for the cryptography, which takes longer
//! to build), `rcgen` for the self-signed certificate, `hyper` with `http1`, `http2` and `server`, `http-body-util`,
//! `socket2` with `all`.
//!
//! What a server on the open network needs, and where it is:
//!
//! * A limit for the handshake, for the first request and for each request's headers: ten seconds. In HTTP/2 a ping finds
//!   out who has gone. The kernel cuts off who takes nothing of an answer (`TCP_USER_TIMEOUT`).
//! * The end of a connection is said (`close_notify`), and heard: to hyper a stream without it is an error, never a body's end.
//!   A client that has nothing more to say may still wait for its answer (`half_close`), and one that says more than it
//!   was asked for still gets the answer.
//! * Sessions are resumed: rustls does that by itself.
//! * What one client does wrong is one line on standard error.

use futures_lite::{AsyncWriteExt, future, stream};
use futures_rustls::TlsAcceptor;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{ServerConfig, version};
use futures_rustls::server::TlsStream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use socket2::SockRef;
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::iter;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use waken::hyper::{HyperExecutor, HyperIo, HyperTimer};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// For a handshake, for a first request, for headers, for the answer to a ping.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the client's end after ours.
const LINGER: Duration = Duration::from_secs(2);
/// At a time. When all places are taken, clients wait in the kernel's queue.
const CONNECTIONS: usize = 4096;

fn main() -> Result<()> {
    let (address, config) = arguments()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS {
                connections.join_next().await;
            }
            // An error here is about this one client, or passes: nobody else has to go for it.
            let Ok((stream, peer)) = listener.accept().await else { continue };
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                if let Err(error) = serve(stream, acceptor).await {
                    eprintln!("{peer}: {}", with_causes(&*error));
                }
            });
        }
    })
}

/// hyper's own word is often only where it happened.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn serve(stream: AsyncTcpStream, acceptor: TlsAcceptor) -> Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(PATIENCE))?;
    let handshake = timeout(PATIENCE, acceptor.accept(stream)).await;
    let stream = handshake.map_err(|_| "no handshake in time")??;
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let tls = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");

    let mut stream = HyperIo::new(stream);
    let served = if is_http2 {
        http2(&mut stream, tls).await
    } else {
        let mut http = http1::Builder::new();
        http.timer(HyperTimer).header_read_timeout(PATIENCE).half_close(true);
        let connection = http.serve_connection(&mut stream, service_fn(|it| answer(it, tls)));
        connection.await.map_err(Into::into)
    };
    // The end is said, if hyper has not done so. Whoever is still sending then is listened to for a moment: the kernel answers
    // what nobody reads with a reset, and that can overtake our last words.
    let end = async {
        let mut stream = stream.into_inner();
        stream.close().await?;
        let (stream, _) = stream.into_inner();
        while stream.read(&mut [0; 4096]).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _however_it_went = timeout(LINGER, end).await;
    served
}

async fn http2(stream: &mut HyperIo<TlsStream<AsyncTcpStream>>, tls: &'static str) -> Result<()> {
    let mut http = http2::Builder::new(HyperExecutor);
    http.timer(HyperTimer).keep_alive_interval(PATIENCE).keep_alive_timeout(PATIENCE);
    let asked = Rc::new(Cell::new(false));
    let has_asked = asked.clone();
    let connection = http.serve_connection(
        stream,
        service_fn(move |request| {
            asked.set(true);
            answer(request, tls)
        }),
    );
    // hyper begins to ping when HTTP/2 has begun: until then nothing of its own ends the wait.
    let no_request = async {
        sleep(PATIENCE).await;
        if has_asked.get() { future::pending().await } else { Err("no request in time".into()) }
    };
    future::or(async { Ok(connection.await?) }, no_request).await
}

type Body = BoxBody<Bytes, hyper::Error>;

async fn answer(
    request: Request<Incoming>,
    tls: &str,
) -> std::result::Result<Response<Body>, Infallible> {
    let path = request.uri().path().trim_start_matches('/');
    let body = match *request.method() {
        Method::GET if path.is_empty() => text(format!("{:?} over {tls}\n", request.version())),
        Method::GET if path.parse::<u64>().is_ok() => bytes(path.parse().unwrap_or(0)),
        Method::POST if path.is_empty() => request.into_body().boxed(),
        _ => {
            // Over HTTP/2 an answer before the request's end may be lost: curl 7.88 gives it up for the reset that follows.
            let mut rest = Limited::new(request.into_body(), 1 << 20);
            let _in_time =
                timeout(PATIENCE, async { while let Some(Ok(_)) = rest.frame().await {} }).await;
            let mut response = Response::new(text("there is nothing here\n".into()));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    Ok(Response::new(body))
}

fn text(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed()
}

/// 0, 1, … 250, 0, 1, …: made as they are sent, and of one piece of memory.
fn bytes(length: u64) -> Body {
    let piece: Bytes = (0..=250).cycle().take(251 * 64).collect();
    let step = piece.len();
    let pieces = (0..length).step_by(step).map(move |from| {
        let end = step.min((length - from) as usize);
        Ok(Frame::data(piece.slice(..end)))
    });
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}

fn arguments() -> Result<(String, ServerConfig)> {
    let mut address = "127.0.0.1:7443".to_owned();
    let (mut certificate, mut key, mut self_signed) = (None, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--cert" => certificate = arguments.next(),
            "--key" => key = arguments.next(),
            "--self-signed" => self_signed = arguments.next(),
            _ => address = argument,
        }
    }
    let (certificates, key) = match (certificate, key, self_signed) {
        (Some(certificate), Some(key), None) => (
            CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?,
            PrivateKeyDer::from_pem_file(key)?,
        ),
        (None, None, Some(file)) => {
            let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names)?;
            std::fs::write(file, made.cert.pem())?;
            (vec![made.cert.into()], made.signing_key.into())
        }
        _ => {
            return Err(
                "give --cert and --key, or --self-signed and where it is to be written".into()
            );
        }
    };
    // Without the choice in words rustls takes what some crate has set for all of the process, or panics when there are two.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((address, config))
}
