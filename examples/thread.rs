//! Work that blocks goes to a thread. Two ways back: a wake, and a task spawned from over there.
//!
//! ```text
//! $ cargo run --example thread
//! the loop goes on
//! by a wake: the sum is 5050
//! by a task: it ran on the thread of the loop: true
//! ```

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use waken::time::sleep;
use waken::{Runtime, spawn};

fn main() -> std::io::Result<()> {
    let runtime = Runtime::new()?;
    let remote = runtime.remote();
    runtime.block_on(async {
        let sum = spawn(unblock(|| {
            thread::sleep(Duration::from_millis(100)); // a slow disk, a big computation
            (1..=100).sum::<u32>()
        }));
        waken::task::yield_now().await;
        println!("the loop goes on");
        println!("by a wake: the sum is {}", sum.await.unwrap());

        // The other way round: a thread has a future made and run by the loop. It never leaves the
        // loop's thread, so it needs no `Send`, and may hold an `Rc` while it waits.
        let here = thread::current().id();
        let same = unblock(move || {
            let task = remote.spawn(move || async move {
                let thread = Rc::new(thread::current());
                sleep(Duration::from_millis(10)).await;
                thread.id() == here
            });
            task.expect("the loop runs").join().expect("the task does not panic")
        });
        println!("by a task: it ran on the thread of the loop: {}", same.await);
    });
    Ok(())
}

/// Runs `work` on a thread of its own. Its panic is ours.
async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = Arc::new(Mutex::new((None, None::<Waker>)));
    let theirs = slot.clone();
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let mut slot = theirs.lock().unwrap();
        slot.0 = Some(result);
        let waker = slot.1.take();
        drop(slot); // the loop should find it unlocked
        waker.into_iter().for_each(Waker::wake);
    });
    // Look and leave the waker under one lock: the result cannot come in between, unseen.
    let result = poll_fn(|cx| {
        let mut slot = slot.lock().unwrap();
        match slot.0.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    });
    result.await.unwrap_or_else(|panic| resume_unwind(panic))
}
