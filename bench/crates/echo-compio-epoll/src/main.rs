//! compio echo server; the driver (polling or io_uring) is chosen by cargo features.
//! Usage: echo-compio-* PORT echo|sink BUF
use compio::buf::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};

async fn conn(mut s: TcpStream, sink: bool, bufsz: usize) {
    let mut buf: Vec<u8> = Vec::with_capacity(bufsz);
    loop {
        buf.clear();
        let BufResult(r, b) = s.read(buf).await;
        buf = b;
        match r {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if !sink {
            let BufResult(r, b) = s.write_all(buf).await;
            buf = b;
            if r.is_err() {
                return;
            }
        }
    }
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (port, sink, bufsz): (u16, bool, usize) =
        (a[1].parse().unwrap(), a[2] == "sink", a[3].parse().unwrap());
    let rt = compio::runtime::Runtime::new().unwrap();
    eprintln!("driver: {:?}", rt.driver_type());
    rt.block_on(async move {
        let l = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        println!("READY");
        loop {
            if let Ok((s, _)) = l.accept().await {
                compio::runtime::spawn(conn(s, sink, bufsz)).detach();
            }
        }
    })
}
