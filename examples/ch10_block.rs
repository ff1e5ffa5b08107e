//! Chapter 10 of the guide: who blocks blocks everybody, and `zip` is not another core.
//!
//! ```text
//! $ cargo run --example ch10_block
//! task 2 (examples/ch10_block.rs:25) is running, and has kept everybody waiting for 200 ms
//! beside one who blocks, the longest time without a tick of 20 ms: 210 ms
//! beside a thread that does it: 20 ms
//! two that wait 100 ms, zipped: 100 ms; two that block: 200 ms
//! ```

use futures_lite::future::zip;
use std::time::{Duration, Instant};
use waken::time::{interval, sleep};
use waken::{Runtime, spawn};

const MS: Duration = Duration::from_millis(1);

fn main() -> std::io::Result<()> {
    let runtime = Runtime::builder().on_long_poll(50 * MS, |task, took| {
        println!("{task}, and has kept everybody waiting for {} ms", took.as_millis());
    });
    runtime.build()?.block_on(async {
        let ticker = spawn(longest_gap());
        sleep(30 * MS).await;
        drop(spawn(async { block(200) }));
        let gap = ticker.await.unwrap();
        println!("beside one who blocks, the longest time without a tick of 20 ms: {gap} ms");
        let ticker = spawn(longest_gap());
        std::thread::spawn(|| block(200));
        println!("beside a thread that does it: {} ms", ticker.await.unwrap());

        let waited = time(zip(sleep(100 * MS), sleep(100 * MS))).await;
        let blocked = time(zip(async { block(100) }, async { block(100) })).await;
        println!("two that wait 100 ms, zipped: {waited} ms; two that block: {blocked} ms");
    });
    Ok(())
}

/// As a call would that computes, or reads a file, or asks a database that knows nothing of futures.
fn block(ms: u32) {
    std::thread::sleep(ms * MS);
}

/// How long it takes; in ms, rounded down to tens.
async fn time<F: Future>(what: F) -> u128 {
    let begin = Instant::now();
    what.await;
    begin.elapsed().as_millis() / 10 * 10
}

async fn longest_gap() -> u128 {
    let (mut ticks, mut longest) = (interval(20 * MS), 0);
    for _ in 0..15 {
        longest = longest.max(time(ticks.tick()).await);
    }
    longest
}
