//! `runtime/slab.rs`, from inside.

use super::*;
use std::collections::HashMap;

/// F02.
#[test]
fn a_key_finds_its_value_and_no_later_one() {
    let mut slab: Slab<_> = Slab::new();
    let first = slab.insert('a');
    assert_eq!(slab.remove(first), Some('a'));
    let second = slab.insert('b');
    assert_eq!(second.index, first.index, "the place is used again");
    assert_eq!(slab.get(first), None, "but the old key does not fit");
    assert_eq!(slab.remove(first), None);
    assert_eq!(slab.get(second), Some(&'b'));
}

/// F02.
#[test]
fn an_old_key_stays_dead_after_the_table_gave_back_its_memory() {
    let mut slab: Slab<_> = Slab::new();
    let keys: Vec<Key> = (0..1000).map(|n| slab.insert(n)).collect();
    for &key in &keys {
        slab.remove(key);
    }
    assert_eq!(slab.entries.capacity(), 0);
    slab.insert(5);
    assert!(keys.iter().all(|&key| slab.get(key).is_none()));
}

/// U13.
#[test]
fn stamps_may_wrap() {
    let mut slab: Slab<_> = Slab::new();
    slab.stamp = u32::MAX - 1;
    let keys: Vec<Key> = (0..4).map(|n| slab.insert(n)).collect();
    for (n, &key) in keys.iter().enumerate() {
        assert_eq!(slab.get(key), Some(&n));
    }
}

#[test]
fn random_inserts_and_removes_agree_with_a_map() {
    for seed in 1..200u64 {
        let (mut slab, mut model, mut random) = (Slab::<_>::new(), HashMap::new(), seed);
        for step in 0..500 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random % 3 != 0 || model.is_empty() {
                let key = slab.insert(step);
                assert_eq!(model.insert(key.to_bits(), step), None, "seed {seed}: a key twice");
            } else {
                let bits = *model.keys().min_by_key(|bits| **bits ^ random).unwrap();
                assert_eq!(slab.remove(Key::from_bits(bits)), model.remove(&bits), "seed {seed}");
            }
            assert_eq!(slab.len(), model.len());
        }
        for (key, value, &()) in slab.iter() {
            assert_eq!(model.get(&key.to_bits()), Some(value), "seed {seed}");
        }
    }
}

#[test]
fn a_note_stays_in_its_place_until_the_table_gives_back_its_memory() {
    let mut slab: Slab<char, u32> = Slab::new();
    let first = slab.insert('a');
    assert_eq!(slab.with_note(first).map(|(_, note)| *note), Some(0));
    *slab.with_note(first).unwrap().1 = 7;
    slab.remove(first);
    assert_eq!(slab.with_note(first), None);
    assert_eq!(slab.place(first.index), Some((None, &mut 7)));
    let second = slab.insert('b');
    assert_eq!(slab.with_note(second), Some((&mut 'b', &mut 7)));
    assert_eq!(slab.place(second.index + 1), None);
    slab.remove(second);
    slab.give_back();
    let third = slab.insert('c');
    assert_eq!(slab.with_note(third), Some((&mut 'c', &mut 0)));
}
