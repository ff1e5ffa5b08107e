//! Who is to be woken when. Knows no task and no socket, does not read the clock, and runs nobody's code: it hands wakers out,
//! and whoever gets them wakes and drops (`park.rs`, `time.rs`, and at the end `runtime.rs`).
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
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::mem;
use std::panic::Location;
use std::task::Waker;
use std::time::Instant;

pub(crate) struct Timers {
    slots: Slab<Timer>,
    heap: BinaryHeap<Entry>,
    /// Entries of the heap that no slot refers to any more.
    stale: usize,
    /// Counts settings, so that equal deadlines fire in the order in which they were set.
    order: u64,
    pub(crate) fired: u64,
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
    pub(crate) const fn new() -> Timers {
        Timers { slots: Slab::new(), heap: BinaryHeap::new(), stale: 0, order: 0, fired: 0 }
    }

    #[inline]
    pub(crate) fn alive(&self) -> usize {
        self.slots.len()
    }

    /// Wakes `waker` once `deadline` has passed.
    #[inline(always)]
    pub(crate) fn insert(
        &mut self,
        deadline: Instant,
        waker: Waker,
        at: &'static Location<'static>,
    ) -> Key {
        self.order += 1;
        let order = self.order;
        trace!(TimerSet { key: self.slots.next_key(), of: Number::behind(&waker), deadline, at });
        let key = self.slots.insert(Timer { deadline, order, entry: order, waker, at });
        self.enter(Entry { deadline, order, index: key.index });
        key
    }

    /// Whether the timer will wake `waker`, if it still waits.
    #[inline(always)]
    pub(crate) fn has(&self, key: Key, waker: &Waker) -> Option<bool> {
        self.slots.get(key).map(|timer| timer.waker.will_wake(waker))
    }

    /// Whether the timer still waits. If so, it will wake `waker` from now on. Gives back the one that is not needed.
    pub(crate) fn keep(&mut self, key: Key, waker: Waker) -> (bool, Waker) {
        match self.slots.get_mut(key) {
            Some(timer) => (true, mem::replace(&mut timer.waker, waker)),
            None => (false, waker),
        }
    }

    /// Moves a timer that still waits. `false` when it has fired.
    #[inline(always)]
    pub(crate) fn reset(&mut self, key: Key, deadline: Instant) -> bool {
        let Some(timer) = self.slots.get_mut(key) else { return false };
        if deadline <= timer.deadline {
            self.move_earlier(key, deadline);
            return true;
        }
        trace!(TimerMoved { key, deadline });
        self.order += 1;
        (timer.deadline, timer.order) = (deadline, self.order);
        true
    }

    /// Takes the timer out, and gives back its waker for the caller to drop.
    #[inline(always)]
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        let timer = self.slots.remove(key)?;
        trace!(TimerCancelled { key });
        self.stale += 1;
        if self.slots.len() == 0 {
            self.forget_entries();
        }
        Some(timer.waker)
    }

    /// When to look for timers that are due: at the earliest deadline, or before, if a timer was moved since to a later time.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Instant> {
        if self.alive() == 0 { None } else { self.tidy_and_first() }
    }

    /// Asked for once a turn, so this is where a burst of timers that were given up is swept.
    #[inline(never)]
    fn tidy_and_first(&mut self) -> Option<Instant> {
        self.tidy();
        self.first()
    }

    /// The time of the first entry that a timer has.
    fn first(&mut self) -> Option<Instant> {
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

    /// The earliest deadline, also when timers were moved: what a foreign loop is told.
    pub(crate) fn earliest(&mut self) -> Option<Instant> {
        loop {
            let next = self.first()?;
            let top = *self.heap.peek()?;
            if self.slots.at_mut(top.index)?.deadline == next {
                return Some(next);
            }
            self.heap.pop();
            let _moved = self.expire(top);
        }
    }

    /// Takes out the timers whose deadline is not after `now`: whom to wake, in the order of their deadlines.
    pub(crate) fn fire(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while self.first().is_some_and(|first| first <= now) {
            if let Some(top) = self.heap.pop() {
                due.extend(self.expire(top));
            }
        }
        self.tidy();
        due
    }

    /// Shows every timer: who waits, until when, and where.
    pub(crate) fn for_each(
        &self,
        mut show: impl FnMut(Option<Number>, Instant, &'static Location<'static>),
    ) {
        for (_, timer) in self.slots.iter() {
            show(Number::behind(&timer.waker), timer.deadline, timer.at);
        }
    }

    /// Takes out all timers: their wakers, for the caller to drop.
    pub(crate) fn clear(&mut self) -> Vec<Waker> {
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        let timers = keys.into_iter().filter_map(|key| self.slots.remove(key));
        let wakers = timers.map(|timer| timer.waker).collect();
        self.forget_entries();
        wakers
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
    fn forget_entries(&mut self) {
        self.heap.clear();
        self.stale = 0;
        self.tidy();
    }
}

#[cfg(test)]
#[path = "../tests/inner/timers.rs"]
mod tests;
