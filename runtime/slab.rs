//! A table with generational keys: sources, timers and foreign joiners live in one each. Knows nothing of them.
//!
//! ```text
//! Key { index, stamp } ──► entries[index]   valid while entries[index].stamp == stamp
//! ```
//!
//! The stamp counts insertions into the whole table, so a key that has gone stale fits nothing that
//! came later, until 2^32 insertions have passed *and* the same entry is hit.
//!
//! A note stands beside each entry, and stays when the value goes, until an empty table gives back its memory. The timers have
//! one; the others `()`.

use std::mem;

/// Where a value is, and which value it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) stamp: u32,
}

impl Key {
    /// As the 64-bit datum that epoll carries for us.
    pub(crate) fn to_bits(self) -> u64 {
        (self.stamp as u64) << 32 | self.index as u64
    }

    pub(crate) fn from_bits(bits: u64) -> Key {
        Key { index: bits as u32, stamp: (bits >> 32) as u32 }
    }
}

pub(crate) struct Slab<T, N = ()> {
    entries: Vec<Entry<T, N>>,
    /// The first of a chain of empty entries; `NONE` ends it. Last freed, first used: it is still in cache.
    free: u32,
    len: usize,
    stamp: u32,
}

struct Entry<T, N> {
    stamp: u32,
    next_free: u32,
    note: N,
    value: Option<T>,
}

/// No entry has this index, so keys with it can be given other meanings.
pub(crate) const NONE: u32 = u32::MAX;

impl<T, N: Default> Slab<T, N> {
    pub(crate) const fn new() -> Slab<T, N> {
        Slab { entries: Vec::new(), free: NONE, len: 0, stamp: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The key that the next value will have.
    #[inline]
    pub(crate) fn next_key(&self) -> Key {
        let index = if self.free != NONE { self.free } else { self.entries.len() as u32 };
        Key { index, stamp: self.stamp.wrapping_add(1) }
    }

    /// Puts in a value.
    ///
    /// # Panics
    /// When 2^32 - 1 values are in the table.
    #[inline(always)]
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        assert!(key.index != NONE, "waken: more than 4 billion values in one table");
        self.stamp = key.stamp;
        self.len += 1;
        match self.entries.get_mut(key.index as usize) {
            Some(entry) => {
                self.free = entry.next_free;
                entry.stamp = key.stamp;
                // It is `None`, and to say so spares the code that would drop it.
                mem::forget(entry.value.replace(value));
            }
            None => self.entries.push(Entry {
                stamp: key.stamp,
                next_free: NONE,
                note: N::default(),
                value: Some(value),
            }),
        }
        key
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some(entry) if entry.stamp == key.stamp => entry.value.as_ref(),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.with_note(key).map(|(value, _)| value)
    }

    /// The value, and the note beside it.
    #[inline]
    pub(crate) fn with_note(&mut self, key: Key) -> Option<(&mut T, &mut N)> {
        match self.entries.get_mut(key.index as usize) {
            Some(entry) if entry.stamp == key.stamp => {
                Some((entry.value.as_mut()?, &mut entry.note))
            }
            _ => None,
        }
    }

    /// Whatever is at `index` now.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.place(index)?.0
    }

    /// The same, with its note; `None` where there is no such entry.
    #[inline]
    pub(crate) fn place(&mut self, index: u32) -> Option<(Option<&mut T>, &mut N)> {
        let entry = self.entries.get_mut(index as usize)?;
        Some((entry.value.as_mut(), &mut entry.note))
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        self.remove_at(key.index)
    }

    pub(crate) fn remove_at(&mut self, index: u32) -> Option<T> {
        let value = self.entries.get_mut(index as usize)?.value.take()?;
        self.vacate(index);
        Some(value)
    }

    #[inline]
    fn vacate(&mut self, index: u32) {
        self.entries[index as usize].next_free = self.free;
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT {
            self.give_back();
        }
    }

    /// A burst is over. Stamps go on counting, so no old key comes to life again.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        self.entries = Vec::new();
        self.free = NONE;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T, &N)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| {
            let key = Key { index: index as u32, stamp: entry.stamp };
            Some((key, entry.value.as_ref()?, &entry.note))
        })
    }
}

/// An empty table gives back its memory if it had more entries than this.
const KEPT: usize = 64;

#[cfg(test)]
#[path = "../tests/inner/slab.rs"]
mod tests;
