//! The smol stack (async-executor, async-io), under the operations that every executor has.
//! Usage: micro-smol - BENCH N [LIVE]

use async_executor::{LocalExecutor, Task};
use micro_common::{Rt, main_for, run};
use std::cell::OnceCell;
use std::future::Future;
use std::time::Duration;

thread_local!(static EXECUTOR: OnceCell<&'static LocalExecutor<'static>> = const { OnceCell::new() });

fn executor() -> &'static LocalExecutor<'static> {
    EXECUTOR.with(|cell| *cell.get_or_init(|| Box::leak(Box::new(LocalExecutor::new()))))
}

struct Smol(&'static LocalExecutor<'static>);

impl Rt for Smol {
    type Join<T: 'static> = Task<T>;
    type Sleep = async_io::Timer;

    fn new() -> Self {
        Smol(executor())
    }

    fn block_on<F: Future + 'static>(&mut self, future: F) -> F::Output
    where
        F::Output: 'static,
    {
        async_io::block_on(self.0.run(future))
    }

    fn spawn<F: Future + 'static>(future: F) -> Task<F::Output>
    where
        F::Output: 'static,
    {
        executor().spawn(future)
    }

    fn detach<T: 'static>(join: Task<T>) {
        join.detach();
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        async_io::Timer::after(duration)
    }
}

fn main() {
    main_for(&[("-", run::<Smol>)])
}
