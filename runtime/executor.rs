//! Which task is polled next. Knows no socket and no clock: whatever makes a task ready is a wake.
//!
//! ```text
//!            spawn                     poll: Ready, or a panic, or aborted
//!   (none) ────────► ready ──────► polled ──────────────────────────────► ended ──► (none)
//!                      ▲             │ Pending                            joined, or nobody
//!                      └──── wake ── waiting                              will ever join
//! ```
//!
//! The ready queue is in `current.rs`, where a wake finds it: so all of this is called while the runtime is
//! current. A task's future is taken out of the table for its poll and put back afterwards. So no borrow of
//! ours is held while a user's code runs, and that code may spawn, wake, abort and drop as it likes.

use crate::current;
use crate::slab::{Key, Slab};
use crate::spawned::{Spawned, panicked};
use crate::waker::{Number, contain, drop_contained, wake_contained};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::task::{Context, Poll, Waker};

pub(crate) struct Executor {
    runtime: u32,
    tasks: RefCell<Slab<Task>>,
    pub(crate) spawned: Cell<u64>,
    pub(crate) panicked: Cell<u64>,
    pub(crate) polls: Cell<u64>,
    alive: Cell<u64>,
    /// The runtime ends: what tasks leave is dropped one after the other, not one inside the other.
    closing: Cell<bool>,
}

/// What one is told whose poll ends under another runtime than it began.
pub(crate) const HELD_ACROSS_AWAIT: &str =
    "the `EnterGuard` of another runtime was held across an `.await`: drop it before";

/// What the executor keeps for one task beside its future.
pub(crate) struct Task {
    /// Never reused, unlike the key and the number.
    pub(crate) id: u64,
    /// What its waker is.
    number: Number,
    /// Away while it is being polled. When the task has ended: what it has left.
    future: Option<Spawned>,
    /// How it has ended.
    ended: Option<Ended>,
    joiner: Option<Waker>,
    /// Nobody will ask for the output.
    detached: bool,
    aborted: bool,
    /// When it was last polled, by the coarse clock.
    pub(crate) polled: u32,
    pub(crate) polls: u64,
    pub(crate) about: About,
}

/// What is known of a task from its spawning.
pub(crate) struct About {
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) future: fn() -> &'static str,
    /// Behind a box, since few tasks have one and all would pay for its room.
    pub(crate) name: Option<Box<Cow<'static, str>>>,
}

impl About {
    pub(crate) fn of<F>(
        name: Option<Box<Cow<'static, str>>>,
        spawned_at: &'static Location<'static>,
    ) -> About {
        About { spawned_at, future: std::any::type_name::<F>, name }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Finished,
    Panicked,
    Cancelled,
}

/// What a join gets.
pub(crate) enum Joined {
    /// The output waits inside.
    Finished(Spawned),
    /// What it panicked with waits inside.
    Panicked(Spawned),
    Cancelled,
}

/// Where a task is, and which task it was: what handles hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskKey {
    pub(crate) id: u64,
    pub(crate) index: u32,
    /// The serial of its runtime.
    pub(crate) runtime: u32,
}

impl Executor {
    pub(crate) fn new(runtime: u32) -> Executor {
        Executor {
            runtime,
            tasks: RefCell::new(Slab::new()),
            spawned: Cell::new(0),
            panicked: Cell::new(0),
            polls: Cell::new(0),
            alive: Cell::new(0),
            closing: Cell::new(false),
        }
    }

    pub(crate) fn alive(&self) -> u64 {
        self.alive.get()
    }

    pub(crate) fn spawn(&self, future: Spawned, about: About, now: u32) -> TaskKey {
        let count = self.spawned.get() + 1;
        self.spawned.set(count);
        self.alive.set(self.alive.get() + 1);
        let id = (self.runtime as u64) << 48 | (count & (u64::MAX >> 16));
        let key = self.tasks.borrow_mut().insert_with(|key| Task {
            id,
            number: Number::of_task(self.runtime, key.index, key.stamp as u16),
            future: Some(future),
            ended: None,
            joiner: None,
            detached: false,
            aborted: false,
            polled: now,
            polls: 0,
            about,
        });
        current::admit(Number::of_task(self.runtime, key.index, key.stamp as u16).to_bits());
        TaskKey { id, index: key.index, runtime: self.runtime }
    }

    /// Polls once each, in order, the tasks that are ready now, at most `most` of them. What is woken
    /// meanwhile waits; returns whether there is any.
    #[inline]
    pub(crate) fn run_ready(&self, most: usize, now: u32) -> bool {
        let most = most.min(current::ready());
        for place in 0..most {
            if let Some(index) = current::unqueue(place) {
                self.run(index, now);
            }
        }
        current::end_poll();
        current::advance(most) > 0
    }

    #[inline]
    fn run(&self, index: u32, now: u32) {
        let (mut future, number, aborted) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some((_, task)) = tasks.entry_mut(index) else { return };
            let Some(future) = task.future.take() else { return };
            task.polls += 1;
            task.polled = now;
            current::begin_poll(task.number.to_bits());
            (future, task.number, task.aborted)
        };
        if aborted {
            return self.drop_aborted(index, future);
        }
        self.polls.set(self.polls.get() + 1);
        // Dropping a waker of ours does nothing, so it need not be done.
        let waker = ManuallyDrop::new(number.waker());
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        // A guard that is held suspends the poll, see `home.rs`.
        if current::number() == 0 && current::runtime() != self.runtime {
            contain(|| drop(polled));
            return self.drop_strayed(index, future);
        }
        match polled {
            Ok(Poll::Pending) => {
                let mut tasks = self.tasks.borrow_mut();
                let Some((_, task)) = tasks.entry_mut(index) else {
                    unreachable!("it has not ended")
                };
                let taken = task.future.replace(future);
                debug_assert!(taken.is_none(), "a future was polled while it was being polled");
                mem::forget(taken); // It is `None`: spares the code that would drop it.
            }
            Ok(Poll::Ready(())) => self.end(index, Some(future), Ended::Finished),
            Err(payload) => {
                self.panicked.set(self.panicked.get() + 1);
                contain(|| drop(future));
                self.end(index, Some(panicked(payload)), Ended::Panicked);
            }
        }
    }

    /// A task has left another runtime current. Whatever did that goes with its future, and it has panicked.
    #[cold]
    fn drop_strayed(&self, index: u32, future: Spawned) {
        contain(|| drop(future));
        let stray = catch_unwind(|| panic!("{HELD_ACROSS_AWAIT}"));
        assert!(current::runtime() == self.runtime, "{HELD_ACROSS_AWAIT}");
        self.panicked.set(self.panicked.get() + 1);
        self.end(index, stray.err().map(panicked), Ended::Panicked);
    }

    #[cold]
    fn drop_aborted(&self, index: u32, future: Spawned) {
        contain(|| drop(future));
        self.end(index, None, Ended::Cancelled);
    }

    /// The future is gone. From here on nobody can wake the task; whoever joins it is woken.
    fn end(&self, index: u32, left: Option<Spawned>, ended: Ended) {
        self.alive.set(self.alive.get() - 1);
        let mut tasks = self.tasks.borrow_mut();
        let Some((key, task)) = tasks.entry_mut(index) else { unreachable!("it has not ended") };
        current::forget(task.number.to_bits());
        if task.detached {
            let removed = tasks.remove(key);
            drop(tasks);
            // An output, a panic's payload, a joiner that was left behind: the user's code, all of it.
            contain(|| drop((left, removed)));
        } else {
            task.future = left;
            task.ended = Some(ended);
            let joiner = task.joiner.take();
            drop(tasks);
            if let Some(joiner) = joiner {
                wake_contained(joiner);
            }
        }
    }

    /// What the task has ended with, or `cx` is woken when it does. A key of no task: cancelled.
    pub(crate) fn poll_join(&self, task_key: TaskKey, cx: &Context<'_>) -> Poll<Joined> {
        // Cloned and dropped outside of the borrow: a foreign one is the user's code.
        let fresh = cx.waker().clone();
        let mut tasks = self.tasks.borrow_mut();
        let Some((key, task)) = find(&mut tasks, task_key) else {
            return Poll::Ready(Joined::Cancelled);
        };
        if let Some(ended) = task.ended {
            let left = task.future.take();
            // Only the future is the user's, and it is out.
            tasks.discard(key);
            return Poll::Ready(match (ended, left) {
                (Ended::Finished, Some(left)) => Joined::Finished(left),
                (Ended::Panicked, Some(left)) => Joined::Panicked(left),
                _ => Joined::Cancelled,
            });
        }
        let old = task.joiner.replace(fresh);
        drop(tasks);
        old.into_iter().for_each(drop_contained);
        Poll::Pending
    }

    /// Nobody will join the task. What it has left, and the waker of whoever waited, are the caller's to drop.
    #[must_use]
    pub(crate) fn detach(&self, task_key: TaskKey) -> (Option<Task>, Option<Waker>) {
        let mut tasks = self.tasks.borrow_mut();
        match find(&mut tasks, task_key) {
            Some((key, task)) if task.ended.is_some() && !self.closing.get() => {
                (tasks.remove(key), None)
            }
            Some((_, task)) => {
                task.detached = true;
                (None, task.joiner.take())
            }
            None => (None, None),
        }
    }

    /// The future will be dropped when the task's turn comes, never here.
    pub(crate) fn abort(&self, task_key: TaskKey) {
        let mut tasks = self.tasks.borrow_mut();
        if let Some((_, task)) = find(&mut tasks, task_key).filter(|(_, task)| task.ended.is_none())
        {
            task.aborted = true;
            current::schedule(task.number.to_bits());
        }
    }

    /// The id of the task whose waker is `number`.
    pub(crate) fn id_of(&self, number: Number) -> Option<u64> {
        match self.tasks.borrow_mut().entry_mut(number.index()) {
            Some((_, task)) if task.number == number => Some(task.id),
            _ => None,
        }
    }

    pub(crate) fn has_ended(&self, task_key: TaskKey) -> bool {
        let mut tasks = self.tasks.borrow_mut();
        find(&mut tasks, task_key).is_none_or(|(_, task)| task.ended.is_some())
    }

    /// Drops every task, and those that their destructors spawn, until none is left.
    pub(crate) fn clear(&self) {
        self.closing.set(true);
        loop {
            let burst: Vec<Key> = self.tasks.borrow().iter().map(|(key, _)| key).collect();
            if burst.is_empty() {
                return;
            }
            for key in burst {
                let Some(task) = self.tasks.borrow_mut().remove(key) else {
                    continue;
                };
                current::forget(task.number.to_bits());
                if task.ended.is_none() {
                    self.alive.set(self.alive.get() - 1);
                }
                let Task { future, joiner, .. } = task;
                contain(|| drop(future));
                joiner.into_iter().for_each(wake_contained);
            }
        }
    }

    /// Gives back what a burst of tasks has left behind.
    pub(crate) fn shrink(&self) {
        if self.alive.get() == 0 {
            current::shrink();
        }
    }

    /// Shows every task that has not ended: its key, what is known of it, and whether it is queued.
    pub(crate) fn for_each(&self, mut show: impl FnMut(&Task, Number, State)) {
        for (_, task) in self.tasks.borrow().iter().filter(|(_, task)| task.ended.is_none()) {
            let state = match &task.future {
                None => State::Running,
                Some(_) if current::is_queued(task.number.to_bits()) => State::Runnable,
                Some(_) => State::Waiting,
            };
            show(task, task.number, state);
        }
    }
}

/// The task that a handle means, if it is still in the table.
fn find(tasks: &mut Slab<Task>, key: TaskKey) -> Option<(Key, &mut Task)> {
    tasks.entry_mut(key.index).filter(|(_, task)| task.id == key.id)
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is being polled: it is the one that asks, or it runs the runtime that does.
    Running,
    /// It was woken, and waits for its turn.
    Runnable,
    /// It waits to be woken.
    Waiting,
}

impl Task {
    /// Who waits for this task to end.
    pub(crate) fn joiner(&self) -> Option<Number> {
        self.joiner.as_ref().and_then(Number::behind)
    }
}
