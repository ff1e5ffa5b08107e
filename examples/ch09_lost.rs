//! Chapter 9 of the guide: two messages of eight bytes, of which the first comes in halves, and a reader with little patience.
//!
//! ```text
//! $ cargo run --example ch09_lost
//! read_exact, which keeps the count:    nothing yet | age1mess | the stream ended before the buffer was full
//! read, and the count is kept outside:  nothing yet | message1 | message2 | the end
//! ```

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;
use waken::block_on;
use waken::net::AsyncUnixStream;
use waken::time::timeout;

const PATIENCE: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    for exact in [true, false] {
        let (mut client, server) = UnixStream::pair()?;
        thread::spawn(move || {
            client.write_all(b"mess").unwrap();
            thread::sleep(PATIENCE * 3 / 2);
            client.write_all(b"age1message2").unwrap();
        });
        let name = ["read, and the count is kept outside:", "read_exact, which keeps the count:"];
        print!("{:37}", name[usize::from(exact)]);
        println!(
            " {}",
            block_on(receive(server, exact)).map_or_else(|it| it.to_string(), str::to_owned)
        );
    }
    Ok(())
}

async fn receive(server: UnixStream, exact: bool) -> io::Result<&'static str> {
    let stream = AsyncUnixStream::try_from(server)?;
    let (mut buf, mut filled) = ([0; 8], 0);
    loop {
        let read = async {
            match exact {
                true => stream.read_exact(&mut buf).await.map(|()| 8),
                false => stream.read(&mut buf[filled..]).await,
            }
        };
        match timeout(PATIENCE, read).await {
            Err(_) => print!(" nothing yet |"), // and asks again
            Ok(Ok(0)) => return Ok("the end"),
            Ok(n) => filled += n?,
        }
        if filled == 8 {
            print!(" {} |", String::from_utf8_lossy(&buf));
            filled = 0;
        }
    }
}
