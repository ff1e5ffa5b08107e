//! Two tasks on one thread: while one sleeps, the other runs.
//!
//! ```text
//! $ cargo run --example hello
//! hello
//! fast is done
//! slow is done
//! together they slept 300 ms
//! ```

use std::time::Duration;
use waken::time::sleep;
use waken::{block_on, spawn};

fn main() {
    block_on(async {
        // A spawned task runs whenever the others wait. It needs no `Send`: there is one thread.
        let slow = spawn(nap("slow", 200));
        let fast = spawn(nap("fast", 100));
        println!("hello");
        // A handle gives what its task returns, or says that the task panicked.
        let slept = slow.await.unwrap() + fast.await.unwrap();
        println!("together they slept {slept} ms");
    });
}

async fn nap(name: &str, ms: u64) -> u64 {
    sleep(Duration::from_millis(ms)).await;
    println!("{name} is done");
    ms
}
