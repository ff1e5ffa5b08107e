//! tokio's current_thread runtime, under the operations that every executor has. Usage: micro-tokio - BENCH N [LIVE]

use micro_common::{Rt, main_for, run};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

struct Tokio(Runtime);

/// `tokio::spawn` wants `Send`, and is what people call.
struct AssertSend<F>(F);

// SAFETY: here only, because a current_thread runtime never moves a task to another thread.
unsafe impl<F> Send for AssertSend<F> {}

impl<F: Future> Future for AssertSend<F> {
    type Output = AssertSend<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the only field is pinned with the whole.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(cx).map(AssertSend)
    }
}

struct Join<T>(JoinHandle<AssertSend<T>>);

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap().0)
    }
}

impl Rt for Tokio {
    type Join<T: 'static> = Join<T>;
    type Sleep = tokio::time::Sleep;

    fn new() -> Self {
        Tokio(Builder::new_current_thread().enable_all().build().unwrap())
    }

    fn block_on<F: Future + 'static>(&mut self, future: F) -> F::Output
    where
        F::Output: 'static,
    {
        self.0.block_on(future)
    }

    fn spawn<F: Future + 'static>(future: F) -> Join<F::Output>
    where
        F::Output: 'static,
    {
        Join(tokio::spawn(AssertSend(future)))
    }

    fn detach<T: 'static>(join: Join<T>) {
        drop(join);
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }
}

fn main() {
    main_for(&[("-", run::<Tokio>)])
}
