//! tokio's current_thread echo server. Usage: echo-tokio PORT echo|sink BUF

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments[1].parse().unwrap();
    let (sink, buffer) = (arguments[2] == "sink", arguments[3].parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        println!("READY");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, sink, buffer));
            }
        }
    })
}

async fn connection(mut stream: TcpStream, sink: bool, buffer: usize) {
    let mut buf = vec![0; buffer];
    loop {
        let n = match stream.read(&mut buf).await {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        if !sink && stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}
