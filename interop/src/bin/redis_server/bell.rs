//! How a task is told that something has changed, by another of its thread: a waker, kept until somebody rings. It knows nothing of what has changed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// For one listener at a time. To ring before anybody listens is not lost, and to ring twice is to ring once.
#[derive(Default)]
pub struct Bell {
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    pub fn ring(&self) {
        self.rung.set(true);
        // Out of the cell first: a waker is somebody else's code, and may come back to us.
        let listener = self.listener.borrow_mut().take();
        if let Some(waker) = listener {
            waker.wake();
        }
    }

    /// Waits for the bell. Cancel safe: who is dropped here has heard nothing.
    pub async fn rung(&self) {
        poll_fn(|cx| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            // Each poll may come with another waker, and the last one counts.
            self.listener
                .borrow_mut()
                .get_or_insert_with(|| cx.waker().clone())
                .clone_from(cx.waker());
            Poll::Pending
        })
        .await
    }
}
