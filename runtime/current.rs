//! Whose turn it is on this thread: which runtime, which task, how much budget the task has left, and
//! the ready queue. Knows no waker and polls nothing.
//!
//! A runtime *lends* its ready queue to its thread while it is current, and takes it back after. That
//! is how a wake reaches the queue without knowing the executor: it looks here, compares one number,
//! and pushes. All of it has no destructor, so it is there as long as the thread is.

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::task::{Context, Poll};

/// Tells a root future from a task where a task's index would stand.
pub(crate) const ROOT: u32 = u32::MAX;

struct Now {
    /// 0 when no runtime is current.
    runtime: Cell<u16>,
    /// The number of the waker that the poll in progress was given; 0 between polls.
    number: Cell<u64>,
    /// The id of the task being polled; 0 for a root.
    task: Cell<u64>,
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
            task: Cell::new(0),
            budget: Cell::new(0),
            limit: Cell::new(i32::MAX),
            root: Cell::new(false),
            blocking: Cell::new(false),
            budget_yields: Cell::new(0),
            queue: RefCell::new(ManuallyDrop::new(Queue::new())),
        }
    };
}

/// The tasks that were woken and not yet polled, in the order of their wakes.
struct Queue {
    ready: Vec<Entry>,
    /// By task index. A dense table of its own, so that a wake touches four bytes, not a task.
    marks: Vec<Mark>,
    /// The list of the last turn, empty again: two take turns, so that neither is ever allocated anew.
    spare: Vec<Entry>,
    wakes: u64,
}

/// Which task was queued. One that ends while it is queued leaves its entry behind, which then fits none.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) index: u32,
    generation: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    generation: u16,
    state: MarkState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum MarkState {
    /// No task has this index.
    Vacant,
    /// The task is waiting or being polled: a wake makes it ready.
    Waiting,
    /// The task is in the queue: another wake changes nothing.
    Queued,
}

impl Queue {
    const fn new() -> Queue {
        Queue { ready: Vec::new(), marks: Vec::new(), spare: Vec::new(), wakes: 0 }
    }
}

/// Makes a new task known, and ready.
pub(crate) fn admit(index: u32, generation: u16) {
    NOW.with(|now| {
        let mut queue = now.queue.borrow_mut();
        let mark = Mark { generation, state: MarkState::Queued };
        match queue.marks.get_mut(index as usize) {
            Some(vacant) => *vacant = mark,
            // Indices are handed out without gaps.
            None => queue.marks.push(mark),
        }
        queue.ready.push(Entry { index, generation });
    });
}

/// The task has ended: its wakers reach nothing from now on.
pub(crate) fn forget(index: u32) {
    NOW.with(|now| {
        if let Some(mark) = now.queue.borrow_mut().marks.get_mut(index as usize) {
            mark.state = MarkState::Vacant;
        }
    });
}

/// A wake of a task of the current runtime. For one that has ended, or is queued already, nothing.
#[inline]
pub(crate) fn schedule(index: u32, generation: u16) {
    NOW.with(|now| {
        let queue = &mut **now.queue.borrow_mut();
        let waiting = Mark { generation, state: MarkState::Waiting };
        match queue.marks.get_mut(index as usize) {
            Some(mark) if *mark == waiting => mark.state = MarkState::Queued,
            // No task has the root's index, so its wakes come by here. Its generation is not
            // compared: a late wake costs a poll, which the contract allows.
            None if index == ROOT => return now.root.set(true),
            _ => return,
        }
        queue.ready.push(Entry { index, generation });
        queue.wakes += 1;
    });
}

/// What is ready now, to be polled in this order: the list of a turn. What is woken from here on waits.
#[inline]
pub(crate) fn take_ready() -> Vec<Entry> {
    NOW.with(|now| {
        let queue = &mut **now.queue.borrow_mut();
        mem::replace(&mut queue.ready, mem::take(&mut queue.spare))
    })
}

/// Whether the task of `entry` is still to be polled. A wake from now on queues it again.
#[inline]
pub(crate) fn unqueue(entry: Entry) -> bool {
    let queued = Mark { generation: entry.generation, state: MarkState::Queued };
    NOW.with(|now| match now.queue.borrow_mut().marks.get_mut(entry.index as usize) {
        Some(mark) if *mark == queued => {
            mark.state = MarkState::Waiting;
            true
        }
        _ => false,
    })
}

/// Gives a turn's list back: its memory, and what was not polled of it, which goes before what has
/// been woken since.
#[inline]
pub(crate) fn give_back(mut list: Vec<Entry>, polled: usize) {
    NOW.with(|now| {
        let queue = &mut **now.queue.borrow_mut();
        if polled < list.len() {
            queue.ready.splice(0..0, list.drain(polled..));
        }
        list.clear();
        if list.capacity() <= KEPT || list.capacity() < 64 * polled {
            queue.spare = list;
        }
    });
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

/// What has room for no more tasks than this keeps it. A turn's list keeps it as long as more than one
/// in 64 places is used.
const KEPT: usize = 64;

/// The runtime whose turn it is on this thread; 0 when there is none.
#[inline]
pub(crate) fn runtime() -> u16 {
    NOW.with(|now| now.runtime.get())
}

/// The id of the task that is being polled; 0 outside.
pub(crate) fn task() -> u64 {
    NOW.with(|now| now.task.get())
}

/// A poll begins: of the task `task`, which has the waker `number`.
#[inline]
pub(crate) fn begin_poll(number: u64, task: u64) {
    NOW.with(|now| {
        now.number.set(number);
        now.task.set(task);
        now.budget.set(now.limit.get());
    });
}

#[inline]
pub(crate) fn end_poll() {
    NOW.with(|now| {
        now.number.set(0);
        now.task.set(0);
    });
}

/// Every leaf future asks this before it tries anything. `Pending` when the budget is used up: the
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
    NOW.with(|now| now.budget.set(now.budget.get() - 1));
}

/// What a runtime lends to its thread.
pub(crate) struct Lent {
    runtime: u16,
    limit: i32,
    root: bool,
    budget_yields: u64,
    queue: Queue,
}

impl Lent {
    /// For a runtime that gives each poll a budget of `limit` operations.
    pub(crate) fn new(runtime: u16, limit: i32) -> Lent {
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

/// Whether the task `index` of the current runtime is queued.
pub(crate) fn is_queued(index: u32) -> bool {
    NOW.with(|now| {
        let queue = now.queue.borrow();
        queue.marks.get(index as usize).is_some_and(|mark| mark.state == MarkState::Queued)
    })
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

/// The poll that goes on around a change of runtimes.
pub(crate) struct Outer {
    number: u64,
    task: u64,
    budget: i32,
}

pub(crate) fn suspend_poll() -> Outer {
    NOW.with(|now| Outer {
        number: now.number.replace(0),
        task: now.task.replace(0),
        budget: now.budget.get(),
    })
}

pub(crate) fn resume_poll(outer: Outer) {
    NOW.with(|now| {
        now.number.set(outer.number);
        now.task.set(outer.task);
        now.budget.set(outer.budget);
    });
}

/// Marks this thread as blocked in `block_on`, and says whether it was already.
pub(crate) fn set_blocking(blocking: bool) -> bool {
    NOW.with(|now| now.blocking.replace(blocking))
}
