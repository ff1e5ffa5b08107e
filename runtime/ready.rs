//! The ready queue: the numbers of those who were woken and not yet polled, in the order of their wakes. Knows no task.
//!
//! ```text
//!   numbers    a  b  c  d  e  f         put in behind f, taken out from d on
//!                       ▲ head          a, b and c were taken out, and stay until it is worth while to move d, e and f
//! ```

use crate::number::Number;
use std::mem;

pub(crate) struct Ready {
    numbers: Vec<Number>,
    head: usize,
    /// It held more than `LONG` when it was emptied last, and it goes on.
    was_long: bool,
    /// How many were taken out and are gone.
    gone: u64,
}

/// A queue with room for no more than this keeps it.
const KEPT: usize = 64;

/// While there are tasks it keeps room for so many. One with more gives back all of it, unless it was so long the time before.
const LONG: usize = 4096;

impl Ready {
    pub(crate) const fn new() -> Ready {
        Ready { numbers: Vec::new(), head: 0, was_long: false, gone: 0 }
    }

    /// At least as many as tasks are ready: some may have ended meanwhile.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.numbers.len() - self.head
    }

    /// How many were ever put in.
    pub(crate) fn put_in(&self) -> u64 {
        self.gone + self.numbers.len() as u64
    }

    /// How many were ever taken out.
    pub(crate) fn taken_out(&self) -> u64 {
        self.gone + self.head as u64
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.numbers.len() < self.numbers.capacity()
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn make_room(&mut self) {
        self.numbers.reserve(1);
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, number: Number) {
        self.numbers.push(number);
    }

    /// The first one, which is out now.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Number> {
        let number = *self.numbers.get(self.head)?;
        self.head += 1;
        Some(number)
    }

    /// Where a turn ends that begins now, and takes out at most so many.
    #[inline]
    pub(crate) fn end_of_turn(&self, most: usize) -> usize {
        self.numbers.len().min(self.head.saturating_add(most))
    }

    /// Whether a turn is over that ends there.
    #[inline]
    pub(crate) fn is_at(&self, end: usize) -> bool {
        self.head >= end
    }

    /// Forgets those that were taken out, when all are.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.gone += mem::take(&mut self.head) as u64;
    }

    /// Whether it has room for more than a few.
    #[inline(always)]
    pub(crate) fn is_large(&self) -> bool {
        self.numbers.capacity() > KEPT
    }

    /// Gives back its room when all were taken out, before `clear`, if a burst is over: `is_idle` says that no task is left
    /// whom the room could be for, and `goes_on` that somebody will soon be put in.
    pub(crate) fn shrink(&mut self, is_idle: bool, goes_on: bool) {
        let (long, room) = (self.numbers.len() > LONG, self.numbers.capacity());
        if is_idle || room > LONG && !self.was_long {
            self.numbers = Vec::new();
        }
        self.was_long = long && goes_on;
    }

    /// Forgets those that were taken out, now and then, while others are in.
    #[inline(always)]
    pub(crate) fn compact(&mut self) {
        if self.head >= KEPT {
            self.move_up();
        }
    }

    #[cold]
    #[inline(never)]
    fn move_up(&mut self) {
        if self.head >= self.numbers.len() / 2 {
            self.numbers.drain(..self.head);
            self.gone += mem::take(&mut self.head) as u64;
            if self.numbers.capacity() > LONG.max(8 * self.numbers.len()) {
                self.numbers.shrink_to(LONG);
            }
        }
    }
}
