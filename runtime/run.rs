//! Polls tasks, and passes on what comes of it: the only file in which a task's code runs.
//!
//! A task's future is taken out of the table for its poll and put back afterwards. So no borrow of ours is held
//! while it runs, and it may spawn, wake, abort and drop as it likes. The same holds for what is dropped here,
//! and for wakers that are not ours. All of this concerns the runtime that is current.

use crate::current;
use crate::executor::{Ended, Next, Task, TaskKey};
use crate::number::Number;
use crate::spawned::{Payload, Spawned, contain, panicked};
use crate::waker::{clone, drop_contained, wake_contained};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

/// What one is told whose poll ends under another runtime than it began.
pub(crate) const HELD_ACROSS_AWAIT: &str =
    "the `EnterGuard` of another runtime was held across an `.await`: drop it before";

/// Polls once each, in order, the tasks that are ready now, at most `most` of them. What is woken
/// meanwhile waits; returns whether there is anything.
#[inline]
pub(crate) fn run_ready(runtime: u32, most: usize, watch: &impl Watch) -> bool {
    let count = current::executor(|executor| executor.ready()).min(most);
    for _ in 0..count {
        if let Some(next) = current::begin_next() {
            run(runtime, next, watch);
        }
    }
    current::end_poll();
    current::executor(|executor| {
        executor.tidy();
        executor.is_busy()
    })
}

/// Who looks on while a task is polled. Nobody: `()`.
pub(crate) trait Watch {
    fn watch<R>(&self, number: Number, poll: impl FnOnce() -> R) -> R;
    /// The poll was `Pending`, and the future is back in its place.
    fn pending(&self, _: Number) {}
}

impl Watch for () {
    #[inline(always)]
    fn watch<R>(&self, _: Number, poll: impl FnOnce() -> R) -> R {
        poll()
    }
}

#[inline(always)]
fn run(runtime: u32, mut next: Next, watch: &impl Watch) {
    if next.is_aborted {
        return drop_aborted(next);
    }
    // Dropping a waker of ours does nothing, so it need not be done.
    let waker = ManuallyDrop::new(next.number.waker());
    let mut cx = Context::from_waker(&waker);
    let poll = || catch_unwind(AssertUnwindSafe(|| next.future.as_mut().poll(&mut cx)));
    let polled = watch.watch(next.number, poll);
    // A guard that is held suspends the poll, see `home.rs`.
    if current::number() == Number::NONE && current::runtime() != runtime {
        contain(|| drop(polled));
        return drop_strayed(runtime, next);
    }
    match polled {
        Ok(Poll::Pending) => {
            let number = next.number;
            current::executor(|executor| executor.put_back(next));
            watch.pending(number);
        }
        Ok(Poll::Ready(())) => end(next.number.index(), Some(next.future), Ended::Finished),
        Err(payload) => drop_panicked(next, payload),
    }
}

#[cold]
fn drop_panicked(task: Next, payload: Payload) {
    contain(|| drop(task.future));
    end(task.number.index(), Some(panicked(payload)), Ended::Panicked);
}

/// A task has left another runtime current. Whatever did that goes with its future, and it has panicked.
#[cold]
fn drop_strayed(runtime: u32, task: Next) {
    contain(|| drop(task.future));
    let stray = catch_unwind(|| panic!("{HELD_ACROSS_AWAIT}"));
    assert!(current::runtime() == runtime, "{HELD_ACROSS_AWAIT}");
    end(task.number.index(), stray.err().map(panicked), Ended::Panicked);
}

#[cold]
fn drop_aborted(task: Next) {
    current::executor(|executor| executor.counts.polls -= 1); // It was none.
    contain(|| drop(task.future));
    end(task.number.index(), None, Ended::Cancelled);
}

fn end(index: u32, left: Option<Spawned>, ended: Ended) {
    if let Some(joiner) = current::executor(|executor| executor.end(index, left, ended)) {
        wake_contained(joiner);
    } else if let Some(task) = current::executor(|executor| executor.take_detached(index)) {
        // An output, or a panic's payload.
        contain(|| drop(keep_panic(task)));
    }
}

/// How the task has ended and what it has left, or `cx` is woken when it does.
#[inline(always)]
pub(crate) fn poll_join(key: TaskKey, cx: &Context<'_>) -> Poll<(Ended, Option<Spawned>)> {
    loop {
        if let Some(ended) = current::executor(|executor| executor.ended(key)) {
            return Poll::Ready((ended, current::executor(|executor| executor.take_left(key))));
        }
        let waker = clone(cx.waker());
        match current::executor(|executor| executor.wait_for(key, waker)) {
            Ok(None) => return Poll::Pending,
            Ok(Some(old)) => {
                drop_contained(old);
                return Poll::Pending;
            }
            // A foreign waker's clone has run the loop, and with it the task to its end.
            Err(waker) => drop_contained(waker),
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
            joiner.into_iter().for_each(wake_contained);
        }
    }
}
