//! A task that can never wake, and how one finds out: the future forgets its waker.
//!
//! ```text
//! $ WAKEN_TRACE=log cargo run --features trace --example forgotten
//! …  t1    } = Pending  2us                         PARKED on nobody
//! …  ! no lost waker: t1, spawned at examples/forgotten.rs:33, is parked, and nobody holds its waker: it can never wake
//! ```
//!
//! A debug build says so even without the trace. `Pending` means "I have left my waker with somebody who will call it"; whoever
//! returns it without that is never polled again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use waken::time::sleep;
use waken::{block_on, spawn};

/// A queue of letters, badly made.
type Queue = Rc<RefCell<VecDeque<&'static str>>>;

async fn next(queue: &Queue) -> &'static str {
    poll_fn(|_cx| match queue.borrow_mut().pop_front() {
        Some(letter) => Poll::Ready(letter),
        None => Poll::Pending, // and `_cx.waker()` is with nobody: it would belong into the queue, for who puts in
    })
    .await
}

fn main() {
    block_on(async {
        let queue = Queue::default();
        let reader = spawn({
            let queue = queue.clone();
            async move { println!("{}", next(&queue).await) }
        });
        sleep(Duration::from_millis(20)).await;
        queue.borrow_mut().push_back("hello"); // which nobody hears of
        sleep(Duration::from_millis(20)).await;
        println!("the reader has ended: {}", reader.is_finished());
    });
}
