//! Chapter 9 of the guide: a read that was given up leaves nothing behind with the descriptor.
//!
//! ```text
//! $ cargo run --example ch09_given_up
//! it reads:    task 1 (examples/ch09_given_up.rs:23) waits 0.0 s for fd 4 readable (examples/ch09_given_up.rs:24) or a timer in 0.1 s (examples/ch09_given_up.rs:24)
//! it gave up:  task 1 (examples/ch09_given_up.rs:23) waits 0.0 s for a timer in 0.4 s (examples/ch09_given_up.rs:25)
//! a byte came: it was polled 2 times
//! ```

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use waken::net::AsyncUnixStream;
use waken::time::{sleep, timeout};
use waken::{block_on, runtime::tasks, spawn};

const MS: Duration = Duration::from_millis(1);

fn main() -> io::Result<()> {
    let (mut client, server) = UnixStream::pair()?;
    block_on(async {
        let stream = AsyncUnixStream::try_from(server)?;
        let task = spawn(async move {
            let _given_up = timeout(100 * MS, stream.read(&mut [0; 8])).await;
            sleep(500 * MS).await;
        });
        sleep(20 * MS).await;
        println!("it reads:    {}", tasks()[0]);
        sleep(130 * MS).await;
        println!("it gave up:  {}", tasks()[0]);
        client.write_all(b"x")?;
        sleep(50 * MS).await;
        println!("a byte came: it was polled {} times", tasks()[0].polls);
        task.await.unwrap();
        Ok(())
    })
}
