//! Chapter 8 of the guide: one sleep, and how often the kernel was asked for it.
//!
//! ```text
//! $ cargo run --example ch08_sleep
//! early: false
//! the kernel was asked 1 times
//! ```

use std::future::poll_fn;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use waken::block_on;
use waken::runtime::metrics;
use waken::time::sleep;

fn main() {
    block_on(async {
        // If all else fails: another thread, which ends the sleep of the loop after a second.
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            waker.wake();
        });
        let (asked, begin) = (metrics().epoll_waits, Instant::now());
        let duration = Duration::from_micros(5900);
        sleep(duration).await;
        println!("early: {}", begin.elapsed() < duration);
        if begin.elapsed() > Duration::from_millis(500) {
            println!("late by more than half a second: nobody has told the kernel of the timer");
        }
        let asked = metrics().epoll_waits - asked;
        println!("the kernel was asked {asked} times");
        if asked > 5 {
            println!("that is a loop that spins");
        }
    });
}
