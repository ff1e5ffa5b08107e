//! Polls tasks, and passes on what comes of it: the only file in which a task's code runs.
//!
//! A task's future is taken out of the table for its poll and put back afterwards. So no borrow of ours is held
//! while it runs, and it may spawn, wake, abort and drop as it likes. The same holds for what is dropped here,
//! and for wakers that are not ours. All of this concerns the runtime that is current.

use crate::current::{self, Borrowed, Now};
use crate::executor::{Next, Rest};
use crate::number::Number;
use crate::spawned::{Payload, Spawned, contain, panicked};
use crate::tasks::{DETACHED, Ended, Joiner, Task, TaskKey};
use crate::waker::{drop_contained, wake_contained};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

/// What one is told whose poll ends under another runtime than it began.
pub(crate) const HELD_ACROSS_AWAIT: &str =
    "the `EnterGuard` of another runtime was held across an `.await`: drop it before";

/// Polls once each, in order, the tasks that are ready now, at most `most` of them. What is woken meanwhile
/// waits. The executor is the loop's between two polls, and nobody's while one goes on.
#[inline(always)] // Into the loop.
pub(crate) fn run_ready<'a>(
    now: &'a Now,
    mut executor: Borrowed<'a>,
    runtime: u32,
    most: usize,
    watch: &impl Watch,
) -> Borrowed<'a> {
    let end = executor.ready.end_of_turn(most);
    loop {
        executor = poll_next(now, executor, runtime, watch);
        if executor.ready.is_at(end) {
            break;
        }
    }
    now.number.set(Number::NONE);
    executor.tidy();
    executor.counts.turns += 1;
    executor
}

/// Polls the task that is first in the queue, if there is one: a turn does not ask that before.
#[inline(always)]
fn poll_next<'a>(
    now: &'a Now,
    mut executor: Borrowed<'a>,
    runtime: u32,
    watch: &impl Watch,
) -> Borrowed<'a> {
    let mut next = match executor.next() {
        Ok(next) => next,
        Err(None) => return executor,
        Err(Some(aborted)) => {
            drop(executor);
            drop_aborted(now, runtime, aborted);
            return now.executor.borrow_mut();
        }
    };
    now.begin_poll(next.number, executor.limit);
    drop(executor);
    let number = next.number;
    trace!(Poll { number });
    let polled = match poll(&mut next, watch) {
        Ok(polled) if now.number.get() == number || now.runtime.get() == runtime => polled,
        failed => {
            trace!(Panicked { number });
            drop_failed(runtime, next, failed.err());
            return now.executor.borrow_mut();
        }
    };
    trace!(Polled { number, is_ready: polled.is_ready() });
    executor = now.executor.borrow_mut();
    if polled.is_pending() {
        executor.put_back(next);
        if watch.is_watching() {
            drop(executor);
            watch.pending(number);
            executor = now.executor.borrow_mut();
        }
    } else if let Some(rest) = executor.end(number.index(), Some(next.future), Ended::Finished) {
        drop(executor);
        do_rest(number.index(), rest);
        executor = now.executor.borrow_mut();
    }
    executor
}

#[inline(always)]
fn poll(Next { number, future }: &mut Next, watch: &impl Watch) -> std::thread::Result<Poll<()>> {
    // Dropping a waker of ours does nothing, so it need not be done.
    let waker = ManuallyDrop::new(number.waker());
    let mut cx = Context::from_waker(&waker);
    watch.watch(*number, || catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))))
}

/// Who looks on while a task is polled. Nobody: `()`.
pub(crate) trait Watch {
    fn watch<R>(&self, number: Number, poll: impl FnOnce() -> R) -> R;
    /// Whether it is told of every poll that was `Pending`, when the future is back in its place.
    fn is_watching(&self) -> bool {
        false
    }
    fn pending(&self, _: Number) {}
}

impl Watch for () {
    #[inline(always)]
    fn watch<R>(&self, _: Number, poll: impl FnOnce() -> R) -> R {
        poll()
    }
}

/// A task has panicked; or it has left another runtime current, by a guard in its future: that is a panic as well.
#[cold]
fn drop_failed(runtime: u32, task: Next, payload: Option<Payload>) {
    contain(|| drop(task.future));
    let payload = payload.or_else(|| catch_unwind(|| panic!("{HELD_ACROSS_AWAIT}")).err());
    assert!(current::runtime() == runtime, "{HELD_ACROSS_AWAIT}");
    end(task.number.index(), payload.map(panicked), Ended::Panicked);
}

#[cold]
fn drop_aborted(now: &Now, runtime: u32, Next { number, future }: Next) {
    now.begin_poll(number, now.executor.borrow_mut().limit);
    contain(|| drop(future));
    assert!(current::runtime() == runtime, "{HELD_ACROSS_AWAIT}");
    end(number.index(), None, Ended::Cancelled);
}

#[cold]
fn end(index: u32, left: Option<Spawned>, ended: Ended) {
    let rest = current::executor(|executor| executor.end(index, left, ended));
    rest.into_iter().for_each(|rest| do_rest(index, rest));
}

/// What the end of a task leaves to do.
fn do_rest(index: u32, rest: Rest) {
    match rest {
        Rest::Wake(joiner) => wake_contained(joiner),
        Rest::Drop => {
            let task = current::executor(|executor| executor.tasks.take(index));
            // An output, or a panic's payload.
            contain(|| drop(task.and_then(keep_panic)));
        }
    }
}

/// Who is to wait for the end of a task, for [`Executor::join`](crate::executor::Executor::join): who is polled, if by its
/// own waker. `Pending`: another waker waits for it already. Nobody, when it did not have to.
#[inline(always)]
pub(crate) fn poll_joiner(key: TaskKey, cx: &Context<'_>) -> Poll<Number> {
    match Number::behind(cx.waker()) {
        Some(number) if number == current::number() => Poll::Ready(number),
        _ => poll_foreign(key, cx.waker()).map(|()| Number::NONE),
    }
}

/// Lets a foreign waker wait for the end of a task. `Ready` when that has come.
#[cold]
fn poll_foreign(key: TaskKey, waker: &Waker) -> Poll<()> {
    if current::executor(|executor| executor.ended(key)).is_some() {
        return Poll::Ready(());
    }
    if current::executor(|executor| executor.is_awaited_by(key, waker)) {
        return Poll::Pending;
    }
    // To clone it may run the loop, and with it the task to its end.
    let waker = waker.clone();
    match current::executor(|executor| executor.wait_for(key, waker)) {
        Ok(before) => {
            before.drop_contained();
            Poll::Pending
        }
        Err(waker) => {
            drop_contained(waker);
            Poll::Ready(())
        }
    }
}

impl Joiner {
    /// Nobody is woken. A foreign waker is somebody's code: no borrow may be held.
    #[inline]
    pub(crate) fn drop_contained(self) {
        if let Joiner::Foreign(waker) = self {
            drop_contained(waker);
        }
    }

    fn wake_contained(self) {
        match self {
            Joiner::Number(Number::NONE | DETACHED) => {}
            Joiner::Number(number) => number.wake(),
            Joiner::Foreign(waker) => wake_contained(waker),
        }
    }
}

/// An ended task of the current runtime that nobody will join: its panic comes out of the loop, if that was asked for.
/// Anything else is given back, to be dropped.
pub(crate) fn keep_panic(task: Task) -> Option<Task> {
    current::executor(|executor| executor.keep_panic(task))
}

/// Drops every task, and those that their destructors spawn, until none is left.
pub(crate) fn drop_all() {
    loop {
        let burst = current::executor(|executor| executor.close());
        if burst.is_empty() {
            return;
        }
        for index in burst {
            let (joiner, task) = current::executor(|executor| executor.take_out(index));
            contain(|| drop(task));
            joiner.wake_contained();
        }
    }
}
