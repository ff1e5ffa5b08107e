//! Chapter 1 of the guide: two tasks that let each other go first.
//!
//! ```text
//! $ cargo run --example ch01_yield
//! a 1
//! b 1
//! a 2
//! b 2
//! ```

use std::time::Duration;
use waken::task::yield_now;
use waken::time::timeout;
use waken::{JoinSet, block_on};

fn main() {
    block_on(async {
        let mut tasks = JoinSet::new();
        for name in ["a", "b"] {
            tasks.spawn(async move {
                println!("{name} 1");
                yield_now().await;
                println!("{name} 2");
            });
        }
        // A second is for ever, here: so that it ends when somebody has broken it.
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(Duration::from_secs(1), all).await.is_err() {
            println!("they wait, and nobody will wake them");
        }
    });
}
