//! Chapter 3 of the guide: what a waker is, and a wake from another thread.
//!
//! ```text
//! $ cargo run --example ch03_waker
//! 16 bytes: the address of a table, and 0x0001_0001_00000000
//! a clone is the same: true
//! the other thread's waker is called on the thread `other`
//! polled again on the thread `main`
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use waken::time::timeout;
use waken::{block_on, spawn};

/// A waker of our own, around the task's.
struct Tells {
    name: Arc<str>,
    task: Waker,
}

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        println!("{} is called on the thread `{}`", self.name, thread::current().name().unwrap());
        self.task.wake_by_ref();
    }
}

fn main() {
    let task = async {
        let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let (size, word) = (size_of_val(&task), task.data().addr());
        let (generation, runtime, index) = (word >> 48, word >> 32 & 0xffff, word as u32);
        println!(
            "{size} bytes: the address of a table, and 0x{generation:04x}_{runtime:04x}_{index:08x}"
        );
        println!("a clone is the same: {}", task.will_wake(&task.clone()));

        let waker = Waker::from(Arc::new(Tells { name: "the other thread's waker".into(), task }));
        let other = thread::Builder::new().name("other".into()).spawn(move || waker.wake());
        // Parked, until the other thread wakes it.
        let mut is_first = true;
        poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) })
            .await;
        println!("polled again on the thread `{}`", thread::current().name().unwrap());
        other.unwrap().join().unwrap();
    };
    let waited = block_on(async { timeout(Duration::from_secs(1), spawn(task)).await });
    if waited.is_err() {
        println!("a second later nobody has woken it");
    }
}
