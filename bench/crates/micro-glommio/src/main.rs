//! glommio, under the operations that every executor has. Usage: micro-glommio - BENCH N [LIVE]

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, Task};
use micro_common::{Rt, main_for, run};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

struct G(LocalExecutor);
struct Sleep(glommio::timer::Timer);
impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
impl Rt for G {
    type Join<T: 'static> = Task<T>;
    type Sleep = Sleep;
    fn new() -> Self {
        G(LocalExecutorBuilder::new(Placement::Unbound).make().unwrap())
    }
    fn block_on<F: Future + 'static>(&mut self, f: F) -> F::Output
    where
        F::Output: 'static,
    {
        self.0.run(f)
    }
    fn spawn<F: Future + 'static>(f: F) -> Task<F::Output>
    where
        F::Output: 'static,
    {
        glommio::spawn_local(f)
    }
    fn detach<T: 'static>(j: Task<T>) {
        drop(j.detach())
    }
    fn sleep(d: Duration) -> Sleep {
        Sleep(glommio::timer::Timer::new(d))
    }
}

fn main() {
    main_for(&[("-", run::<G>)])
}
