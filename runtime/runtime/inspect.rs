//! The runtime says what it is doing: counters, and the wait graph.
//!
//! No task knows what it waits for. But a waker says whose it is, and whatever a task can wait for keeps
//! one: so the graph is found by asking every source, timer and task which numbers it holds.

use crate::current;
use crate::home::Parts;
use crate::sys;
use crate::task::{Id, State, TaskInfo, Wait, WaitOn};
use crate::waker::Number;
use std::collections::HashMap;

/// Counts since the runtime was made, and (`…_alive`) of what there is now. Always on: each is one addition.
///
/// ```
/// let runtime = waken::Runtime::new()?;
/// runtime.block_on(runtime.spawn(async {})).unwrap();
/// assert_eq!(runtime.metrics().tasks_spawned, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Tasks that have not ended.
    pub tasks_alive: u64,
    /// Tasks ever spawned.
    pub tasks_spawned: u64,
    /// Tasks that ended by a panic.
    pub tasks_panicked: u64,
    /// Polls of tasks; those of a `block_on`'s own future not counted.
    pub polls: u64,
    /// Wakes that made a task ready. One that found it ready already is not counted.
    pub wakes: u64,
    /// Wakes that came from elsewhere, by letter.
    pub remote_wakes: u64,
    /// How often a task had used up its budget and had to let the others go first.
    pub budget_yields: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Calls of `epoll_wait` and `epoll_pwait2`.
    pub epoll_waits: u64,
    /// Events they brought.
    pub epoll_events: u64,
    /// Calls of `epoll_ctl`.
    pub epoll_ctls: u64,
    /// Events that woke nobody: most are the first "writable" of a new socket.
    pub spurious_events: u64,
    /// Descriptors that are registered.
    pub sources_alive: u64,
    /// Timers that are set and have not fired.
    pub timers_alive: u64,
    /// Timers that have fired.
    pub timers_fired: u64,
}

/// Of the current runtime.
impl Parts {
    pub(super) fn metrics(&self) -> Metrics {
        let Parts { executor, reactor, timers, mailbox, turns, .. } = self;
        let (wakes, budget_yields) = current::counts();
        Metrics {
            tasks_alive: executor.alive(),
            tasks_spawned: executor.spawned.get(),
            tasks_panicked: executor.panicked.get(),
            polls: executor.polls.get(),
            wakes,
            remote_wakes: mailbox.remote_wakes(),
            budget_yields,
            turns: turns.get(),
            epoll_waits: reactor.waits.get(),
            epoll_events: reactor.seen.get(),
            epoll_ctls: reactor.ctls.get(),
            spurious_events: reactor.spurious.get(),
            sources_alive: reactor.sources() as u64,
            timers_alive: timers.alive() as u64,
            timers_fired: timers.fired(),
        }
    }

    pub(super) fn tasks(&self) -> Vec<TaskInfo> {
        let mut waits = self.waits();
        let mut tasks = Vec::new();
        self.executor.for_each(|task, number, state| {
            let mut waits_for = waits.remove(&number.to_bits()).unwrap_or_default();
            if waits_for.is_empty() && state == State::Waiting {
                // A channel, a lock, another thread: whoever will wake it is not ours.
                waits_for.push(Wait { on: WaitOn::Other, at: None });
            }
            tasks.push(TaskInfo {
                id: Id::from_bits(task.id),
                name: task.about.name.as_ref().map(|name| (**name).clone()),
                spawned_at: task.about.spawned_at,
                future: (task.about.future)(),
                state,
                polls: task.polls,
                idle: sys::coarse_age(task.polled),
                waits_for,
            });
        });
        tasks.sort_by_key(|task| task.id);
        tasks
    }

    /// By the number of the waker: what holds it.
    fn waits(&self) -> HashMap<u64, Vec<Wait>> {
        let mut waits: HashMap<u64, Vec<Wait>> = HashMap::new();
        let mut add = |number: Option<Number>, on, at| {
            if let Some(number) = number {
                waits.entry(number.to_bits()).or_default().push(Wait { on, at });
            }
        };
        self.reactor.for_each(|source| {
            source.for_each(|number, is_read, at| {
                let on = if is_read { WaitOn::Readable } else { WaitOn::Writable }(source.fd());
                add(number, on, at);
            });
        });
        self.timers.for_each(|number, deadline, at| add(number, WaitOn::Until(deadline), Some(at)));
        self.executor
            .for_each(|task, _, _| add(task.joiner(), WaitOn::Task(Id::from_bits(task.id)), None));
        waits
    }
}
