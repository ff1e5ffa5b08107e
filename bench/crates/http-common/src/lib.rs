//! What the web servers have in common: their answers. The runtimes are all that is different.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use std::net::Ipv4Addr;

static LARGE: [u8; 65536] = [b'x'; 65536];

/// `/` is a few bytes, `/large` is 64 KiB, and what is sent to `/upload` is counted.
pub async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, World!")));
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => {}
        (&Method::GET, "/large") => *response.body_mut() = Full::new(Bytes::from_static(&LARGE)),
        (&Method::POST, "/upload") => {
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame?.data_ref().map_or(0, |data| data.len());
            }
            *response.body_mut() = Full::from(length.to_string());
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// How a server is called: `http-NAME PORT http1|http2`.
pub struct Options {
    pub address: (Ipv4Addr, u16),
    pub http2: bool,
}

pub fn options() -> Options {
    let arguments: Vec<String> = std::env::args().collect();
    let port = arguments[1].parse().expect("a port");
    Options { address: (Ipv4Addr::LOCALHOST, port), http2: arguments[2] == "http2" }
}
