//! Whose turn it is on this thread: which runtime, which task, how much budget the task has left, and
//! the ready queue. Knows no executor and no mailbox, and polls nothing.
//!
//! A runtime *lends* its ready queue to its thread while it is current, and takes it back after. That
//! is how a wake reaches the queue without knowing the executor: it looks here, compares one number,
//! and pushes. All of it has no destructor, so it is there as long as the thread is.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem::{self, ManuallyDrop};
use std::task::{Context, Poll};

/// Tells a root future from a task where a task's index would stand.
pub(crate) const ROOT: u32 = u32::MAX;

struct Now {
    /// 0 when no runtime is current.
    runtime: Cell<u32>,
    /// The number of the waker that the last poll was given; 0 between turns.
    number: Cell<u64>,
    /// I/O operations that are left to this poll. Below one it is used up.
    budget: Cell<i32>,
    limit: Cell<i32>,
    /// The root was woken.
    root: Cell<bool>,
    /// This thread is inside `block_on`.
    blocking: Cell<bool>,
    budget_yields: Cell<u64>,
    queue: RefCell<ManuallyDrop<Queue>>,
}

thread_local! {
    static NOW: Now = const {
        Now {
            runtime: Cell::new(0),
            number: Cell::new(0),
            budget: Cell::new(0),
            limit: Cell::new(i32::MAX),
            root: Cell::new(false),
            blocking: Cell::new(false),
            budget_yields: Cell::new(0),
            queue: RefCell::new(ManuallyDrop::new(Queue::new())),
        }
    };
}

/// The tasks that were woken and not yet polled, in the order of their wakes. By the numbers of their wakers.
struct Queue {
    /// The order of polling is decided here: `admit` and `schedule` put in, behind; `unqueue` looks up.
    ready: Vec<u64>,
    /// By task index, in a dense table of its own, so that a wake touches eight bytes, not a task:
    ///
    /// ```text
    ///  n   the task with the number n waits, or is being polled: a wake queues it
    /// !n   it is queued: a wake changes nothing
    ///  0   there is no task
    /// ```
    marks: Vec<u64>,
    wakes: u64,
}

impl Queue {
    const fn new() -> Queue {
        Queue { ready: Vec::new(), marks: Vec::new(), wakes: 0 }
    }

    #[inline]
    fn mark(&mut self, number: u64) -> Option<&mut u64> {
        self.marks.get_mut(number as u32 as usize)
    }
}

/// Makes a new task known, and ready.
pub(crate) fn admit(number: u64) {
    NOW.with(|now| {
        let mut queue = now.queue.borrow_mut();
        match queue.mark(number) {
            Some(mark) => *mark = !number,
            None => {
                // A new index is the next one, unless the marks were given back in between.
                queue.marks.resize(number as u32 as usize, 0);
                queue.marks.push(!number);
            }
        }
        queue.ready.push(number);
    });
}

/// The task has ended: its wakers reach nothing from now on.
pub(crate) fn forget(number: u64) {
    NOW.with(|now| {
        if let Some(mark) = now.queue.borrow_mut().mark(number) {
            *mark = 0;
        }
    });
}

/// A wake of a task of the current runtime. For one that has ended, or is queued already, nothing.
#[inline(always)]
pub(crate) fn schedule(number: u64) {
    NOW.with(|now| {
        let queue = &mut **now.queue.borrow_mut();
        match queue.mark(number) {
            Some(mark) if *mark == number => *mark = !number,
            // No task has the root's index, so its wakes come by here. Its generation is not
            // compared: a late wake costs a poll, which the contract allows.
            None if number as u32 == ROOT => return now.root.set(true),
            _ => return,
        }
        queue.ready.push(number);
        queue.wakes += 1;
    });
}

/// The index of the task that stands at `place` in the ready queue, if it is still to be polled there: it may
/// have ended meanwhile. A wake from now on queues it again, behind.
#[inline]
pub(crate) fn unqueue(place: usize) -> Option<u32> {
    NOW.with(|now| {
        let queue = &mut **now.queue.borrow_mut();
        let number = *queue.ready.get(place)?;
        match queue.mark(number) {
            Some(mark) if *mark == !number => *mark = number,
            _ => return None,
        }
        Some(number as u32)
    })
}

/// A turn is over: takes its entries, which are the first `count`, out of the ready queue. Returns how many are left.
#[inline]
pub(crate) fn advance(count: usize) -> usize {
    NOW.with(|now| {
        let ready = &mut now.queue.borrow_mut().ready;
        if count == ready.len() {
            ready.clear();
        } else {
            ready.drain(..count);
        }
        ready.len()
    })
}

/// How many entries the ready queue has; at least as many as tasks are ready.
#[inline]
pub(crate) fn ready() -> usize {
    NOW.with(|now| now.queue.borrow().ready.len())
}

#[inline]
pub(crate) fn is_root_woken() -> bool {
    NOW.with(|now| now.root.get())
}

/// Whether the root was woken since the last call.
pub(crate) fn take_root() -> bool {
    NOW.with(|now| now.root.replace(false))
}

/// No task is left: gives back the memory of a burst, if there was one.
pub(crate) fn shrink() {
    NOW.with(|now| {
        let mut queue = now.queue.borrow_mut();
        if queue.marks.len() > KEPT && queue.ready.is_empty() {
            **queue = Queue { wakes: queue.wakes, ..Queue::new() };
        }
    });
}

/// A queue that has known no more tasks than this keeps its room.
const KEPT: usize = 64;

/// The runtime whose turn it is on this thread; 0 when there is none.
#[inline]
pub(crate) fn runtime() -> u32 {
    NOW.with(|now| now.runtime.get())
}

/// The number of the waker that the last poll was given; 0 between turns.
pub(crate) fn number() -> u64 {
    NOW.with(|now| now.number.get())
}

/// A poll begins, with a new budget: of what has the waker `number`.
#[inline]
pub(crate) fn begin_poll(number: u64) {
    NOW.with(|now| {
        now.number.set(number);
        now.budget.set(now.limit.get());
    });
}

#[inline]
pub(crate) fn end_poll() {
    NOW.with(|now| now.number.set(0));
}

/// Every leaf future (one that waits for something itself, and not for other futures) asks this before it
/// tries anything. `Pending` when the budget is used up: the
/// future is woken already, and its task goes to the back of the queue.
#[inline]
pub(crate) fn poll_budget(cx: &Context<'_>) -> Poll<()> {
    NOW.with(|now| if now.budget.get() > 0 { Poll::Ready(()) } else { used_up(now, cx) })
}

#[cold]
fn used_up(now: &Now, cx: &Context<'_>) -> Poll<()> {
    if now.number.get() == 0 {
        // Outside of any poll of ours there is nobody to let go first.
        now.budget.set(now.limit.get());
        return Poll::Ready(());
    }
    if cx.waker().data().addr() as u64 != now.number.get() {
        // Polled by another executor inside our task: it does not know that only a new poll of *our*
        // task brings a new budget, and would poll for ever. One `Pending` is enough.
        now.budget.set(now.limit.get());
    }
    now.budget_yields.set(now.budget_yields.get() + 1);
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Whether a poll goes on that has nothing left to spend.
pub(crate) fn is_used_up() -> bool {
    NOW.with(|now| now.number.get() != 0 && now.budget.get() <= 0)
}

/// Every leaf future that is ready spends one operation, whatever came of it.
#[inline]
pub(crate) fn spend() {
    NOW.with(|now| now.budget.set(now.budget.get().wrapping_sub(1)));
}

/// Lets the others go first when the budget is used up, and spends one operation.
pub(crate) async fn operation() {
    poll_fn(|cx| poll_budget(cx)).await;
    spend();
}

/// What a runtime lends to its thread.
pub(crate) struct Lent {
    runtime: u32,
    limit: i32,
    root: bool,
    budget_yields: u64,
    queue: Queue,
}

impl Lent {
    /// For a runtime that gives each poll a budget of `limit` operations.
    pub(crate) fn new(runtime: u32, limit: i32) -> Lent {
        Lent { runtime, limit, root: false, budget_yields: 0, queue: Queue::new() }
    }

    fn none() -> Lent {
        Lent::new(0, i32::MAX)
    }
}

/// How many wakes made a task ready, and how often a budget was used up: of the current runtime.
pub(crate) fn counts() -> (u64, u64) {
    NOW.with(|now| (now.queue.borrow().wakes, now.budget_yields.get()))
}

/// Whether the task with the waker `number`, of the current runtime, is queued.
pub(crate) fn is_queued(number: u64) -> bool {
    NOW.with(|now| now.queue.borrow_mut().mark(number).is_some_and(|mark| *mark == !number))
}

/// Takes what is lent to this thread back, and lends it something else, or nothing.
pub(crate) fn exchange(lent: Option<Lent>) -> Lent {
    let lent = lent.unwrap_or_else(Lent::none);
    NOW.with(|now| {
        now.budget.set(lent.limit);
        Lent {
            runtime: now.runtime.replace(lent.runtime),
            limit: now.limit.replace(lent.limit),
            root: now.root.replace(lent.root),
            budget_yields: now.budget_yields.replace(lent.budget_yields),
            queue: mem::replace(&mut **now.queue.borrow_mut(), lent.queue),
        }
    })
}

/// The poll that goes on around a change of runtimes. Apart from `Lent`, since entering the runtime that is
/// current already changes this and nothing else.
pub(crate) struct Outer {
    number: u64,
    budget: i32,
}

pub(crate) fn suspend_poll() -> Outer {
    NOW.with(|now| Outer { number: now.number.replace(0), budget: now.budget.get() })
}

pub(crate) fn resume_poll(outer: Outer) {
    NOW.with(|now| {
        now.number.set(outer.number);
        now.budget.set(outer.budget);
    });
}

/// Marks this thread as blocked in `block_on`, and says whether it was already.
pub(crate) fn set_blocking(blocking: bool) -> bool {
    NOW.with(|now| now.blocking.replace(blocking))
}
