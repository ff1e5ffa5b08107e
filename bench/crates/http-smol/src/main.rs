//! hyper on the smol stack, by smol-hyper: LocalExecutor, async-net, async-io. Usage: http-smol PORT http1|http2

use async_executor::LocalExecutor;
use async_net::TcpListener;
use http_common::{Options, answer, options};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use smol_hyper::rt::{FuturesIo, SmolTimer};
use std::future::Future;

/// smol-hyper has an executor for futures that are `Send` and an executor that is; this is the one for a thread.
#[derive(Clone, Copy)]
struct Local(&'static LocalExecutor<'static>);

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        self.0.spawn(future).detach();
    }
}

fn main() {
    let Options { address, http2 } = options();
    let executor: &'static LocalExecutor = Box::leak(Box::new(LocalExecutor::new()));
    // The accept loop is a task of its own, as in `echo-smol`.
    let accept = executor.spawn(async move {
        let listener = TcpListener::bind(address).await.unwrap();
        println!("READY");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.set_nodelay(true).unwrap();
            let stream = FuturesIo::new(stream);
            if http2 {
                let mut http = http2::Builder::new(Local(executor));
                executor
                    .spawn(
                        http.timer(SmolTimer::new()).serve_connection(stream, service_fn(answer)),
                    )
                    .detach();
            } else {
                let mut http = http1::Builder::new();
                executor
                    .spawn(
                        http.timer(SmolTimer::new()).serve_connection(stream, service_fn(answer)),
                    )
                    .detach();
            }
        }
    });
    async_io::block_on(executor.run(accept))
}
