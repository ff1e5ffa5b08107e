//! The runtime says what it is doing: counters, and the wait graph.
//!
//! No task knows what it waits for. But a waker says whose it is, and whatever a task can wait for keeps
//! one: so the graph is found by asking every source, timer and task which numbers it holds.

use super::Runtime;
use crate::current;
use crate::forgotten;
use crate::home::{Parts, expect_current};
use crate::number::Number;
use crate::run::Watch;
use crate::sys;
use crate::task::{Id, State, TaskInfo, Wait, WaitOn};
use crate::tasks::{Name, Task};
use std::collections::HashMap;
use std::time::Instant;

/// Counts since the runtime was made, and (`…_alive`) of what there is now. Always on: none costs more than an addition.
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
    /// Waits that a look has ended, so that the thread did not fall asleep. See [`Builder::spin`](super::Builder::spin).
    pub looks: u64,
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

/// Its looks at itself.
impl Runtime {
    /// What this runtime has done so far, and what it holds.
    ///
    /// ```
    /// let runtime = waken::Runtime::new()?;
    /// runtime.block_on(async { waken::spawn(async {}).await.unwrap() });
    /// let metrics = runtime.metrics();
    /// assert_eq!((metrics.tasks_spawned, metrics.tasks_alive), (1, 0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        let _current = self.parts.enter();
        self.parts.metrics()
    }

    /// Every task that has not ended, with what it waits for: the *wait graph*. The future given to `block_on` is
    /// no task, and not among them.
    ///
    /// ```
    /// let runtime = waken::Runtime::new()?;
    /// runtime.spawn(std::future::pending::<()>());
    /// assert!(runtime.tasks()[0].to_string().starts_with("task 1 "));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "dump")]
    #[doc(alias = "console")]
    pub fn tasks(&self) -> Vec<TaskInfo> {
        let _current = self.parts.enter();
        self.parts.tasks()
    }
}

/// What every task of the current runtime waits for. See [`Runtime::tasks`].
///
/// # Panics
/// Outside of a runtime.
///
/// ```
/// waken::block_on(async {
///     waken::spawn(std::future::pending::<()>());
///     assert_eq!(waken::runtime::tasks().len(), 1);
/// });
/// ```
#[track_caller]
pub fn tasks() -> Vec<TaskInfo> {
    expect_current("runtime::tasks").tasks()
}

/// What the current runtime has done so far. See [`Runtime::metrics`].
///
/// # Panics
/// Outside of a runtime.
#[track_caller]
pub fn metrics() -> Metrics {
    expect_current("runtime::metrics").metrics()
}

/// For [`Builder::on_long_poll`](super::Builder::on_long_poll), and in debug builds for tasks that can never wake.
impl Watch for Parts {
    fn watch<R>(&self, number: Number, poll: impl FnOnce() -> R) -> R {
        if self.settings.on_long_poll.is_none() {
            return poll();
        }
        let start = Instant::now();
        let polled = poll();
        let took = start.elapsed();
        if let Some((_, call)) =
            self.settings.on_long_poll.as_ref().filter(|(over, _)| took >= *over)
        {
            call(self, number, took);
        }
        polled
    }

    fn is_watching(&self) -> bool {
        cfg!(debug_assertions)
    }

    /// A source keeps a number, and is asked. What everybody else keeps is counted. So who waits, and has
    /// neither, has been forgotten.
    fn pending(&self, number: Number) {
        if current::has_left_number() || !forgotten::is_without_clone(number) {
            return;
        }
        let mut is_kept = false;
        self.reactor.for_each(|source| {
            source.for_each(|waiter, _, _| is_kept |= waiter == Some(number));
        });
        if let (false, Some(task)) = (is_kept, self.task(number)) {
            forgotten::tell(number, &task.who());
        }
    }
}

/// Of the current runtime.
impl Parts {
    fn metrics(&self) -> Metrics {
        let Parts { reactor, mailbox, .. } = self;
        current::executor(|executor| Metrics {
            tasks_alive: executor.alive(),
            tasks_spawned: executor.spawned(),
            tasks_panicked: executor.counts.panicked,
            polls: executor.polls(),
            wakes: executor.wakes(),
            remote_wakes: mailbox.remote_wakes(),
            budget_yields: executor.counts.budget_yields,
            turns: executor.counts.turns,
            looks: self.looks.get(),
            epoll_waits: reactor.waits.get(),
            epoll_events: reactor.seen.get(),
            epoll_ctls: reactor.ctls.get(),
            spurious_events: reactor.spurious.get(),
            sources_alive: reactor.sources() as u64,
            timers_alive: executor.timers.alive() as u64,
            timers_fired: executor.timers.fired,
        })
    }

    /// The task with this number, which must be the one that is polled.
    pub(super) fn task(&self, number: Number) -> Option<TaskInfo> {
        current::executor(|executor| {
            executor.tasks.meant_by(number)?;
            let name = executor.tasks.name(number.index()).cloned();
            let task = executor.tasks.meant_by(number)?;
            Some(info(task, name.as_ref(), State::Running, Vec::new()))
        })
    }

    fn tasks(&self) -> Vec<TaskInfo> {
        let mut waits = self.waits();
        let mut tasks = Vec::new();
        let show = |task: &Task, number, name: Option<&Name>, state| {
            let mut waits_for = waits.remove(&number).unwrap_or_default();
            if waits_for.is_empty() && state == State::Waiting {
                // A channel, a lock, another thread: whoever will wake it is not ours.
                waits_for.push(Wait { on: WaitOn::Other, at: None });
            }
            tasks.push(info(task, name, state, waits_for));
        };
        current::executor(|executor| executor.for_each(show));
        tasks.sort_by_key(|task| task.id);
        tasks
    }

    /// By the number of the waker: what holds it.
    fn waits(&self) -> HashMap<Number, Vec<Wait>> {
        let mut waits: HashMap<Number, Vec<Wait>> = HashMap::new();
        let mut add = |number: Option<Number>, on, at| {
            if let Some(number) = number {
                waits.entry(number).or_default().push(Wait { on, at });
            }
        };
        self.reactor.for_each(|source| {
            source.for_each(|number, is_read, at| {
                let on = if is_read { WaitOn::Readable } else { WaitOn::Writable }(source.fd());
                add(number, on, at);
            });
        });
        current::executor(|executor| {
            let timers = &executor.timers;
            timers.for_each(|number, deadline, at| add(number, WaitOn::Until(deadline), Some(at)));
            executor.for_each(|task, _, _, _| {
                add(task.joined_by(), WaitOn::Task(Id::from_bits(task.id)), None);
            });
        });
        waits
    }
}

fn info(task: &Task, name: Option<&Name>, state: State, waits_for: Vec<Wait>) -> TaskInfo {
    TaskInfo {
        id: Id::from_bits(task.id),
        name: name.map(|name| (**name).clone()),
        spawned_at: task.spawned_at,
        future: (task.type_name)(),
        state,
        polls: task.polls,
        idle: sys::coarse_age(task.polled),
        waits_for,
    }
}
