//! monoio echo server. Usage: echo-monoio legacy|uring PORT echo|sink BUF
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

async fn conn(mut s: TcpStream, sink: bool, bufsz: usize) {
    let mut buf: Vec<u8> = Vec::with_capacity(bufsz);
    loop {
        let (r, b) = s.read(buf).await;
        buf = b;
        match r {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if !sink {
            let (r, b) = s.write_all(buf).await;
            buf = b;
            if r.is_err() {
                return;
            }
        }
    }
}

async fn serve(port: u16, sink: bool, bufsz: usize) {
    let l = TcpListener::bind_with_config(
        ("127.0.0.1", port),
        &ListenerOpts::new().reuse_port(false).backlog(4096),
    )
    .unwrap();
    println!("READY");
    loop {
        if let Ok((s, _)) = l.accept().await {
            monoio::spawn(conn(s, sink, bufsz));
        }
    }
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (port, sink, bufsz): (u16, bool, usize) =
        (a[2].parse().unwrap(), a[3] == "sink", a[4].parse().unwrap());
    match a[1].as_str() {
        "legacy" => RuntimeBuilder::<LegacyDriver>::new()
            .build()
            .unwrap()
            .block_on(serve(port, sink, bufsz)),
        "uring" => RuntimeBuilder::<IoUringDriver>::new()
            .build()
            .unwrap()
            .block_on(serve(port, sink, bufsz)),
        v => panic!("variant {v}?"),
    }
}
