//! waken, under the operations that every executor has. Usage: micro-waken - BENCH N [LIVE]
//!
//! `micro-waken-trace` is the same with the feature `trace`, which records with `RECORD=1` in the environment.

use micro_common::{Rt, main_for, run};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use waken::Runtime;
use waken::task::JoinHandle;

struct Waken(Runtime);

struct Join<T>(JoinHandle<T>);

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap())
    }
}

impl Rt for Waken {
    type Join<T: 'static> = Join<T>;
    type Sleep = waken::time::Sleep;

    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        // Of a runtime that is older than the recording all is taken down, and nothing is told: so that can be measured alone.
        #[cfg(feature = "trace")]
        if std::env::var_os("RECORD").is_some() {
            waken::trace::start("chrome=/dev/null").unwrap();
        }
        Waken(runtime)
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
        Join(waken::spawn(future))
    }

    fn detach<T: 'static>(join: Join<T>) {
        drop(join);
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        waken::time::sleep(duration)
    }
}

fn main() {
    main_for(&[("-", run::<Waken>)])
}
