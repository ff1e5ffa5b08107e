//! Chapter 1 of the guide: a future, polled by hand.
//!
//! ```text
//! $ cargo run --example ch01_poll
//! made, and nothing has happened
//! poll 1: Pending, and the waker was called 1 times
//! poll 2: Ready(()), and the waker was called 1 times
//! ```

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use waken::task::yield_now;

/// A waker that only counts. That of a runtime makes a task ready.
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn main() {
    let count = Arc::new(Count(AtomicU32::new(0)));
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);

    let mut future = pin!(yield_now());
    println!("made, and nothing has happened");
    for n in 1..=2 {
        let polled = future.as_mut().poll(&mut cx);
        println!("poll {n}: {polled:?}, and the waker was called {} times", count.0.load(Relaxed));
    }
}
