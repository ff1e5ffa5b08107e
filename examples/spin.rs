//! To sleep or to look again: what the runtime has learnt of its last waits decides.
//!
//! ```text
//! $ cargo run --release --example spin
//! a request comes after    looking      requests a second     and asleep at once
//!          0 µs              97 %            147156                41777
//!         10 µs              98 %             59048                21029
//!        100 µs               0 %              6676                 6678
//!       1000 µs               0 %               947                  943
//! ```
//!
//! The client answers at once, or thinks for a while. As long as its requests come soon after one another the
//! server finds them by looking, and is not put to sleep in between; when they do not, it stops to look. (`looking`:
//! how many of its waits a look has ended.) The figures are of two cores of a virtual machine, whose sleep is deep.
//! `docs/park.md` tells how it learns.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use waken::{AsyncTcpListener, Builder};

fn main() -> io::Result<()> {
    println!("a request comes after    looking      requests a second     and asleep at once");
    for micros in [0, 10, 100, 1000] {
        let (looking, looks) = serve(Builder::new(), Duration::from_micros(micros))?;
        let (asleep, _) =
            serve(Builder::new().spin(Duration::ZERO), Duration::from_micros(micros))?;
        println!("{micros:10} µs {looks:15.0} % {looking:17.0} {asleep:20.0}");
    }
    Ok(())
}

/// Answers a client that thinks for so long between two requests. How many a second, and how many of a hundred
/// waits were ended by a look.
fn serve(builder: Builder, thought: Duration) -> io::Result<(f64, f64)> {
    let runtime = builder.build()?;
    let (rate, waits) = runtime.block_on(async {
        let listener = AsyncTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let client = thread::spawn(move || ask(address, thought));
        let (stream, _) = listener.accept().await?;
        let mut byte = [0];
        let mut waits = 0;
        while stream.read(&mut byte).await? > 0 {
            stream.write_all(&byte).await?;
            waits += 1;
        }
        let rate = client.join().expect("the client does not panic")?;
        io::Result::Ok((rate, waits))
    })?;
    Ok((rate, runtime.metrics().looks as f64 * 100.0 / f64::from(waits)))
}

/// Asks for a quarter of a second, and says how often it was answered in a second. It does not sleep either.
fn ask(server: SocketAddr, thought: Duration) -> io::Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let (begin, mut answers) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(250) {
        stream.write_all(b"?")?;
        while let Err(error) = stream.read_exact(&mut [0]) {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
        }
        answers += 1;
        let answered = Instant::now();
        while answered.elapsed() < thought {}
    }
    Ok(f64::from(answers) / begin.elapsed().as_secs_f64())
}
