//! hyper on tokio's current_thread runtime, by hyper-util. Usage: http-tokio PORT http1|http2

use http_common::{Options, answer, options};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

fn main() {
    let Options { address, http2 } = options();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await.unwrap();
        println!("READY");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.set_nodelay(true).unwrap();
            let stream = TokioIo::new(stream);
            if http2 {
                let mut http = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(
                    http.timer(TokioTimer::new()).serve_connection(stream, service_fn(answer)),
                );
            } else {
                let mut http = http1::Builder::new();
                tokio::spawn(
                    http.timer(TokioTimer::new()).serve_connection(stream, service_fn(answer)),
                );
            }
        }
    })
}
