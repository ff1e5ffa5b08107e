//! Chapter 10 of the guide: a task for which everything is always ready, for 0.3 s, beside one that ticks every 20 ms.
//!
//! ```text
//! $ cargo run --example ch10_greedy
//! 262605 bytes, and never waited for one; meanwhile the ticker ticked 16 times
//! it had to let the others go first 4103 times
//! ```

use std::time::{Duration, Instant};
use waken::net::AsyncUnixStream;
use waken::runtime::metrics;
use waken::time::interval;
use waken::{block_on, spawn};

fn main() -> std::io::Result<()> {
    block_on(async {
        let ticks = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = ticks.clone();
        drop(spawn(async move {
            let mut ticker = interval(Duration::from_millis(20));
            loop {
                ticker.tick().await;
                counted.set(counted.get() + 1);
            }
        }));
        let greedy = spawn(async {
            let (ours, theirs) = AsyncUnixStream::pair()?;
            let (begin, mut bytes) = (Instant::now(), 0);
            while begin.elapsed() < Duration::from_millis(300) {
                ours.write_all(b"x").await?; // there is room,
                bytes += theirs.read(&mut [0]).await?; // and now there is a byte
            }
            std::io::Result::Ok(bytes)
        });
        let bytes = greedy.await.unwrap()?;
        println!(
            "{bytes} bytes, and never waited for one; meanwhile the ticker ticked {} times",
            ticks.get()
        );
        println!("it had to let the others go first {} times", metrics().budget_yields);
        Ok(())
    })
}
