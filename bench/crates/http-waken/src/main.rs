//! hyper on waken. Usage: http-waken PORT http1|http2

use http_common::{Options, answer, options};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use waken::hyper::{HyperExecutor, HyperTimer};
use waken::{AsyncTcpListener, block_on, spawn};

fn main() {
    let Options { address, http2 } = options();
    block_on(async move {
        let listener = AsyncTcpListener::bind(address).await.unwrap();
        println!("READY");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.set_nodelay(true).unwrap();
            if http2 {
                let mut http = http2::Builder::new(HyperExecutor);
                spawn(http.timer(HyperTimer).serve_connection(stream, service_fn(answer)));
            } else {
                let mut http = http1::Builder::new();
                spawn(http.timer(HyperTimer).serve_connection(stream, service_fn(answer)));
            }
        }
    })
}
