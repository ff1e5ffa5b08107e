//! Chapter 10 of the guide: a future gets on while somebody polls it, and stands still when nobody does.
//!
//! ```text
//! $ cargo run --example ch10_unpolled
//! kept for later, and not polled: due after 50 ms, went on after 220 ms
//! as a task of its own: due after 50 ms, went on after 50 ms
//! ```

use futures_lite::future::or;
use std::pin::pin;
use std::time::{Duration, Instant};
use waken::time::sleep;
use waken::{block_on, spawn};

const MS: Duration = Duration::from_millis(1);

fn main() {
    block_on(async {
        let mut kept = pin!(work());
        // Who loses the race is not dropped, only the borrow of it is: that is how loops with `select` are written.
        let late = async {
            sleep(20 * MS).await;
            0
        };
        or(&mut kept, late).await;
        sleep(200 * MS).await; // what one does on the other branch
        println!(
            "kept for later, and not polled: due after 50 ms, went on after {} ms",
            kept.await
        );

        let task = spawn(work());
        sleep(220 * MS).await;
        println!("as a task of its own: due after 50 ms, went on after {} ms", task.await.unwrap());
    });
}

/// When it went on; in ms, rounded down to tens. If it held a lock meanwhile, others would wait for that as long.
async fn work() -> u128 {
    let begin = Instant::now();
    sleep(50 * MS).await;
    begin.elapsed().as_millis() / 10 * 10
}
