//! An echo server on every core: as many loops as there are processors, one address, and nothing between them.
//!
//! ```text
//! $ cargo run --release --example per_core [ADDR]  # 127.0.0.1:7002 when no address is given
//! listening on 127.0.0.1:7002
//! $ nc 127.0.0.1 7002                              # in another terminal
//! hello
//! hello
//! shares
//! 1 0
//! ```
//!
//! `shares` is answered with how many connections each worker has been given. It is the kernel that divides them, by a
//! hash of the addresses (`SO_REUSEPORT`, socket(7)): evenly when there are many, and whatever the workers are doing. Since a
//! connection stays where it was accepted, no lock is needed, no wake from thread to thread, and a task may hold an `Rc`.
//! What remains shared are the counters below.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use waken::net::TcpSocket;
use waken::{AsyncTcpListener, AsyncTcpStream, Workers, spawn};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7002".into());
    let address = address.parse::<SocketAddr>();
    let address = address.map_err(|_| io::Error::other("ADDR is in numbers: 127.0.0.1:7002"))?;
    let workers = Workers::per_core()?.pin(true);

    // Twice through the workers. First all begin to listen, so that an address that is taken ends the program, and not
    // one worker; and nobody is given a connection while another one does not yet listen.
    let address = Mutex::new(address);
    let listeners = workers.clone().run(|_worker| async {
        let mut address = address.lock().unwrap();
        let listener = listen(*address)?;
        *address = listener.local_addr()?; // whoever comes first takes any port if it is 0, the others the same
        io::Result::Ok(listener.into_std())
    })?;
    let listeners = listeners.into_iter().collect::<io::Result<Vec<_>>>()?;
    println!("listening on {}", address.lock().unwrap());

    // Then each serves those that came to its own.
    let shares: Arc<[AtomicUsize]> = listeners.iter().map(|_| AtomicUsize::new(0)).collect();
    let ended = workers.run(|worker| serve(worker, &listeners[worker], shares.clone()))?;
    ended.into_iter().collect()
}

fn listen(address: SocketAddr) -> io::Result<AsyncTcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn serve(
    worker: usize,
    listener: &std::net::TcpListener,
    shares: Arc<[AtomicUsize]>,
) -> io::Result<()> {
    let listener = AsyncTcpListener::try_from(listener.try_clone()?)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                shares[worker].fetch_add(1, Relaxed);
                let shares = shares.clone();
                drop(spawn(async move {
                    if let Err(error) = echo(stream, &shares).await {
                        eprintln!("{peer}: {error}");
                    }
                }));
            }
            Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
        }
    }
}

/// Line by line, as a line may be a question. A part of one that has not ended is not yet sent back.
async fn echo(stream: AsyncTcpStream, shares: &[AtomicUsize]) -> io::Result<()> {
    let (mut buf, mut filled) = ([0; 4096], 0);
    loop {
        match stream.read(&mut buf[filled..]).await? {
            0 if filled == buf.len() => return stream.write_all(b"error: a long line\n").await,
            0 => return stream.write_all(&buf[..filled]).await, // the last line may lack its end
            n => filled += n,
        }
        while let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            match buf[..=end].trim_ascii_end() {
                b"shares" => {
                    let shares = shares.iter().map(|share| share.load(Relaxed).to_string());
                    let answer = shares.collect::<Vec<_>>().join(" ") + "\n";
                    stream.write_all(answer.as_bytes()).await?;
                }
                _ => stream.write_all(&buf[..=end]).await?,
            }
            buf.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
    }
}
