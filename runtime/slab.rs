//! A table with generational keys: tasks, sources and timers live in one each. Knows nothing of them.
//!
//! ```text
//! Key { index, stamp } ──► entries[index]   valid while entries[index].stamp == stamp
//! ```
//!
//! The stamp counts insertions into the whole table, so a key that has gone stale fits nothing that
//! came later, until 2^32 insertions have passed *and* the same entry is hit.

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

pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The first of a chain of empty entries; `NONE` ends it. Last freed, first used: it is still in cache.
    free: u32,
    len: usize,
    stamp: u32,
}

struct Entry<T> {
    stamp: u32,
    next_free: u32,
    value: Option<T>,
}

/// No entry has this index, so keys with it can be given other meanings.
pub(crate) const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    pub(crate) const fn new() -> Slab<T> {
        Slab { entries: Vec::new(), free: NONE, len: 0, stamp: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts in what `make` returns when it is told its key.
    ///
    /// # Panics
    /// When 2^32 - 1 values are in the table.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        self.stamp = self.stamp.wrapping_add(1);
        let index = if self.free != NONE { self.free } else { self.entries.len() as u32 };
        assert!(index != NONE, "waken: more than 4 billion values in one table");
        let key = Key { index, stamp: self.stamp };
        let value = Some(make(key));
        match self.entries.get_mut(index as usize) {
            Some(entry) => {
                self.free = entry.next_free;
                *entry = Entry { stamp: key.stamp, next_free: NONE, value };
            }
            None => self.entries.push(Entry { stamp: key.stamp, next_free: NONE, value }),
        }
        self.len += 1;
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
        match self.entries.get_mut(key.index as usize) {
            Some(entry) if entry.stamp == key.stamp => entry.value.as_mut(),
            _ => None,
        }
    }

    /// Whatever is at `index` now, with its key.
    #[inline]
    pub(crate) fn entry_mut(&mut self, index: u32) -> Option<(Key, &mut T)> {
        let entry = self.entries.get_mut(index as usize)?;
        let key = Key { index, stamp: entry.stamp };
        Some((key, entry.value.as_mut()?))
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        let value = entry.value.take_if(|_| entry.stamp == key.stamp)?;
        self.vacate(key.index);
        Some(value)
    }

    /// `remove`, for what need not be moved out first.
    pub(crate) fn discard(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(key.index as usize) {
            if entry.stamp == key.stamp && entry.value.is_some() {
                entry.value = None;
                self.vacate(key.index);
            }
        }
    }

    fn vacate(&mut self, index: u32) {
        self.entries[index as usize].next_free = self.free;
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT {
            // A burst is over. Stamps go on counting, so no old key comes to life again.
            self.entries = Vec::new();
            self.free = NONE;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| {
            Some((Key { index: index as u32, stamp: entry.stamp }, entry.value.as_ref()?))
        })
    }
}

/// An empty table gives back its memory if it had more entries than this.
const KEPT: usize = 64;

#[cfg(test)]
#[path = "../tests/inner/slab.rs"]
mod tests;
