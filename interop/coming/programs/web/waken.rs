use axum::{Router, routing::get};
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::time::Duration;
use waken::hyper::HyperTimer;
use waken::{AsyncTcpListener, block_on, spawn};

fn main() -> io::Result<()> {
    let router =
        Router::new().route("/", get(async || "hello\n"));
    block_on(async {
        let listener =
            AsyncTcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        let mut http = http1::Builder::new();
        http.timer(HyperTimer)
            .header_read_timeout(Duration::from_secs(10));
        loop {
            let Ok((stream, _peer)) = listener.accept().await
            else {
                continue;
            };
            let service =
                TowerToHyperService::new(router.clone());
            let connection =
                http.serve_connection(stream, service);
            spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("{error}");
                }
            });
        }
    })
}
