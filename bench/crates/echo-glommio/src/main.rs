//! glommio echo server. Usage: echo-glommio PORT echo|sink BUF
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

async fn conn(mut s: TcpStream, sink: bool, bufsz: usize) {
    let mut buf = vec![0u8; bufsz];
    loop {
        let n = match s.read(&mut buf).await {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        if !sink && s.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (port, sink, bufsz): (u16, bool, usize) =
        (a[1].parse().unwrap(), a[2] == "sink", a[3].parse().unwrap());
    LocalExecutorBuilder::new(Placement::Unbound).make().unwrap().run(async move {
        let l = TcpListener::bind(("127.0.0.1", port)).unwrap();
        println!("READY");
        loop {
            if let Ok(s) = l.accept().await {
                glommio::spawn_local(conn(s, sink, bufsz)).detach();
            }
        }
    })
}
