//! The answers. In a server of yours, this is the file that is yours.

use crate::connection::Server;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use waken::time::{sleep, timeout};

pub async fn answer(
    server: Rc<Server>,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = timeout(server.options.answer, find(&server, client, &request)).await;
    let (status, text) =
        found.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, "it took too long\n".to_owned()));
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    // For who looks how the requests are divided.
    response.headers_mut().insert("x-instance", HeaderValue::from(std::process::id()));
    // A client that is told comes back by a new connection. One that is not may send its next request just as we close:
    // it cannot know whether that was seen, and may not repeat it if it changes anything. (HTTP/2 has a message of its own.)
    if server.stopping.get() && request.version() <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn find(
    server: &Server,
    client: SocketAddr,
    request: &Request<Incoming>,
) -> (StatusCode, String) {
    let path = request.uri().path();
    if path == "/healthz" {
        return match server.stopping.get() {
            false => (StatusCode::OK, "ready\n".to_owned()),
            true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        };
    }
    if let Some(rest) = path.strip_prefix("/slow/") {
        let millis = rest.split('/').next().and_then(|millis| millis.parse().ok());
        sleep(Duration::from_millis(millis.unwrap_or(0))).await;
    }
    let client = match forwarded(request).filter(|_| server.options.forwarded) {
        Some(client) => client.to_owned(),
        None => client.to_string(),
    };
    (StatusCode::OK, format!("{path} for {client}\n"))
}

/// The last address is the one that our proxy has added: those before it are what the client says of itself.
fn forwarded(request: &Request<Incoming>) -> Option<&str> {
    let last = request.headers().get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next().map(str::trim)
}
