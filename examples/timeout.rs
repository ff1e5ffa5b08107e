//! A time limit: one operation makes it, and one is given up.
//!
//! ```text
//! $ cargo run --example timeout
//! the quick answer: 42
//! the slow answer is dropped
//! no slow answer: the time was up before the future was ready
//! ```

use std::time::Duration;
use waken::block_on;
use waken::time::{sleep, timeout};

fn main() {
    block_on(async {
        let limit = Duration::from_millis(100);
        match timeout(limit, answer("quick", Duration::from_millis(1))).await {
            Ok(answer) => println!("the quick answer: {answer}"),
            Err(late) => println!("no quick answer: {late}"),
        }
        match timeout(limit, answer("slow", Duration::from_secs(3600))).await {
            Ok(answer) => println!("the slow answer: {answer}"),
            Err(late) => println!("no slow answer: {late}"),
        }
    });
}

async fn answer(name: &'static str, after: Duration) -> u32 {
    // To give up a future is to drop it, with all that it holds.
    let unfinished = Unfinished(name);
    sleep(after).await;
    std::mem::forget(unfinished);
    42
}

struct Unfinished(&'static str);

impl Drop for Unfinished {
    fn drop(&mut self) {
        println!("the {} answer is dropped", self.0);
    }
}
