//! Chapter 12 of the guide: a server that may have 16 descriptors, and 30 clients, for a second.
//!
//! ```text
//! $ cargo run --example ch12_descriptors
//! 9 of 30 clients are served. accept has failed 7 times in 1 s, and the server was on the processor for 2 ms: it rests
//! ```

use std::io::{self, BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use waken::time::timeout;
use waken::{AsyncTcpListener, block_on};

fn main() -> io::Result<()> {
    if std::env::args().nth(1).is_some() {
        return block_on(serve());
    }
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 16; exec \"$0\" serve"]).arg(std::env::current_exe()?);
    let said = limited.stdout(Stdio::piped()).spawn()?.stdout;
    let mut lines = BufReader::new(said.unwrap()).lines();
    let address = lines.next().unwrap()?;
    let _clients: Vec<_> = (0..30).map(|_| TcpStream::connect(&address)).collect();
    lines.for_each(|line| println!("{}", line.unwrap()));
    Ok(())
}

async fn serve() -> io::Result<()> {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let (mut clients, mut failed) = (Vec::new(), 0);
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => clients.push(stream),
                Err(_) => failed += 1, // a line in a log, and on: so most servers are written
            }
        }
    };
    let _over: Result<(), _> = timeout(Duration::from_secs(1), accept).await;
    print!("{} of 30 clients are served. accept has failed {failed} times in 1 s, ", clients.len());
    drop(clients); // a file needs a descriptor, too
    let on_processor = std::fs::read_to_string("/proc/self/schedstat")?;
    let ms = on_processor.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000;
    print!("and the server was on the processor for {ms} ms: ");
    println!("it {}", if failed < 100 { "rests" } else { "spins" });
    Ok(())
}
