//! A table in the order of its keys: who stands aside of a source, which letters are in the box. Knows nothing of them.
//!
//! ```text
//! pieces ──► [1 4 7] [9 12] [20 31 40 55]     what is put in moves the rest of its piece
//! ```
//!
//! A piece that is full is split, and one that is empty goes; then the list of pieces is moved, which is 24 bytes for
//! each. Pieces are never joined: where few of many stay, each may keep the room of 64.
//!
//! It does what a `BTreeMap` does with a fifth of the machine code, since it is in every program and nearly always empty.
//! Where very many come and go in no order it takes half as long again.

use std::mem;
use std::ops::RangeInclusive;

pub(crate) struct Sorted<K, V> {
    /// Each is shorter than `LONGEST`, and none is empty but a lone one, which keeps its room for the next.
    pieces: Vec<Vec<(K, V)>>,
}

/// To move half of so many costs about as much as to find the place.
const LONGEST: usize = 64;

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Sorted<K, V> {
        Sorted::new()
    }
}

impl<K, V> Sorted<K, V> {
    pub(crate) const fn new() -> Sorted<K, V> {
        Sorted { pieces: Vec::new() }
    }
}

impl<K: Copy + Ord, V> Sorted<K, V> {
    /// The piece that `key` belongs into, and where in it: `Ok` if it is there.
    fn find(&self, key: &K) -> (usize, Result<usize, usize>) {
        let begins_before = |piece: &Vec<(K, V)>| piece.first().is_some_and(|(it, _)| it <= key);
        let piece = self.pieces.partition_point(begins_before).saturating_sub(1);
        let entries = self.pieces.get(piece).map_or(&[][..], |entries| entries);
        (piece, entries.binary_search_by_key(key, |(key, _)| *key))
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (piece, Ok(place)) = self.find(key) else { return None };
        Some(&mut self.pieces[piece][place].1)
    }

    /// Puts in a value; what had this key before comes out.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (piece, place) = self.find(&key);
        if self.pieces.is_empty() {
            self.pieces.push(Vec::new());
        }
        let entries = &mut self.pieces[piece];
        match place {
            Ok(place) => return Some(mem::replace(&mut entries[place].1, value)),
            Err(place) => entries.insert(place, (key, value)),
        }
        if entries.len() == LONGEST {
            let second_half = entries.split_off(LONGEST / 2);
            self.pieces.insert(piece + 1, second_half);
        }
        None
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.take_first(&(*key..=*key))
    }

    /// Takes out the first whose key is in `range`.
    pub(crate) fn take_first(&mut self, range: &RangeInclusive<K>) -> Option<V> {
        let (mut piece, found) = self.find(range.start());
        let (Ok(mut place) | Err(mut place)) = found;
        if place == self.pieces.get(piece)?.len() {
            (piece, place) = (piece + 1, 0);
        }
        let entries = self.pieces.get_mut(piece)?;
        if entries[place].0 > *range.end() {
            return None;
        }
        let (_, value) = entries.remove(place);
        if entries.is_empty() && self.pieces.len() > 1 {
            self.pieces.remove(piece);
            if self.pieces.len() == 1 {
                self.pieces.shrink_to_fit();
            }
        }
        Some(value)
    }

    /// The room that an empty table keeps.
    pub(crate) fn give_back(&mut self) {
        if self.pieces.iter().all(Vec::is_empty) {
            self.pieces = Vec::new();
        }
    }

    /// All whose keys are in `range`, in order.
    pub(crate) fn range(&self, range: RangeInclusive<K>) -> impl Iterator<Item = &(K, V)> {
        let (piece, found) = self.find(range.start());
        let (Ok(before) | Err(before)) = found;
        let from = self.pieces[piece..].iter().flatten().skip(before);
        from.take_while(move |(key, _)| key <= range.end())
    }
}

#[cfg(test)]
#[path = "../tests/inner/sorted.rs"]
mod tests;
