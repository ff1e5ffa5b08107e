//! Chapter 4 of the guide: a wake is a mark and a place in the queue, so three wakes are one poll.
//!
//! ```text
//! $ cargo run --example ch04_queue
//! the root is polled
//! short is polled
//! the root is polled
//! short has ended; its waker is called three times
//! long is polled, and wakes itself three times
//! long is polled
//! the root is polled
//! ```

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use waken::task::yield_now;
use waken::{block_on, spawn};

async fn root() {
    let kept = Rc::new(Cell::new(Waker::noop().clone()));
    let short = spawn({
        let kept = kept.clone();
        poll_fn(move |cx| {
            println!("short is polled");
            kept.set(cx.waker().clone());
            Poll::Ready(())
        })
    });
    yield_now().await;
    println!("short has ended; its waker is called three times");
    let late = kept.replace(Waker::noop().clone());
    (0..3).for_each(|_| late.wake_by_ref());
    let mut polls = 0;
    let long = spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 2 {
            println!("long is polled");
            return Poll::Ready(());
        }
        println!("long is polled, and wakes itself three times");
        (0..3).for_each(|_| cx.waker().wake_by_ref());
        Poll::Pending
    }));
    long.await.unwrap();
    short.await.unwrap();
}

fn main() {
    let mut root = pin!(root());
    block_on(poll_fn(|cx| {
        println!("the root is polled");
        root.as_mut().poll(cx)
    }));
}
