//! compio, under the operations that every executor has. The driver (epoll or io_uring) is chosen by cargo features.
//! Usage: micro-compio-* - BENCH N [LIVE]

use compio::runtime::{JoinHandle, Runtime};
use micro_common::{Rt, main_for, run};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

struct Join<T>(JoinHandle<T>);
impl<T: 'static> Future for Join<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.ok().unwrap())
    }
}

struct C(Runtime);
impl Rt for C {
    type Join<T: 'static> = Join<T>;
    type Sleep = Pin<Box<dyn Future<Output = ()>>>;
    fn new() -> Self {
        C(Runtime::new().unwrap())
    }
    fn block_on<F: Future + 'static>(&mut self, f: F) -> F::Output
    where
        F::Output: 'static,
    {
        self.0.block_on(f)
    }
    fn spawn<F: Future + 'static>(f: F) -> Join<F::Output>
    where
        F::Output: 'static,
    {
        Join(compio::runtime::spawn(f))
    }
    fn detach<T: 'static>(j: Join<T>) {
        j.0.detach()
    }
    fn sleep(d: Duration) -> Self::Sleep {
        Box::pin(compio::time::sleep(d))
    }
}

fn main() {
    main_for(&[("-", run::<C>)])
}
