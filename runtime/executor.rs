//! The tasks of a runtime, and which of them is polled next. Knows no socket and no clock, and runs nobody's
//! code: it hands futures, outputs and wakers out, and whoever gets them polls, drops and wakes (`run.rs`).
//!
//! ```text
//!            spawn                     poll: Ready, or a panic, or aborted
//!   (none) ────────► ready ──────► polled ──────────────────────────────► ended ──► (none)
//!                      ▲             │ Pending                            joined, or nobody
//!                      └──── wake ── waiting                              will ever join
//! ```

use crate::number::Number;
use crate::ready::Ready;
use crate::spawned::{LARGEST_SPARE, Payload, Spawned, take_payload};
use crate::tasks::{
    self, About, DETACHED, Ended, Joiner, LAST_COUNT, Mark, Name, Task, TaskKey, Tasks,
};
use crate::timers::Timers;
use std::any::Any;
use std::mem::{self, ManuallyDrop};
use std::task::Waker;

pub(crate) struct Executor {
    pub(crate) runtime: u32,
    /// Of the last task that was made.
    last_id: u64,
    pub(crate) tasks: Tasks,
    /// `spawn` and `schedule` put in; `next` takes out. A task that has ended meanwhile stays in, and is passed over.
    pub(crate) ready: Ready,
    pub(crate) is_root_woken: bool,
    /// Here since they are lent to the thread as all of this is; nothing in this file looks at them.
    pub(crate) timers: Timers,
    /// The budget of every poll.
    pub(crate) limit: i32,
    /// The coarse clock, read once a turn.
    pub(crate) clock: u32,
    /// A panic that nobody will ever join comes out of the loop: whether it should, and the first that has to.
    pub(crate) propagates: bool,
    pub(crate) unobserved: Option<Payload>,
    /// What the task was in that was joined last, if it was small. There is nobody's code in it any more.
    spare: Option<Spawned>,
    /// The runtime ends: what tasks leave is dropped one after the other, not one inside the other.
    closing: bool,
    pub(crate) counts: Counts,
}

/// What is counted as it happens.
pub(crate) struct Counts {
    pub(crate) turns: u64,
    /// Entries that were taken out of the ready queue, and whose task was not polled.
    passed_over: u64,
    ended: u64,
    pub(crate) panicked: u64,
    pub(crate) budget_yields: u64,
}

/// What is left to do when a task has ended: foreign code, so that no borrow may be held.
pub(crate) enum Rest {
    Wake(Waker),
    /// Nobody will ever join it.
    Drop,
}

/// How a task has ended, and what it has left: its output, or its panic.
pub(crate) type Left = (Ended, Option<Spawned>);

/// The task that is polled next.
pub(crate) struct Next {
    pub(crate) number: Number,
    pub(crate) future: Spawned,
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

impl Executor {
    /// For a runtime that gives each poll a budget of `limit` operations.
    pub(crate) const fn new(runtime: u32, limit: i32) -> Executor {
        Executor {
            runtime,
            last_id: runtime as u16 as u64,
            tasks: Tasks::new(),
            ready: Ready::new(),
            is_root_woken: false,
            timers: Timers::new(),
            limit,
            clock: 0,
            propagates: false,
            unobserved: None,
            spare: None,
            closing: false,
            counts: Counts { turns: 0, passed_over: 0, ended: 0, panicked: 0, budget_yields: 0 },
        }
    }

    /// Puts a task in, ready to be polled.
    #[inline(always)]
    pub(crate) fn spawn(&mut self, new: ManuallyDrop<(Spawned, About)>) -> TaskKey {
        self.last_id = tasks::after(self.last_id);
        let (id, runtime, (index, entry)) = (self.last_id, self.runtime, self.tasks.vacancy());
        let number = Number::of_task(id, index);
        let (future, about) = ManuallyDrop::into_inner(new);
        trace!(Spawn { number, id, about: About { name: about.name.clone(), ..about } });
        let task = Task::new(id, Some(future), &about, self.clock);
        // Nothing is in it, and to say so spares the code that would drop it.
        mem::forget(mem::replace(entry, task));
        if let Some(name) = about.name {
            self.tasks.set_name(index, name);
        }
        trace!(Enqueue { number });
        if !self.ready.has_room() {
            self.ready.make_room();
        }
        self.ready.push(number);
        TaskKey { id, index, runtime }
    }

    /// A wake, if it is one as nearly all are: of a task that waits, while the queue has room. `false`: nothing was done,
    /// and `schedule_late` does the rest. (So what nearly always happens is a straight line, which calls nothing.)
    #[inline(always)]
    #[must_use]
    pub(crate) fn schedule(&mut self, number: Number) -> bool {
        let has_room = self.ready.has_room();
        match self.tasks.at_mut(number.index()) {
            Some(task) if has_room && task.is(number) && task.mark == Mark::Waits => {
                task.mark = Mark::Queued;
            }
            _ => return false,
        }
        trace!(Wake { number });
        trace!(Enqueue { number });
        self.ready.push(number);
        true
    }

    /// The other wakes: of the root, and of whom the queue had no room for. For who has ended or is queued, nothing.
    #[cold]
    #[inline(never)]
    pub(crate) fn schedule_late(&mut self, number: Number) {
        let waits = |task: &mut Task| task.is(number) && task.mark == Mark::Waits;
        if self.tasks.at_mut(number.index()).is_some_and(waits) {
            self.ready.make_room();
            let _queued = self.schedule(number);
            return;
        }
        trace!(Wake { number });
        // The root's generation is not compared: a late wake costs a poll, which the contract allows.
        self.is_root_woken |= number.is_root();
    }

    #[inline(always)]
    fn wake(&mut self, number: Number) {
        if !self.schedule(number) {
            self.schedule_late(number);
        }
    }

    pub(crate) fn spawned(&self) -> u64 {
        tasks::count(self.last_id)
    }

    /// How many tasks have not ended.
    pub(crate) fn alive(&self) -> u64 {
        self.spawned().wrapping_sub(self.counts.ended) & LAST_COUNT
    }

    /// Not counted one by one: each has taken an entry out of the queue.
    pub(crate) fn polls(&self) -> u64 {
        self.ready.taken_out() - self.counts.passed_over
    }

    /// Nor are these: each has put an entry in, and so has each spawn.
    pub(crate) fn wakes(&self) -> u64 {
        self.ready.put_in() - self.spawned()
    }

    /// Whether a task is ready. Where none is alive, the queue has only those that have ended, which are passed over here.
    #[inline(never)]
    pub(crate) fn has_ready(&mut self) -> bool {
        if self.alive() == 0 {
            while let Some(number) = self.ready.next() {
                self.next_aborted(Some(number));
            }
        }
        self.ready.len() > 0
    }

    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.ready.len() > 0 || self.is_root_woken
    }

    /// Takes the first entry out of the ready queue, and the future of its task, if that has not ended
    /// meanwhile: as an error when it is not to be polled, but dropped. A wake from now on queues the task again, behind.
    #[inline(always)] // Into the loop.
    pub(crate) fn next(&mut self) -> Result<Next, Option<Next>> {
        let Some(number) = self.ready.next() else { return Err(self.next_aborted(None)) };
        match self.tasks.at_mut(number.index()) {
            Some(task) if task.mark == Mark::Queued => {
                task.mark = Mark::Waits;
                debug_assert!(task.is(number), "its place is not used again while it is queued");
                let Some(future) = task.future.take() else {
                    return Err(self.next_aborted(Some(number)));
                };
                task.polled = self.clock;
                task.polls += 1;
                Ok(Next { number, future })
            }
            _ => Err(self.next_aborted(Some(number))),
        }
    }

    /// The rest of `next`: the queue is empty, or its first task has ended, or is aborted.
    #[cold]
    #[inline(never)]
    fn next_aborted(&mut self, number: Option<Number>) -> Option<Next> {
        let number = number?;
        self.counts.passed_over += 1;
        let task = self.tasks.at_mut(number.index())?;
        if task.mark == Mark::Aborted {
            task.mark = Mark::Waits;
            return Some(Next { number, future: task.future.take()? });
        }
        self.tasks.pass_over(number.index());
        None
    }

    /// The poll was `Pending`.
    #[inline(always)]
    pub(crate) fn put_back(&mut self, task: Next) {
        let Some(slot) = self.tasks.at_mut(task.number.index()) else { unreachable!("it lives") };
        // It is `None`, and to say so spares the code that would drop it.
        mem::forget(slot.future.replace(task.future));
    }

    /// The turn is over.
    #[inline]
    pub(crate) fn tidy(&mut self) {
        if self.ready.len() > 0 {
            return self.ready.compact();
        }
        if self.ready.is_large() {
            self.shrink();
        }
        self.ready.clear();
    }

    #[inline(never)]
    fn shrink(&mut self) {
        self.ready.shrink(self.alive() == 0, self.is_root_woken);
    }

    /// The future is gone, and has left something, or nothing. From here on nobody can wake the task. Wakes the task
    /// that waits for it, and returns what else is to be done.
    #[inline(always)]
    pub(crate) fn end(&mut self, index: u32, left: Option<Spawned>, ended: Ended) -> Option<Rest> {
        trace!(End { index, how: ended });
        self.counts.ended += 1;
        self.counts.panicked += u64::from(ended == Ended::Panicked);
        let Some(task) = self.tasks.at_mut(index) else { unreachable!("it has not ended") };
        task.end(ended);
        mem::forget(mem::replace(&mut task.future, left)); // `None`, see `next`.
        match self.tasks.set_joiner(index, Joiner::NOBODY) {
            Joiner::Number(Number::NONE) => None,
            Joiner::Number(DETACHED) => Some(Rest::Drop),
            Joiner::Number(number) => {
                self.wake(number);
                None
            }
            Joiner::Foreign(waker) => Some(Rest::Wake(waker)),
        }
    }

    /// How the task has ended, if it has. A key of no task: cancelled.
    #[inline(always)]
    pub(crate) fn ended(&mut self, key: TaskKey) -> Option<Ended> {
        self.tasks.find(key).map_or(Some(Ended::Cancelled), |task| task.ended())
    }

    /// Whether the task's end will wake `waker` already, which is foreign, so that it need not be cloned again.
    pub(crate) fn is_awaited_by(&mut self, key: TaskKey, waker: &Waker) -> bool {
        self.tasks.foreign_joiner(key).is_some_and(|joiner| joiner.will_wake(waker))
    }

    /// How the task has ended, and what it has left, which leaves the table with it. If it has not, its end will wake the
    /// task with this number, and who waited for it before comes out.
    #[inline(always)]
    pub(crate) fn join(&mut self, key: TaskKey, number: Number) -> Result<Left, Joiner> {
        let Some(task) = self.tasks.find(key) else { return Ok((Ended::Cancelled, None)) };
        let Some(ended) = task.ended() else {
            trace!(Join { id: key.id, number: Some(number) });
            debug_assert!(number != Number::NONE, "somebody has to be woken");
            return Err(self.tasks.set_joiner(key.index, Joiner::Number(number)));
        };
        let left = task.future.take();
        self.tasks.vacate(key.index);
        Ok((ended, left))
    }

    /// The memory of the last one that was kept, if it takes the future that is in `from`.
    #[inline(always)]
    pub(crate) fn refill_spare(&mut self, from: &mut dyn Any) -> Option<Spawned> {
        if self.spare.as_mut()?.as_mut().refill(from) { self.spare.take() } else { None }
    }

    /// Keeps what a task was in that was joined; what is not kept comes back.
    #[inline(always)]
    pub(crate) fn keep_spare(&mut self, left: Spawned) -> Option<Spawned> {
        if size_of_val(&*left) <= LARGEST_SPARE { self.spare.replace(left) } else { Some(left) }
    }

    /// Its end will wake this foreign waker, which comes back if the task has ended already.
    pub(crate) fn wait_for(&mut self, key: TaskKey, waker: Waker) -> Result<Joiner, Waker> {
        match self.tasks.find(key) {
            Some(task) if task.ended().is_none() => {
                trace!(Join { id: key.id, number: Number::behind(&waker) });
                Ok(self.tasks.set_joiner(key.index, Joiner::Foreign(waker)))
            }
            _ => Err(waker),
        }
    }

    /// Nobody will join the task. What comes out is user's code when it is dropped: the waker of whoever waited
    /// for it, and a task that has ended, with what it has left.
    #[must_use]
    pub(crate) fn detach(&mut self, key: TaskKey) -> (Joiner, Option<Task>) {
        let Some(task) = self.tasks.find(key) else { return (Joiner::NOBODY, None) };
        let out = task.ended().is_some() && !self.closing;
        let joiner = self.tasks.set_joiner(key.index, Joiner::DETACHED);
        (joiner, if out { self.tasks.take(key.index) } else { None })
    }

    /// The future will be dropped when the task's turn comes, never here.
    pub(crate) fn abort(&mut self, key: TaskKey) {
        if self.tasks.find(key).is_none() {
            return;
        }
        trace!(Abort { id: key.id });
        self.wake(Number::of_task(key.id, key.index));
        if let Some(task) = self.tasks.find(key).filter(|task| task.ended().is_none()) {
            task.mark = Mark::Aborted;
        }
    }

    /// Keeps an ended task that nobody will ever join, if it has panicked, and that is to come out of the loop. Any
    /// other comes back, to be dropped.
    pub(crate) fn keep_panic(&mut self, task: Task) -> Option<Task> {
        if !self.propagates || self.unobserved.is_some() || task.ended() != Some(Ended::Panicked) {
            return Some(task);
        }
        // So that the loop is left.
        self.is_root_woken = true;
        self.unobserved = task.future.map(take_payload);
        None
    }

    /// The runtime ends: where there are tasks now, to be taken out one by one.
    pub(crate) fn close(&mut self) -> Vec<u32> {
        self.closing = true;
        self.tasks.iter().map(|(index, _)| index).collect()
    }

    /// Takes a task out as the runtime ends; who waits for its end is to be woken.
    pub(crate) fn take_out(&mut self, index: u32) -> (Joiner, Option<Task>) {
        if self.tasks.at_mut(index).is_none() {
            return (Joiner::NOBODY, None); // The last ones went with another, and the table gave back its room.
        }
        let joiner = self.tasks.set_joiner(index, Joiner::NOBODY);
        let task = self.tasks.take(index);
        if let Some(task) = &task {
            self.counts.ended += u64::from(task.ended().is_none());
            trace!(TakenOut { id: task.id });
        }
        (joiner, task)
    }

    /// Shows every task that has not ended, its number and its name, and what it is doing.
    pub(crate) fn for_each(&self, mut show: impl FnMut(&Task, Number, Option<&Name>, State)) {
        for (index, task) in self.tasks.iter().filter(|(_, task)| task.ended().is_none()) {
            let state = match &task.future {
                None => State::Running,
                Some(_) if task.mark == Mark::Waits => State::Waiting,
                Some(_) => State::Runnable,
            };
            show(task, task.number(index), self.tasks.name(index), state);
        }
    }
}
