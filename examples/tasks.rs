//! Who waits for what: the runtime can always say it, with the lines of the program.
//!
//! ```text
//! $ cargo run --example tasks
//! task 1 `accept` (examples/tasks.rs:28) waits 0.0 s for fd 6 readable (examples/tasks.rs:28)
//! task 2 `sleeper` (examples/tasks.rs:29) waits 0.0 s for a timer in 60.0 s (examples/tasks.rs:29)
//! task 3 `reader` (examples/tasks.rs:30) waits 0.0 s for fd 7 readable (examples/tasks.rs:45) or a timer in 5.0 s (examples/tasks.rs:45)
//! task 4 `joiner` (examples/tasks.rs:31) waits 0.0 s for task 2 to end
//! task 5 `lost` (examples/tasks.rs:32) waits 0.0 s for something outside of this runtime
//! task 6 `new` (examples/tasks.rs:35) is ready to run
//! ```

use std::future::pending;
use std::io;
use std::time::Duration;
use waken::task::Builder;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime};

fn main() -> io::Result<()> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
        let (_server, _peer) = listener.accept().await?;

        let name = |name| Builder::new().name(name);
        name("accept").spawn(async move { listener.accept().await });
        let sleeper = name("sleeper").spawn(sleep(Duration::from_secs(60)));
        name("reader").spawn(read_soon(client));
        name("joiner").spawn(sleeper);
        name("lost").spawn(pending::<()>());

        sleep(Duration::from_millis(10)).await; // now all of them wait, and one more has not begun
        name("new").spawn(async {});
        for task in runtime.tasks() {
            println!("{task}");
        }
        Ok(())
    })
}

async fn read_soon(stream: AsyncTcpStream) -> io::Result<usize> {
    let mut buf = [0; 64];
    timeout(Duration::from_secs(5), stream.read(&mut buf)).await?
}
