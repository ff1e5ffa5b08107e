//! One schedule: a runtime, a few programs, everybody else, and what has to be so at the end.

use crate::kernel::{self, Counts, Kernel};
use crate::outside;
use crate::programs::{self, Outcome};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use waken::JoinHandle;
use waken::runtime::{Builder, Next, Runtime};

/// What came of it.
pub(crate) struct Report {
    pub(crate) verdict: Outcome,
    pub(crate) counts: Counts,
    /// Of everything that happened, in its order.
    pub(crate) hash: u64,
    pub(crate) trace: Vec<String>,
}

/// Runs the schedule that `seed` stands for: the same each time.
pub(crate) fn run(seed: u64, traced: bool) -> Report {
    kernel::start(Kernel::new(seed, traced));
    let verdict = catch_unwind(AssertUnwindSafe(programs));
    outside::forget();
    let mut kernel = kernel::stop();
    let verdict = match (kernel.verdict.take(), verdict) {
        (Some(why), Ok(Err(more))) => Err(format!("{why}\n{more}")),
        (Some(why), _) => Err(why),
        (None, Ok(verdict)) => verdict,
        (None, Err(_)) => Err("a panic".to_owned()),
    };
    let verdict = verdict.and_then(|()| match kernel.left() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left open: {}", left.join(", "))),
    });
    let trace = kernel.trace.take().unwrap_or_default();
    Report { verdict, counts: kernel.counts, hash: kernel.hash, trace }
}

fn programs() -> Outcome {
    let mut random = kernel::with(|k| crate::random::Random::new(k.random.any()));
    let looks = random.one_in(8);
    let runtime = Builder::new()
        .events_per_poll([1, 2, 8, 256][random.below(4)])
        .budget([1, 2, 128][random.below(3)])
        .polls_per_turn([1, usize::MAX][random.below(2)])
        .spin(if looks { Duration::from_micros(2) } else { Duration::ZERO })
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let guard = runtime.enter();
    let mut tasks = Vec::new();
    for n in 0..1 + random.below(6) as u32 {
        tasks.push(programs::start(100 + n, &mut random)?);
    }
    drop(guard);
    let ends_early = random.one_in(16).then(|| random.below(8));
    let done = if random.one_in(2) && ends_early.is_none() {
        let all = async {
            for task in &mut tasks {
                task.await.map_err(|error| error.to_string())??;
            }
            Ok(())
        };
        // When `epoll_wait` fails, as it does when something is wrong, this panics.
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(all)))
            .unwrap_or_else(|_| Err(graph(&runtime)))
    } else {
        turns(&runtime, &mut tasks, ends_early)
    };
    done?;
    if ends_early.is_none() {
        let metrics = runtime.metrics();
        let left = (metrics.sources_alive, metrics.timers_alive);
        if left != (0, 0) {
            return Err(format!("sources and timers that are left: {left:?}"));
        }
    }
    let counts = kernel::with(|k| k.counts);
    let asked = counts.waits - counts.looks.min(counts.waits);
    let reasons =
        counts.events + counts.calls + counts.timeouts + counts.interrupted + counts.wakes_outside;
    if asked > 2 * reasons + 32 {
        return Err(format!("it asks without a reason: {counts:?}"));
    }
    Ok(())
}

fn turns(runtime: &Runtime, tasks: &mut Vec<JoinHandle<Outcome>>, most: Option<usize>) -> Outcome {
    let mut n = 0;
    while most.is_none_or(|most| n < most) {
        n += 1;
        match runtime.turn(None) {
            Ok(Next::Idle) => break,
            Ok(_) => outside::comes_between(),
            Err(_) => return Err(graph(runtime)),
        }
    }
    if most.is_some() {
        return Ok(());
    }
    for task in tasks.drain(..) {
        if !task.is_finished() {
            return Err("no task is alive, and one has not ended".to_owned());
        }
        runtime.block_on(task).map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Who waits for what.
fn graph(runtime: &Runtime) -> String {
    let tasks = runtime.tasks();
    tasks.iter().map(|task| task.to_string()).collect::<Vec<_>>().join("\n")
}
