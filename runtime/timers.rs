//! Turns the clock into wakes. Knows no task and no socket, and does not read the clock itself.
//!
//! ```text
//! Key ──► slots[key] { deadline, waker }      heap: (deadline, order) ► the earliest on top
//! ```
//!
//! The heap is never searched. A timer that is cancelled, or moved to an earlier time, leaves its old
//! entry behind, which says nothing when it comes up; when more than half of the entries are such, they
//! are swept. A timer that is moved to a *later* time, which is what an idle timeout does at every
//! request, writes its slot and nothing else: when the old entry comes up, the timer is entered anew.

use crate::slab::{Key, Slab};
use crate::waker::{Number, wake_contained};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
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
    heap: BinaryHeap<Reverse<Entry>>,
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

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    deadline: Instant,
    order: u64,
    index: u32,
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
        inner.order += 1;
        let order = inner.order;
        let key = inner.slots.insert_with(|_| Timer { deadline, order, entry: order, waker, at });
        inner.heap.push(Reverse(Entry { deadline, order, index: key.index }));
        self.alive.set(inner.slots.len());
        key
    }

    /// Whether the timer still waits. If so, it will wake `waker` from now on, and gives back the one before.
    pub(crate) fn is_waiting(&self, key: Key, waker: &Waker) -> bool {
        match self.inner.borrow().slots.get(key) {
            Some(timer) if timer.waker.will_wake(waker) => return true,
            Some(_) => {}
            None => return false,
        }
        // Cloning and dropping a waker may be the user's code: outside of the borrow.
        let mut waker = waker.clone();
        let mut inner = self.inner.borrow_mut();
        let Some(timer) = inner.slots.get_mut(key) else {
            return false;
        };
        std::mem::swap(&mut timer.waker, &mut waker);
        drop(inner);
        drop(waker);
        true
    }

    /// Moves a timer that still waits. `false` when it has fired.
    pub(crate) fn reset(&self, key: Key, deadline: Instant) -> bool {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let Some(timer) = inner.slots.get_mut(key) else {
            return false;
        };
        let earlier = deadline < timer.deadline;
        inner.order += 1;
        (timer.deadline, timer.order) = (deadline, inner.order);
        if earlier {
            timer.entry = inner.order;
            inner.stale += 1;
            inner.heap.push(Reverse(Entry { deadline, order: inner.order, index: key.index }));
            inner.sweep();
        }
        true
    }

    /// Takes the timer out, and gives back its waker for the caller to drop.
    pub(crate) fn remove(&self, key: Key) -> Option<Waker> {
        let mut inner = self.inner.borrow_mut();
        let timer = inner.slots.remove(key)?;
        inner.stale += 1;
        inner.sweep();
        self.alive.set(inner.slots.len());
        Some(timer.waker)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.alive() == 0 {
            return None;
        }
        self.inner.borrow_mut().settle()
    }

    /// Wakes the timers whose deadline is not after `now`, in the order of their deadlines.
    pub(crate) fn fire(&self, now: Instant) {
        let mut due = Vec::new();
        let mut inner = self.inner.borrow_mut();
        while inner.settle().is_some_and(|deadline| deadline <= now) {
            let Some(Reverse(entry)) = inner.heap.pop() else {
                break;
            };
            let Some((key, _)) = inner.slots.entry_mut(entry.index) else {
                break;
            };
            let timer = inner.slots.remove(key);
            due.extend(timer.map(|timer| timer.waker));
            inner.fired += 1;
        }
        self.alive.set(inner.slots.len());
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
        inner.heap.clear();
        self.alive.set(0);
        keys.into_iter()
            .filter_map(|key| inner.slots.remove(key))
            .map(|timer| timer.waker)
            .collect()
    }
}

impl Inner {
    /// Brings an entry to the top that means what it says, and returns its deadline.
    fn settle(&mut self) -> Option<Instant> {
        loop {
            let Reverse(top) = *self.heap.peek()?;
            match self.slots.entry_mut(top.index) {
                Some((_, timer)) if timer.entry == top.order && timer.deadline == top.deadline => {
                    return Some(top.deadline);
                }
                Some((_, timer)) if timer.entry == top.order => {
                    timer.entry = timer.order;
                    let moved =
                        Entry { deadline: timer.deadline, order: timer.order, index: top.index };
                    self.heap.pop();
                    self.heap.push(Reverse(moved));
                }
                _ => {
                    self.heap.pop();
                    self.stale -= 1;
                }
            }
        }
    }

    /// Keeps the heap at most twice as long as the list of timers, and at least lets 64 gather.
    fn sweep(&mut self) {
        if self.stale > 64 && self.stale > self.slots.len() {
            let slots = &mut self.slots;
            self.heap.retain(|Reverse(entry)| {
                slots.entry_mut(entry.index).is_some_and(|(_, timer)| timer.entry == entry.order)
            });
            self.heap.shrink_to(2 * self.heap.len() + 128);
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn here() -> &'static Location<'static> {
        Location::caller()
    }

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let (timers, now) = (Timers::new(), Instant::now());
        for _ in 0..1_000_000 {
            let key = timers.insert(now + Duration::from_secs(3600), Waker::noop().clone(), here());
            timers.remove(key);
        }
        assert!(timers.inner.borrow().heap.capacity() <= 1024);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_that_is_moved_later_leaves_the_heap_alone() {
        let (timers, now) = (Timers::new(), Instant::now());
        let key = timers.insert(now, Waker::noop().clone(), here());
        for second in 1..1000 {
            assert!(timers.reset(key, now + Duration::from_secs(second)));
            assert_eq!(timers.inner.borrow().heap.len(), 1);
        }
        timers.fire(now + Duration::from_secs(998));
        assert_eq!(timers.alive(), 1, "not before its newest deadline");
        timers.fire(now + Duration::from_secs(999));
        assert_eq!(timers.alive(), 0);
    }

    #[test]
    fn random_settings_agree_with_a_sorted_list() {
        for seed in 1..200u64 {
            let (timers, start) = (Timers::new(), Instant::now());
            let mut model: Vec<(Key, Duration, Arc<Count>)> = Vec::new();
            let mut random = seed;
            let mut next = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let mut now = Duration::ZERO;
            for _ in 0..300 {
                let (pick, at) =
                    (next(model.len() as u64 + 1) as usize, now + Duration::from_millis(next(50)));
                match next(5) {
                    0 | 1 => {
                        let count = Arc::new(Count(AtomicUsize::new(0)));
                        model.push((
                            timers.insert(start + at, count.clone().into(), here()),
                            at,
                            count,
                        ));
                    }
                    2 if pick < model.len() => drop(timers.remove(model.swap_remove(pick).0)),
                    3 if pick < model.len() => {
                        assert!(timers.reset(model[pick].0, start + at), "seed {seed}");
                        model[pick].1 = at;
                    }
                    _ => {
                        now += Duration::from_millis(next(20));
                        timers.fire(start + now);
                        model.retain(|(_, at, count)| {
                            assert_eq!(
                                count.0.load(Ordering::Relaxed),
                                usize::from(*at <= now),
                                "seed {seed}"
                            );
                            *at > now
                        });
                    }
                }
                assert_eq!(timers.alive(), model.len(), "seed {seed}");
                let earliest = model.iter().map(|(_, at, _)| start + *at).min();
                assert_eq!(timers.next(), earliest, "seed {seed}");
                let inner = timers.inner.borrow();
                assert_eq!(inner.heap.len(), inner.slots.len() + inner.stale, "seed {seed}");
            }
        }
    }

    #[test]
    fn equal_deadlines_fire_in_the_order_they_were_set_even_after_a_move() {
        struct Log(u32, Arc<std::sync::Mutex<Vec<u32>>>);
        impl Wake for Log {
            fn wake(self: Arc<Self>) {
                self.1.lock().unwrap().push(self.0);
            }
        }
        let (timers, now, log) = (Timers::new(), Instant::now(), Arc::default());
        let waker = |n| Waker::from(Arc::new(Log(n, Arc::clone(&log))));
        let at = now + Duration::from_secs(1);
        let moved = timers.insert(now, waker(1), here());
        timers.insert(at, waker(2), here());
        timers.reset(moved, at);
        timers.insert(at, waker(3), here());
        timers.fire(at);
        assert_eq!(*log.lock().unwrap(), [2, 1, 3]);
    }
}
