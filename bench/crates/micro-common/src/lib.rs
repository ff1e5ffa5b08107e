//! Operations that every executor has, measured in the same way for each: a contestant implements [`Rt`] and calls
//! [`main_for`].
//!
//! Every `micro-*` program is called as `micro-X VARIANT OPERATION N [LIVE]` and prints one line of JSON. With `WARM=0` in
//! the environment it leaves the warm-up out, so that twice the N is exactly twice the work.

mod executor;
mod memory;
mod meter;
mod threads;
mod timers;

use std::future::Future;
use std::time::Duration;

/// A runtime, as far as it is measured.
pub trait Rt: Sized + 'static {
    type Join<T: 'static>: Future<Output = T> + 'static;
    type Sleep: Future + 'static;

    fn new() -> Self;

    fn block_on<F: Future + 'static>(&mut self, future: F) -> F::Output
    where
        F::Output: 'static;

    fn spawn<F: Future + 'static>(future: F) -> Self::Join<F::Output>
    where
        F::Output: 'static;

    fn detach<T: 'static>(join: Self::Join<T>);

    fn sleep(duration: Duration) -> Self::Sleep;
}

/// How much to do.
#[derive(Clone, Copy)]
pub struct Plan {
    /// How often.
    n: u64,
    /// How often before the measuring begins.
    warm: u64,
    /// How many tasks or timers there are beside.
    live: u64,
}

/// Does one operation on a new runtime, and tells what it cost as a line of JSON.
///
/// The work is done inside a spawned task, so that everybody pays for tasks, and not for their `block_on`.
pub fn run<R: Rt>(operation: &str, plan: Plan) -> String {
    let rt = R::new();
    match operation {
        "spawn" => in_task(rt, executor::spawn::<R>(plan)),
        "batch" => in_task(rt, executor::batch::<R>(plan)),
        "yield" => in_task(rt, executor::yields::<R>(plan)),
        "ping_pong" => in_task(rt, executor::ping_pong::<R>(plan)),
        "wake" => in_task(rt, executor::wake::<R>(plan)),
        "block_on" => executor::block_on(rt, plan),
        "timeout" => in_task(rt, timers::timeout::<R>(plan)),
        "sleeps" => in_task(rt, timers::sleeps::<R>(plan)),
        "cross_thread" => threads::cross_thread(rt, plan),
        "task_memory" => in_task(rt, memory::tasks::<R>(plan)),
        _ => panic!("no such operation: {operation}"),
    }
}

fn in_task<R: Rt>(mut rt: R, body: impl Future<Output = String> + 'static) -> String {
    rt.block_on(async move { R::spawn(body).await })
}

/// A runtime under a name, as `("-", run::<Mine>)`.
pub type Variant = (&'static str, fn(&str, Plan) -> String);

/// The `main` of a contestant.
pub fn main_for(variants: &[Variant]) {
    let arguments: Vec<String> = std::env::args().collect();
    let [program, variant, operation, numbers @ ..] = &arguments[..] else {
        panic!("usage: {} VARIANT OPERATION N [LIVE]", arguments[0]);
    };
    let found = variants.iter().find(|(name, _)| name == variant);
    let (_, run) = found.unwrap_or_else(|| panic!("{program} has no variant {variant}"));
    let number = |at: usize| numbers.get(at).map(|text| text.parse().expect("a number"));
    let n = number(0).expect("N");
    let warm = if std::env::var("WARM").as_deref() == Ok("0") { 0 } else { n / 10 };
    println!("{}", run(operation, Plan { n, warm, live: number(1).unwrap_or(0) }));
}
