//! The smallest web server with hyper.
//!
//! ```text
//! $ cargo run --release --bin hello [ADDR]    # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ curl http://127.0.0.1:7000/               # in another terminal
//! hello from /
//! ```

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::time::Duration;
use waken::hyper::HyperTimer;
use waken::{AsyncTcpListener, block_on, spawn};

async fn hello(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let text = format!("hello from {}\n", request.uri().path());
    Ok(Response::new(Full::from(text)))
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let mut http = http1::Builder::new();
        http.timer(HyperTimer).header_read_timeout(Duration::from_secs(10));
        loop {
            // An error here is about this one client, or passes: nobody else has to go for it.
            let Ok((stream, peer)) = listener.accept().await else { continue };
            let connection = http.serve_connection(stream, service_fn(hello));
            spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("{peer}: {error}");
                }
            });
        }
    })
}
