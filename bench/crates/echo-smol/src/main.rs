//! The smol stack's echo server: LocalExecutor, async-net, async-io. Usage: echo-smol PORT echo|sink BUF

use async_executor::LocalExecutor;
use async_net::{TcpListener, TcpStream};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let port: u16 = arguments[1].parse().unwrap();
    let (sink, buffer) = (arguments[2] == "sink", arguments[3].parse().unwrap());
    let executor: &'static LocalExecutor = Box::leak(Box::new(LocalExecutor::new()));
    // The accept loop is a task of its own: as the root future it would be polled at every wake-up of the executor, and
    // call accept4 each time.
    let accept = executor.spawn(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        println!("READY");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                executor.spawn(connection(stream, sink, buffer)).detach();
            }
        }
    });
    async_io::block_on(executor.run(accept))
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
