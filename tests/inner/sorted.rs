//! `runtime/sorted.rs`, from inside.

use super::*;
use std::collections::BTreeMap;

impl Sorted<u32, u32> {
    fn check(&self) {
        for piece in &self.pieces {
            assert!(piece.len() < LONGEST && piece.capacity() <= LONGEST);
            assert!(!piece.is_empty() || self.pieces.len() == 1, "an empty piece beside others");
        }
        assert!(self.pieces.iter().flatten().is_sorted_by(|(one, _), (next, _)| one < next));
    }

    fn all(&self) -> Vec<(u32, u32)> {
        self.range(0..=u32::MAX).copied().collect()
    }
}

#[test]
fn random_inserts_removes_and_ranges_agree_with_a_map() {
    for seed in 1..100u64 {
        let (mut sorted, mut model, mut random) = (Sorted::new(), BTreeMap::new(), seed);
        for step in 0..2000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let key = (random >> 32) as u32 % 700;
            // It grows for a while, then shrinks.
            let grows = if step / 500 % 2 == 0 { 7 } else { 2 };
            match random % 10 {
                n if n < grows => assert_eq!(sorted.insert(key, step), model.insert(key, step)),
                8 => {
                    let range = key..=key + 20;
                    let first = model.range(range.clone()).next().map(|(key, _)| *key);
                    let first = first.and_then(|key| model.remove(&key));
                    assert_eq!(sorted.take_first(&range), first, "seed {seed}, step {step}");
                }
                9 => {
                    let here: Vec<_> = model.range(key..=key + 90).map(|(k, v)| (*k, *v)).collect();
                    let there: Vec<_> = sorted.range(key..=key + 90).copied().collect();
                    assert_eq!(there, here, "seed {seed}, step {step}");
                    assert_eq!(sorted.get_mut(&key), model.get_mut(&key));
                }
                _ => assert_eq!(sorted.remove(&key), model.remove(&key)),
            }
            sorted.check();
        }
        assert_eq!(sorted.all(), Vec::from_iter(model), "seed {seed}");
    }
}

#[test]
fn a_table_that_is_empty_finds_nothing_and_keeps_room_for_few() {
    let mut sorted = Sorted::new();
    assert_eq!((sorted.remove(&1), sorted.get_mut(&1)), (None, None));
    assert_eq!(sorted.all(), []);
    for key in 0..10_000 {
        sorted.insert(key, key);
    }
    for key in 0..10_000 {
        assert_eq!(sorted.take_first(&(0..=u32::MAX)), Some(key));
    }
    assert_eq!((sorted.pieces.len(), sorted.pieces.capacity()), (1, 1));
    sorted.check();
    assert_eq!((sorted.remove(&1), sorted.get_mut(&1)), (None, None));
    assert_eq!(sorted.all(), []);
    assert_eq!(sorted.insert(1, 2), None);
    sorted.give_back();
    assert_eq!(sorted.all(), [(1, 2)]);
    sorted.remove(&1);
    sorted.give_back();
    assert_eq!(sorted.pieces.capacity(), 0);
}
