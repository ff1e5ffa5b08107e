//! In debug builds: which tasks can never wake, because nobody keeps their waker. A source keeps a number, and is
//! asked; everybody else keeps a clone of the waker, or as a task that is joined a number, and those are counted, on the runtime's own thread. What leaves
//! that thread may be anywhere, and is never told of again.

use crate::current;
use crate::number::Number;
use crate::tasks::MANY;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whose wakers were cloned or dropped on other threads, or under other runtimes.
static ELSEWHERE: Mutex<BTreeSet<Number>> = Mutex::new(BTreeSet::new());

/// From here on nothing is known any more.
const MOST_ELSEWHERE: usize = 1 << 16;

fn elsewhere() -> MutexGuard<'static, BTreeSet<Number>> {
    ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clone of a waker was made, or dropped, of a runtime that lives.
pub(crate) fn count(number: Number, made: bool) {
    if number.runtime() == current::runtime() as u16 {
        current::executor(|executor| executor.tasks.count(number, made));
    } else if elsewhere().len() < MOST_ELSEWHERE {
        elsewhere().insert(number);
    }
}

/// Whether the task waits, and no clone of its waker is known of.
pub(crate) fn is_without_clone(number: Number) -> bool {
    let is_without = current::executor(|executor| {
        executor.tasks.meant_by(number).is_some_and(|task| task.clones == 0 && task.is_waiting())
    });
    is_without && elsewhere().len() < MOST_ELSEWHERE && !elsewhere().contains(&number)
}

/// Tells of a task, once, on standard error, as std's panic hook does it; and of no more than ten in a process.
pub(crate) fn tell(number: Number, who: &str) {
    static TOLD: AtomicU32 = AtomicU32::new(0);
    current::executor(|executor| {
        executor.tasks.meant_by(number).into_iter().for_each(|it| it.clones = MANY)
    });
    if TOLD.fetch_add(1, Relaxed) < 10 {
        // As std's panic hook: a standard error that is closed or full is nobody's panic.
        let _lost = writeln!(
            io::stderr(),
            "waken: {who} can never wake: its poll was `Pending`, and nobody keeps its waker"
        );
    }
}

/// A runtime has ended.
pub(crate) fn unregister(runtime: u32) {
    elsewhere().retain(|number| number.runtime() != runtime as u16);
}
