//! Chapter 11 of the guide: a thread finishes after 20 ms, and wakes whoever waits for it.
//!
//! ```text
//! $ cargo run --example ch11_told
//! told after 20 ms
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use waken::block_on;
use waken::time::{sleep, timeout};

const MS: Duration = Duration::from_millis(1);

fn main() {
    block_on(async {
        sleep(MS).await; // a runtime that has never run counts as asleep
        let begin = Instant::now();
        let done = Arc::new(AtomicBool::new(false));
        let mut thread = None;
        let told = poll_fn(|cx| {
            thread.get_or_insert_with(|| {
                let (done, waker) = (done.clone(), cx.waker().clone());
                thread::spawn(move || {
                    thread::sleep(20 * MS);
                    done.store(true, Release);
                    waker.wake();
                })
            });
            if done.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
        });
        // A wake that is lost is found by the next timer: that is how one lives with such a bug for years.
        let _in_time = timeout(1000 * MS, told).await;
        println!("told after {} ms", begin.elapsed().as_millis() / 10 * 10);
    });
}
