//! Chapter 13 of the guide: there are five ways to be woken, and a task meets all of them.
//!
//! ```text
//! $ cargo run --example ch13_all
//! woken by itself | by the end of a task | by a descriptor | by a timer | by a thread | after 30 ms
//! ```

use std::future::poll_fn;
use std::io;
use std::mem;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use waken::net::AsyncUnixStream;
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{block_on, spawn};

const TEN: Duration = Duration::from_millis(10);

fn main() {
    let begin = Instant::now();
    let all = async { timeout(100 * TEN, spawn(five_ways())).await };
    match block_on(all) {
        Ok(ended) => ended.unwrap().unwrap(),
        Err(late) => print!("and then: {late}"),
    }
    println!(" | after {} ms", begin.elapsed().as_millis() / 10 * 10);
}

async fn five_ways() -> io::Result<()> {
    yield_now().await;
    print!("woken by itself");
    spawn(async {}).await.unwrap();
    print!(" | by the end of a task");
    let (ours, theirs) = AsyncUnixStream::pair()?;
    drop(spawn(async move {
        sleep(TEN).await;
        theirs.write_all(b"x").await
    }));
    ours.read_exact(&mut [0]).await?;
    print!(" | by a descriptor");
    sleep(TEN).await;
    print!(" | by a timer");
    let mut begun = false;
    poll_fn(|cx| {
        if mem::replace(&mut begun, true) {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread::spawn(move || {
            thread::sleep(TEN);
            waker.wake();
        });
        Poll::Pending
    })
    .await;
    print!(" | by a thread");
    Ok(())
}
