//! Turns the clock into wakes. Knows no task and no socket, and does not read the clock itself.
//!
//! ```text
//! Key ──► slots[key] { deadline, waker }      heap: (deadline, order) ► the earliest on top
//! ```
//!
//! The heap is never searched. A timer that is cancelled, or moved to an earlier time, leaves its old
//! entry behind, which says nothing when it comes up. When more than half of the entries are such they are swept: in the
//! next turn, or before the heap would have to grow; and all of them when no timer is left. A timer that is moved to a
//! *later* time, which is what an idle timeout does at every request, writes its slot and nothing else: when the time of
//! the old entry has come, the timer is entered anew. So the loop may look up for nothing once in a minute, for a timer
//! that is set for a minute and moved all the time.

use crate::number::Number;
use crate::slab::{Key, Slab};
use crate::waker::{drop_contained, wake_contained};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::panic::Location;
use std::task::Waker;
use std::time::Instant;

pub(crate) struct Timers {
    inner: RefCell<Inner>,
    /// The number of slots, beside the borrow: most turns only ask whether there are any.
    alive: Cell<usize>,
}

struct Inner {
    slots: Slab<Timer>,
    heap: BinaryHeap<Entry>,
    /// Entries of the heap that no slot refers to any more.
    stale: usize,
    /// Counts settings, so that equal deadlines fire in the order in which they were set.
    order: u64,
    fired: u64,
}

struct Timer {
    deadline: Instant,
    order: u64,
    /// The `order` of this timer's entry in the heap. Older than its own after a move to a later time.
    entry: u64,
    waker: Waker,
    at: &'static Location<'static>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    deadline: Instant,
    order: u64,
    index: u32,
}

/// The earliest is the greatest, which a heap of std's has on top. No two have one order, so the index is not compared.
impl Ord for Entry {
    #[inline]
    fn cmp(&self, other: &Entry) -> Ordering {
        other.deadline.cmp(&self.deadline).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    #[inline]
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Timers {
    pub(crate) fn new() -> Timers {
        let (slots, heap) = (Slab::new(), BinaryHeap::new());
        let inner = Inner { slots, heap, stale: 0, order: 0, fired: 0 };
        Timers { inner: RefCell::new(inner), alive: Cell::new(0) }
    }

    #[inline]
    pub(crate) fn alive(&self) -> usize {
        self.alive.get()
    }

    pub(crate) fn fired(&self) -> u64 {
        self.inner.borrow().fired
    }

    /// Wakes `waker` once `deadline` has passed.
    pub(crate) fn insert(
        &self,
        deadline: Instant,
        waker: Waker,
        at: &'static Location<'static>,
    ) -> Key {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.order += 1;
        let order = inner.order;
        trace!(TimerSet { key: inner.slots.next_key(), of: Number::behind(&waker), deadline, at });
        let key = inner.slots.insert(Timer { deadline, order, entry: order, waker, at });
        inner.enter(Entry { deadline, order, index: key.index });
        self.alive.set(inner.slots.len());
        key
    }

    /// Whether the timer will wake `waker`, if it still waits.
    #[inline]
    pub(crate) fn has(&self, key: Key, waker: &Waker) -> Option<bool> {
        self.inner.borrow().slots.get(key).map(|timer| timer.waker.will_wake(waker))
    }

    /// Whether the timer still waits. If so, it will wake `waker` from now on.
    pub(crate) fn is_waiting(&self, key: Key, waker: &Waker) -> bool {
        // Cloned and dropped outside of the borrow: a foreign one is the user's code.
        let mut waker = waker.clone();
        let mut inner = self.inner.borrow_mut();
        let timer = inner.slots.get_mut(key);
        let waits = timer.map(|timer| std::mem::swap(&mut timer.waker, &mut waker)).is_some();
        drop(inner);
        drop_contained(waker);
        waits
    }

    /// Moves a timer that still waits. `false` when it has fired.
    #[inline]
    pub(crate) fn reset(&self, key: Key, deadline: Instant) -> bool {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let Some(timer) = inner.slots.get_mut(key) else { return false };
        if deadline <= timer.deadline {
            inner.move_earlier(key, deadline);
            return true;
        }
        trace!(TimerMoved { key, deadline });
        inner.order += 1;
        (timer.deadline, timer.order) = (deadline, inner.order);
        true
    }

    /// Takes the timer out, and gives back its waker for the caller to drop.
    #[inline(always)]
    pub(crate) fn remove(&self, key: Key) -> Option<Waker> {
        let mut inner = self.inner.borrow_mut();
        let timer = inner.slots.remove(key)?;
        trace!(TimerCancelled { key });
        inner.stale += 1;
        if inner.slots.len() == 0 {
            inner.clear();
        }
        self.alive.set(inner.slots.len());
        Some(timer.waker)
    }

    /// When to look for timers that are due: at the earliest deadline, or before, if a timer was moved since to a later time.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.alive() == 0 {
            return None;
        }
        self.inner.borrow_mut().next()
    }

    /// The earliest deadline, also when timers were moved: what a foreign loop is told.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        let mut inner = self.inner.borrow_mut();
        loop {
            let next = inner.next()?;
            let top = *inner.heap.peek()?;
            if inner.slots.at_mut(top.index)?.deadline == next {
                return Some(next);
            }
            inner.heap.pop();
            let _moved = inner.expire(top);
        }
    }

    /// Wakes the timers whose deadline is not after `now`, in the order of their deadlines.
    pub(crate) fn fire(&self, now: Instant) {
        let mut due = Vec::new();
        let mut inner = self.inner.borrow_mut();
        while inner.next().is_some_and(|next| next <= now) {
            if let Some(top) = inner.heap.pop() {
                due.extend(inner.expire(top));
            }
        }
        self.alive.set(inner.slots.len());
        inner.tidy();
        drop(inner);
        due.into_iter().for_each(wake_contained);
    }

    /// Shows every timer: who waits, until when, and where.
    pub(crate) fn for_each(
        &self,
        mut show: impl FnMut(Option<Number>, Instant, &'static Location<'static>),
    ) {
        for (_, timer) in self.inner.borrow().slots.iter() {
            show(Number::behind(&timer.waker), timer.deadline, timer.at);
        }
    }

    /// The wakers of all timers, for the caller to drop.
    pub(crate) fn clear(&self) -> Vec<Waker> {
        let mut inner = self.inner.borrow_mut();
        let keys: Vec<Key> = inner.slots.iter().map(|(key, _)| key).collect();
        let timers = keys.into_iter().filter_map(|key| inner.slots.remove(key));
        let wakers = timers.map(|timer| timer.waker).collect();
        inner.clear();
        self.alive.set(0);
        wakers
    }
}

impl Inner {
    /// The time of the first entry that a timer has.
    fn next(&mut self) -> Option<Instant> {
        loop {
            let top = *self.heap.peek()?;
            match self.slots.at_mut(top.index) {
                Some(timer) if timer.entry == top.order => return Some(top.deadline),
                _ => {
                    self.heap.pop();
                    self.stale -= 1;
                }
            }
        }
    }

    /// The time of `entry` has come, and it is out of the heap: so is its timer, unless that was moved.
    fn expire(&mut self, entry: Entry) -> Option<Waker> {
        let timer = self.slots.at_mut(entry.index)?;
        if timer.deadline == entry.deadline {
            self.fired += 1;
            trace!(TimerFired { index: entry.index });
            return self.slots.remove_at(entry.index).map(|timer| timer.waker);
        }
        timer.entry = timer.order;
        let (deadline, order) = (timer.deadline, timer.order);
        self.enter(Entry { deadline, order, ..entry });
        None
    }

    /// Where a timer is moved to its own deadline, that is no move: it keeps its place among its equals.
    #[cold]
    #[inline(never)]
    fn move_earlier(&mut self, key: Key, deadline: Instant) {
        let Some(timer) = self.slots.get_mut(key).filter(|timer| deadline < timer.deadline) else {
            return;
        };
        trace!(TimerMoved { key, deadline });
        self.order += 1;
        (timer.deadline, timer.order, timer.entry) = (deadline, self.order, self.order);
        self.stale += 1;
        self.enter(Entry { deadline, order: self.order, index: key.index });
    }

    #[inline]
    fn enter(&mut self, entry: Entry) {
        if self.heap.len() == self.heap.capacity() {
            self.tidy();
        }
        self.heap.push(entry);
    }

    /// Keeps the heap at most twice as long as the list of timers, or 64 longer, and gives back the room of a burst.
    #[inline]
    fn tidy(&mut self) {
        if self.stale > 64 && self.stale > self.slots.len() {
            self.sweep();
        }
        if self.heap.capacity() > 4 * self.heap.len() + 256 {
            self.shrink();
        }
    }

    #[cold]
    #[inline(never)]
    fn shrink(&mut self) {
        self.heap.shrink_to(2 * self.heap.len());
    }

    #[cold]
    #[inline(never)]
    fn sweep(&mut self) {
        let slots = &mut self.slots;
        self.heap.retain(|entry| {
            slots.at_mut(entry.index).is_some_and(|timer| timer.entry == entry.order)
        });
        self.stale = 0;
    }

    /// No timer is left, so no entry says anything.
    #[inline]
    fn clear(&mut self) {
        self.heap.clear();
        self.stale = 0;
        self.tidy();
    }
}

#[cfg(test)]
#[path = "../tests/inner/timers.rs"]
mod tests;
