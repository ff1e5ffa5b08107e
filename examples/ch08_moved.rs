//! Chapter 8 of the guide: an idle timeout, which is moved whenever something comes.
//!
//! ```text
//! $ cargo run --example ch08_moved
//! something has come: the timeout is moved
//! something has come: the timeout is moved
//! something has come: the timeout is moved
//! idle for 20 ms, and not before: true
//! ```

use std::time::{Duration, Instant};
use waken::block_on;
use waken::time::{sleep, timeout};

fn main() {
    block_on(async {
        let idle = Duration::from_millis(20);
        let (mut last, mut timer) = (Instant::now(), sleep(idle));
        // To wait for no time sets it: a sleep has no timer before it is polled.
        let _ = timeout(Duration::ZERO, &mut timer).await;
        for _ in 0..3 {
            sleep(Duration::from_millis(10)).await;
            println!("something has come: the timeout is moved");
            last = Instant::now();
            timer.reset(last + idle);
        }
        match timeout(Duration::from_secs(1), timer).await {
            Ok(()) => println!("idle for 20 ms, and not before: {}", last.elapsed() >= idle),
            Err(_) => println!("the timer is lost"),
        }
    });
}
