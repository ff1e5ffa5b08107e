//! Whose turn it is on this thread: which runtime, which task, how much budget the task has left,
//! and the ready queue that a wake goes to. Knows no waker and polls nothing.
//!
//! A runtime *lends* its ready queue to its thread while it runs. That is how a wake reaches the
//! queue without knowing the executor: it looks here, compares one number, and pushes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Tells a root future from a task where a task's index would stand.
pub(crate) const ROOT: u32 = u32::MAX;

/// The tasks that were woken and not yet polled, in the order of their wakes.
#[derive(Default)]
pub(crate) struct ReadyQueue {
    queue: RefCell<Queue>,
    root: Cell<bool>,
    pub(crate) wakes: Cell<u64>,
    pub(crate) budget_yields: Cell<u64>,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<u32>,
    /// By task index. A dense table of its own, so that a wake touches four bytes, not a task.
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    generation: u16,
    state: MarkState,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
enum MarkState {
    /// No task has this index.
    #[default]
    Vacant,
    /// The task is waiting or being polled: a wake makes it ready.
    Waiting,
    /// The task is in the queue: another wake changes nothing.
    Queued,
}

impl ReadyQueue {
    /// Makes a new task known, and ready.
    pub(crate) fn admit(&self, index: u32, generation: u16) {
        let mut queue = self.queue.borrow_mut();
        if queue.marks.len() <= index as usize {
            queue.marks.resize(index as usize + 1, Mark::default());
        }
        queue.marks[index as usize] = Mark { generation, state: MarkState::Queued };
        queue.order.push_back(index);
    }

    /// The task has ended: its wakers reach nothing from now on.
    pub(crate) fn forget(&self, index: u32) {
        if let Some(mark) = self.queue.borrow_mut().marks.get_mut(index as usize) {
            mark.state = MarkState::Vacant;
        }
    }

    /// A wake. For a task that has ended, or is queued already, nothing.
    #[inline]
    pub(crate) fn schedule(&self, index: u32, generation: u16) {
        if index == ROOT {
            // A generation is not compared: a late wake costs a poll, which the contract allows.
            self.root.set(true);
            return;
        }
        let mut queue = self.queue.borrow_mut();
        let waiting = Mark { generation, state: MarkState::Waiting };
        match queue.marks.get_mut(index as usize) {
            Some(mark) if *mark == waiting => mark.state = MarkState::Queued,
            _ => return,
        }
        queue.order.push_back(index);
        self.wakes.set(self.wakes.get() + 1);
    }

    /// The next task to poll. A wake from now on queues it again.
    #[inline]
    pub(crate) fn pop(&self) -> Option<u32> {
        let mut queue = self.queue.borrow_mut();
        loop {
            let index = queue.order.pop_front()?;
            // A task can end while it is queued, and its index go to another: an entry counts once.
            if let Some(mark) =
                queue.marks.get_mut(index as usize).filter(|mark| mark.state == MarkState::Queued)
            {
                mark.state = MarkState::Waiting;
                return Some(index);
            }
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.queue.borrow().order.len()
    }

    /// Whether `index` is queued.
    pub(crate) fn is_queued(&self, index: u32) -> bool {
        self.queue
            .borrow()
            .marks
            .get(index as usize)
            .is_some_and(|mark| mark.state == MarkState::Queued)
    }

    /// Whether the root was woken since the last call.
    #[inline]
    pub(crate) fn take_root(&self) -> bool {
        self.root.replace(false)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.root.get() && self.queue.borrow().order.is_empty()
    }

    /// Gives back the memory of a burst that is over.
    pub(crate) fn shrink(&self) {
        let mut queue = self.queue.borrow_mut();
        if queue.order.is_empty() && queue.order.capacity() > 1024 {
            queue.order.shrink_to(64);
        }
        if queue.marks.iter().all(|mark| mark.state == MarkState::Vacant) {
            queue.marks = Vec::new();
        }
    }
}

/// No destructor, so that it can be read even while the thread's other locals are being destroyed.
struct Now {
    runtime: Cell<u16>,
    /// The number of the waker that the poll in progress was given; 0 between polls.
    number: Cell<u64>,
    /// The id of the task being polled; 0 for a root.
    task: Cell<u64>,
    budget: Cell<u32>,
    limit: Cell<u32>,
    blocking: Cell<bool>,
}

thread_local! {
    static NOW: Now = const {
        Now {
            runtime: Cell::new(0),
            number: Cell::new(0),
            task: Cell::new(0),
            budget: Cell::new(0),
            limit: Cell::new(u32::MAX),
            blocking: Cell::new(false),
        }
    };
    static LENT: RefCell<Option<Rc<ReadyQueue>>> = const { RefCell::new(None) };
}

/// The runtime whose turn it is on this thread; 0 when there is none.
#[inline]
pub(crate) fn runtime() -> u16 {
    NOW.with(|now| now.runtime.get())
}

/// The id of the task that is being polled; 0 outside.
pub(crate) fn task() -> u64 {
    NOW.with(|now| now.task.get())
}

/// Wakes a task of the current runtime.
#[inline]
pub(crate) fn schedule(index: u32, generation: u16) {
    // No queue is lent only while the thread ends; then nothing is polled any more either.
    let _ = LENT.try_with(|lent| {
        if let Some(ready) = &*lent.borrow() {
            ready.schedule(index, generation);
        }
    });
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
    if cx.waker().data().addr() as u64 != now.number.get() {
        // Polled by another executor inside our task (or by none of ours): it does not know that only a
        // new poll of *our* task brings a new budget, and would poll for ever. One false `Pending` is enough.
        now.budget.set(now.limit.get());
    }
    let _ = LENT.try_with(|lent| {
        if let Some(ready) = &*lent.borrow() {
            ready.budget_yields.set(ready.budget_yields.get() + 1);
        }
    });
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Every leaf future that is ready spends one operation, whatever came of it.
#[inline]
pub(crate) fn spend() {
    NOW.with(|now| now.budget.set(now.budget.get().saturating_sub(1)));
}

/// What `enter` found, to be put back.
pub(crate) struct Before {
    ready: Option<Rc<ReadyQueue>>,
    runtime: u16,
    number: u64,
    task: u64,
    budget: u32,
    limit: u32,
}

/// Lends `ready` to this thread, and gives each poll a budget of `limit` operations.
pub(crate) fn enter(runtime: u16, ready: &Rc<ReadyQueue>, limit: u32) -> Before {
    let before = LENT.try_with(|lent| lent.borrow_mut().replace(ready.clone())).ok().flatten();
    NOW.with(|now| Before {
        ready: before,
        runtime: now.runtime.replace(runtime),
        number: now.number.replace(0),
        task: now.task.replace(0),
        budget: now.budget.replace(limit),
        limit: now.limit.replace(limit),
    })
}

pub(crate) fn leave(before: Before) {
    let _lent = LENT.try_with(|lent| lent.replace(before.ready));
    NOW.with(|now| {
        now.runtime.set(before.runtime);
        now.number.set(before.number);
        now.task.set(before.task);
        now.budget.set(before.budget);
        now.limit.set(before.limit);
    });
}

/// Marks this thread as blocked in `block_on`, and says whether it was already.
pub(crate) fn set_blocking(blocking: bool) -> bool {
    NOW.with(|now| now.blocking.replace(blocking))
}
