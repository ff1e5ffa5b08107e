//! Chapter 5 of the guide: a task has ended, and somebody still has its waker, and calls it.
//!
//! ```text
//! $ cargo run --example ch05_late_wake
//! it has ended: true
//! and is woken, late
//! its output: done
//! ```

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use waken::task::yield_now;
use waken::{block_on, spawn};

fn main() {
    block_on(async {
        let left: Rc<RefCell<Option<Waker>>> = Rc::default();
        let kept = left.clone();
        let task = spawn(poll_fn(move |cx| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready("done")
        }));
        yield_now().await;
        println!("it has ended: {}", task.is_finished());
        if let Some(waker) = left.take() {
            println!("and is woken, late");
            waker.wake();
        }
        yield_now().await;
        if let Ok(output) = task.await {
            println!("its output: {output}");
        }
    });
}
