//! Who is to be woken when. Knows no task and no socket, does not read the clock, and runs nobody's code: it hands wakers out,
//! and whoever gets them wakes and drops (`park.rs`, `time.rs`, and at the end `runtime.rs`).
//!
//! ```text
//! Key ──► slots[key] { waker } deadline       heap: (deadline, order) ► the earliest on top
//! ```
//!
//! An entry of the heap stands at its timer's deadline or before it; when its time has come and the deadline is later, the timer
//! is entered anew. So a timer that is moved to a *later* time writes its slot and nothing else; and one that is given up leaves
//! its entry to the next timer in its place, if that has the same deadline or one that is a little later. An idle timeout that
//! is moved does the first; one around each read does the second, while requests come close after each other. Then the heap
//! is left alone, and the loop looks up for nothing once in a minute, for a timeout of a minute.
//!
//! The heap is never searched. An entry without a timer says nothing when it comes up. When more than half of all are such they
//! are swept: when a timer is given up, and before the heap would have to grow. (And if no timer is left when the loop looks, they go.)

use crate::number::Number;
use crate::slab::{Key, Slab};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::mem;
use std::panic::Location;
use std::task::Waker;
use std::time::{Duration, Instant};

pub(crate) struct Timers {
    slots: Slab<Timer, Option<Note>>,
    /// One entry for each timer, and entries that no timer has.
    heap: BinaryHeap<Entry>,
    /// Counts settings, so that equal deadlines fire in the order in which they were set.
    order: u64,
    pub(crate) fired: u64,
}

struct Timer {
    order: u64,
    waker: Waker,
    at: &'static Location<'static>,
}

/// Of a place that has an entry in the heap, whether a timer is there or was.
struct Note {
    /// Of the timer, or of the last one. The entry stands there, or before.
    deadline: Instant,
    /// The `order` of the entry. Another than the timer's own if that was moved, or has found the entry here.
    entry: u64,
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
        Timers { slots: Slab::new(), heap: BinaryHeap::new(), order: 0, fired: 0 }
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
        let key = self.slots.insert(Timer { order, waker, at });
        match self.slots.with_note(key) {
            Some((_, Some(note))) if note.serves(deadline) => note.deadline = deadline,
            _ => self.enter(key.index, deadline, order),
        }
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
        match self.slots.with_note(key) {
            Some((timer, Some(note))) if note.deadline < deadline => {
                trace!(TimerMoved { key, deadline });
                self.order += 1;
                (timer.order, note.deadline) = (self.order, deadline);
                true
            }
            Some(_) => {
                self.move_earlier(key, deadline);
                true
            }
            None => false,
        }
    }

    /// Takes the timer out, and gives back its waker for the caller to drop.
    #[inline(always)]
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        let timer = self.slots.remove(key)?;
        trace!(TimerCancelled { key });
        self.tidy();
        Some(timer.waker)
    }

    /// When to look for timers that are due: at the earliest deadline, or before, if a timer has an earlier entry. `None` also if
    /// whoever asks `is_told` of that time.
    #[inline(always)]
    pub(crate) fn next(&mut self, is_told: impl FnOnce(Instant) -> bool) -> Option<Instant> {
        match self.heap.peek() {
            Some(first) if !is_told(first.deadline) => self.first_deadline(),
            _ => None,
        }
    }

    /// Also where no timer is left: the entries go, or would be past by the time of the next timer, and serve it badly.
    #[inline(never)]
    fn first_deadline(&mut self) -> Option<Instant> {
        let first = self.first();
        self.shrink();
        first.map(|first| first.deadline)
    }

    /// The first entry that a timer has.
    fn first(&mut self) -> Option<Entry> {
        loop {
            let top = *self.heap.peek()?;
            if self.slots.keep_or_forget(top) {
                return Some(top);
            }
            self.heap.pop();
        }
    }

    /// The earliest deadline, also where a timer has an earlier entry: what a foreign loop is told.
    pub(crate) fn earliest(&mut self) -> Option<Instant> {
        loop {
            let top = self.first()?;
            if self.slots.place(top.index)?.1.as_ref()?.deadline == top.deadline {
                return Some(top.deadline);
            }
            self.heap.pop();
            let _later = self.expire(top);
        }
    }

    /// Takes out the timers whose deadline is not after `now`: whom to wake, in the order of their deadlines.
    pub(crate) fn fire(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(top) = self.first().filter(|first| first.deadline <= now) {
            self.heap.pop();
            due.extend(self.expire(top));
        }
        self.tidy();
        self.shrink();
        due
    }

    /// Shows every timer: who waits, until when, and where.
    pub(crate) fn for_each(
        &self,
        mut show: impl FnMut(Option<Number>, Instant, &'static Location<'static>),
    ) {
        for (_, timer, note) in self.slots.iter() {
            let Some(Note { deadline, .. }) = note else { unreachable!("it waits") };
            show(Number::behind(&timer.waker), *deadline, timer.at);
        }
    }

    /// Takes out all timers: their wakers, for the caller to drop.
    pub(crate) fn clear(&mut self) -> Vec<Waker> {
        let keys: Vec<Key> = self.slots.iter().map(|(key, ..)| key).collect();
        let timers = keys.into_iter().filter_map(|key| self.slots.remove(key));
        let wakers = timers.map(|timer| timer.waker).collect();
        self.sweep(); // No timer is left: so no entry, and no note of one.
        wakers
    }

    /// The time of `entry` has come, and it is out of the heap: so is its timer, unless that has a later deadline, or
    /// the same and others of its equals come before.
    fn expire(&mut self, entry: Entry) -> Option<Waker> {
        let (timer, note) = self.slots.place(entry.index)?;
        let (order, deadline) = (timer?.order, note.take()?.deadline);
        if order == entry.order {
            self.fired += 1;
            trace!(TimerFired { index: entry.index });
            return self.slots.remove_at(entry.index).map(|timer| timer.waker);
        }
        self.enter(entry.index, deadline, order);
        None
    }

    /// Where a timer is moved to its own deadline, that is no move: it keeps its place among its equals.
    #[cold]
    #[inline(never)]
    fn move_earlier(&mut self, key: Key, deadline: Instant) {
        match self.slots.with_note(key) {
            Some((timer, Some(note))) if deadline < note.deadline => {
                trace!(TimerMoved { key, deadline });
                self.order += 1;
                timer.order = self.order;
                self.enter(key.index, deadline, self.order);
            }
            _ => {}
        }
    }

    /// An entry for the timer in this place. Another one that it has says nothing any more.
    #[inline(never)] // It comes into three places, and a timer that finds an entry needs none.
    fn enter(&mut self, index: u32, deadline: Instant, order: u64) {
        if self.heap.len() == self.heap.capacity() {
            self.tidy();
        }
        if let Some((_, note)) = self.slots.place(index) {
            *note = Some(Note { deadline, entry: order });
            self.heap.push(Entry { deadline, order, index });
        }
    }

    /// Keeps the heap at most twice as long as the list of timers, and `FEW` longer.
    #[inline]
    fn tidy(&mut self) {
        if self.heap.len() > 2 * self.slots.len() + FEW {
            self.sweep();
        }
    }

    #[cold]
    #[inline(never)]
    fn sweep(&mut self) {
        self.heap.retain(|entry| self.slots.keep_or_forget(*entry));
        self.shrink();
    }

    #[inline(never)]
    fn shrink(&mut self) {
        if self.heap.capacity() > 4 * self.heap.len() + KEPT {
            self.heap.shrink_to(2 * self.heap.len());
        }
    }
}

impl Note {
    /// Whether a new timer in this place can do with the entry. Meant is the same timeout around the next read, a little later
    /// than the last: however old the entry is then, the loop looks up for it once. A long timeout after a short one
    /// would have it look up each time.
    #[inline]
    fn serves(&self, deadline: Instant) -> bool {
        self.deadline <= deadline
            && self.deadline.checked_add(A_LITTLE).is_some_and(|latest| deadline <= latest)
    }
}

/// Of the table alone, since a sweep has the heap.
impl Slab<Timer, Option<Note>> {
    /// Whether a timer has this entry. If not, its place forgets it, and the caller takes it out of the heap.
    #[inline]
    fn keep_or_forget(&mut self, entry: Entry) -> bool {
        let Some((timer, note)) = self.place(entry.index) else { return false };
        if note.as_ref().is_none_or(|note| note.entry != entry.order) {
            return false;
        }
        if timer.is_none() {
            *note = None;
        }
        timer.is_some()
    }
}

/// So many entries without a timer are of no weight.
const FEW: usize = 64;

/// Less room than for so many entries is not worth giving back.
const KEPT: usize = 256;

/// From one request of a connection to the next, while it has many.
const A_LITTLE: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "../tests/inner/timers.rs"]
mod tests;
