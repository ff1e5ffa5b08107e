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
        let entry =
            self.entries.get_mut(key.index as usize).filter(|entry| entry.stamp == key.stamp)?;
        let value = entry.value.take()?;
        entry.next_free = self.free;
        self.free = key.index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT {
            // A burst is over. Stamps go on counting, so no old key comes to life again.
            self.entries = Vec::new();
            self.free = NONE;
        }
        Some(value)
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
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_key_finds_its_value_and_no_later_one() {
        let mut slab = Slab::new();
        let first = slab.insert_with(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b');
        assert_eq!(second.index, first.index, "the place is used again");
        assert_eq!(slab.get(first), None, "but the old key does not fit");
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
    }

    #[test]
    fn an_old_key_stays_dead_after_the_table_gave_back_its_memory() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..1000).map(|n| slab.insert_with(|_| n)).collect();
        for &key in &keys {
            slab.remove(key);
        }
        assert_eq!(slab.entries.capacity(), 0);
        slab.insert_with(|_| 5);
        assert!(keys.iter().all(|&key| slab.get(key).is_none()));
    }

    #[test]
    fn stamps_may_wrap() {
        let mut slab = Slab::new();
        slab.stamp = u32::MAX - 1;
        let keys: Vec<Key> = (0..4).map(|n| slab.insert_with(|_| n)).collect();
        for (n, &key) in keys.iter().enumerate() {
            assert_eq!(slab.get(key), Some(&n));
        }
    }

    #[test]
    fn random_inserts_and_removes_agree_with_a_map() {
        for seed in 1..200u64 {
            let (mut slab, mut model, mut random) = (Slab::new(), HashMap::new(), seed);
            for step in 0..500 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random % 3 != 0 || model.is_empty() {
                    let key = slab.insert_with(|_| step);
                    assert_eq!(model.insert(key.to_bits(), step), None, "seed {seed}: a key twice");
                } else {
                    let bits = *model.keys().min_by_key(|bits| **bits ^ random).unwrap();
                    assert_eq!(
                        slab.remove(Key::from_bits(bits)),
                        model.remove(&bits),
                        "seed {seed}"
                    );
                }
                assert_eq!(slab.len(), model.len());
            }
            for (key, value) in slab.iter() {
                assert_eq!(model.get(&key.to_bits()), Some(value), "seed {seed}");
            }
        }
    }
}
