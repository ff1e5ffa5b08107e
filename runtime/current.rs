//! Whose turn it is on this thread: which runtime, which task, how much budget the task has left, and
//! the executor. Polls nothing.
//!
//! A runtime *lends* its executor to its thread when it becomes current, until another one does. That is how a
//! wake, a spawn, a join, a sleep reach it: they look here, compare one number, and are there. All of it has no
//! destructor, so it is there as long as the thread is.

use crate::executor::Executor;
use crate::number::Number;
use crate::timers::Timers;
use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::task::{Context, Poll};

pub(crate) struct Now {
    /// 0 when no runtime is current.
    pub(crate) runtime: Cell<u32>,
    /// The number of the waker that the last poll was given; `NONE` between turns.
    pub(crate) number: Cell<Number>,
    /// Operations that are left to this poll. Below one it is used up.
    budget: Cell<i32>,
    /// In debug builds: whether the poll that goes on has left its number with a source.
    left: Cell<bool>,
    /// Since the loop waited last, something was written or a letter came: somebody may be about to answer.
    talked: Cell<bool>,
    /// This thread runs a loop of ours.
    blocking: Cell<bool>,
    pub(crate) executor: RefCell<ManuallyDrop<Executor>>,
}

/// The executor while somebody has it. Nobody's code may run meanwhile.
pub(crate) type Borrowed<'a> = RefMut<'a, ManuallyDrop<Executor>>;

const NOBODYS: Executor = Executor::new(0, i32::MAX);

thread_local! {
    static NOW: Now = const {
        Now {
            runtime: Cell::new(0),
            number: Cell::new(Number::NONE),
            budget: Cell::new(0),
            left: Cell::new(false),
            talked: Cell::new(false),
            blocking: Cell::new(false),
            executor: RefCell::new(ManuallyDrop::new(NOBODYS)),
        }
    };
}

/// The runtime whose turn it is on this thread; 0 when there is none.
#[inline]
pub(crate) fn runtime() -> u32 {
    NOW.with(|now| now.runtime.get())
}

/// The executor of the current runtime, or of the last one when there is none. `visit` runs nobody's code.
#[inline(always)]
pub(crate) fn executor<R>(visit: impl FnOnce(&mut Executor) -> R) -> R {
    NOW.with(|now| visit(&mut now.executor.borrow_mut()))
}

/// The timers of the same runtime.
#[inline(always)]
pub(crate) fn timers<R>(visit: impl FnOnce(&mut Timers) -> R) -> R {
    executor(|executor| visit(&mut executor.timers))
}

// ---- the poll that goes on --------------------------------------------------------------------

/// The number of the waker that the last poll was given; `NONE` between turns.
#[inline]
pub(crate) fn number() -> Number {
    NOW.with(|now| now.number.get())
}

/// The poll that goes on has left its number with a source; and whether it has.
pub(crate) fn leave_number() {
    NOW.with(|now| now.left.set(true));
}

pub(crate) fn has_left_number() -> bool {
    NOW.with(|now| now.left.get())
}

/// Every leaf future (one that waits for something itself, and not for other futures) asks this before it tries
/// anything. `Pending` when the budget is used up: it is woken already, and its task goes to the back of the queue.
#[inline]
pub(crate) fn poll_budget(cx: &Context<'_>) -> Poll<()> {
    NOW.with(|now| if now.budget.get() > 0 { Poll::Ready(()) } else { now.used_up(cx) })
}

/// Whether a poll goes on that has nothing left to spend.
pub(crate) fn is_used_up() -> bool {
    NOW.with(|now| now.number.get() != Number::NONE && now.budget.get() <= 0)
}

/// Every leaf future that is ready spends one operation, whatever came of it.
#[inline]
pub(crate) fn spend() {
    NOW.with(|now| now.budget.set(now.budget.get().wrapping_sub(1)));
}

/// Something was written, or a letter came. It is asked for by [`has_talked`], before the loop waits.
#[inline]
pub(crate) fn talks() {
    NOW.with(|now| now.talked.set(true));
}

/// Whether there was any talk since this was asked last.
pub(crate) fn has_talked() -> bool {
    NOW.with(|now| now.talked.replace(false))
}

/// Lets the others go first when the budget is used up, and spends one operation.
pub(crate) async fn operation() {
    poll_fn(|cx| poll_budget(cx)).await;
    spend();
}

/// An error that comes at once is an operation as well: whoever tries again and again lets the others go.
pub(crate) async fn failed<T>(error: io::Error) -> io::Result<T> {
    operation().await;
    Err(error)
}

/// For who polls many tasks, to look here once.
#[inline(always)]
pub(crate) fn with<R>(visit: impl FnOnce(&Now) -> R) -> R {
    NOW.with(visit)
}

impl Now {
    /// A poll begins, with a new budget: of what has the waker `number`.
    #[inline(always)]
    pub(crate) fn begin_poll(&self, number: Number, limit: i32) {
        self.number.set(number);
        self.budget.set(limit);
        if cfg!(debug_assertions) {
            self.left.set(false);
        }
    }

    fn renew_budget(&self) {
        self.budget.set(self.executor.borrow().limit);
    }

    #[cold]
    fn used_up(&self, cx: &Context<'_>) -> Poll<()> {
        if self.number.get() == Number::NONE {
            // Outside of any poll of ours there is nobody to let go first.
            self.renew_budget();
            return Poll::Ready(());
        }
        if cx.waker().data().addr() as u64 != self.number.get().to_bits() {
            // Polled by another executor inside our task: it does not know that only a new poll of *our*
            // task brings a new budget, and would poll for ever. One `Pending` is enough.
            self.renew_budget();
        }
        self.executor.borrow_mut().counts.budget_yields += 1;
        trace!(Budget {});
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// ---- from one runtime to the next -------------------------------------------------------------

/// Takes the executor that is lent to this thread back, and lends it another, or none.
pub(crate) fn exchange(lent: Option<Executor>) -> Executor {
    executor(|executor| mem::replace(executor, lent.unwrap_or(NOBODYS)))
}

/// Makes the runtime current whose executor is lent, or with 0 none.
#[inline]
pub(crate) fn set_runtime(id: u32) {
    NOW.with(|now| now.runtime.set(id));
}

/// The poll that goes on around a change of runtimes. Apart from that, since entering the runtime that is
/// current already changes this and nothing else.
pub(crate) struct Outer {
    number: Number,
    budget: i32,
}

pub(crate) fn suspend_poll() -> Outer {
    NOW.with(|now| Outer { number: now.number.replace(Number::NONE), budget: now.budget.get() })
}

pub(crate) fn resume_poll(outer: &Outer) {
    NOW.with(|now| {
        now.number.set(outer.number);
        now.budget.set(outer.budget);
    });
}

/// Marks this thread as running a loop of ours, and says whether it was already.
pub(crate) fn set_blocking(blocking: bool) -> bool {
    NOW.with(|now| now.blocking.replace(blocking))
}
