//! monoio, on epoll (`legacy`) and on io_uring, under the operations that every executor has.
//! Usage: micro-monoio legacy|uring BENCH N [LIVE]

use micro_common::{Rt, main_for, run};
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};
use std::future::Future;
use std::time::Duration;

/// The same runtime on another driver, which is a type.
macro_rules! on {
    ($driver:ident, $name:ident) => {
        struct $name(Runtime<TimeDriver<$driver>>);
        impl Rt for $name {
            type Join<T: 'static> = monoio::task::JoinHandle<T>;
            type Sleep = monoio::time::Sleep;
            fn new() -> Self {
                $name(RuntimeBuilder::<$driver>::new().enable_timer().build().unwrap())
            }
            fn block_on<F: Future + 'static>(&mut self, f: F) -> F::Output
            where
                F::Output: 'static,
            {
                self.0.block_on(f)
            }
            fn spawn<F: Future + 'static>(f: F) -> Self::Join<F::Output>
            where
                F::Output: 'static,
            {
                monoio::spawn(f)
            }
            fn detach<T: 'static>(j: Self::Join<T>) {
                drop(j)
            }
            fn sleep(d: Duration) -> Self::Sleep {
                monoio::time::sleep(d)
            }
        }
    };
}

on!(LegacyDriver, Legacy);
on!(IoUringDriver, Uring);

fn main() {
    main_for(&[("legacy", run::<Legacy>), ("uring", run::<Uring>)])
}
