//! `runtime/tasks.rs`, from inside.

use super::*;
use crate::spawned::erase;
use std::collections::BTreeMap;

/// Puts in a task with this id, as a spawn does.
fn put(tasks: &mut Tasks, id: u64) -> TaskKey {
    let (index, entry) = tasks.vacancy();
    assert!(entry.is_vacant(), "id {id} goes where a task is");
    *entry = Task::new(id, Some(erase(async {})), &About::of::<()>(None, Location::caller()), 0);
    TaskKey { id, index, runtime: 1 }
}

const FIRST: u64 = 1 << 48;

/// F02.
#[test]
fn a_key_and_a_number_find_their_task_and_no_later_one_in_its_place() {
    let mut tasks = Tasks::new();
    let first = put(&mut tasks, FIRST);
    let number = Number::of_task(1, first.index, first.id);
    assert!(tasks.find(first).is_some() && tasks.meant_by(number).is_some());
    assert!(tasks.take(first.index).is_some_and(|task| task.id == FIRST));
    assert!(tasks.find(first).is_none() && tasks.meant_by(number).is_none(), "nothing is there");
    assert!(tasks.take(first.index).is_none(), "it was taken");

    let second = put(&mut tasks, FIRST + 1);
    assert_eq!(second.index, first.index, "the place is used again");
    assert!(tasks.find(first).is_none() && tasks.meant_by(number).is_none(), "another is there");
    assert!(tasks.find(second).is_some_and(|task| task.id == FIRST + 1));
}

/// F02.
#[test]
fn an_old_key_stays_dead_after_the_table_gave_back_its_memory() {
    let mut tasks = Tasks::new();
    let keys: Vec<TaskKey> = (FIRST..FIRST + 1000).map(|id| put(&mut tasks, id)).collect();
    for &key in &keys {
        tasks.take(key.index);
    }
    assert_eq!(tasks.entries.capacity(), 0);
    put(&mut tasks, FIRST + 1000);
    assert!(keys.iter().all(|&key| tasks.find(key).is_none()));
}

/// W04.
#[test]
fn who_waits_last_for_an_end_is_kept_and_the_one_before_comes_out() {
    let mut tasks = Tasks::new();
    let [key, one, other] = [0, 1, 2].map(|n| put(&mut tasks, FIRST + n));
    let [one, other] = [one, other].map(|key| Number::of_task(1, key.index, key.id));
    let foreign = || Joiner::Foreign(Waker::noop().clone());
    let mut set = |joiner| {
        let before = match tasks.set_joiner(key.index, joiner) {
            Joiner::Number(number) => number,
            Joiner::Foreign(_) => foreign_at(0),
        };
        (before, tasks.find(key).and_then(|task| task.joined_by()))
    };
    assert_eq!(set(Joiner::Number(one)), (Number::NONE, Some(one)));
    assert_eq!(set(Joiner::Number(other)), (one, Some(other)));
    assert_eq!(set(foreign()), (other, None));
    assert_eq!(set(foreign()), (foreign_at(0), None));
    assert_eq!(set(Joiner::Number(one)), (foreign_at(0), Some(one)));
    assert_eq!(set(Joiner::NOBODY), (one, None));
    assert_eq!(tasks.foreign.len(), 0, "a waker that was taken out is still aside");
}

/// N10.
#[test]
fn a_task_has_sixty_four_bytes() {
    assert_eq!(size_of::<Task>(), 64);
}

#[test]
fn a_name_goes_with_its_task() {
    let mut tasks = Tasks::new();
    let key = put(&mut tasks, FIRST);
    tasks.set_name(key.index, Box::new("the first".into()));
    assert_eq!(tasks.name(key.index).map(|name| &***name), Some("the first"));
    tasks.take(key.index);
    assert_eq!(put(&mut tasks, FIRST + 1).index, key.index);
    assert!(tasks.name(key.index).is_none(), "another task has the name now");
}

#[test]
fn random_spawns_and_ends_agree_with_a_map() {
    for seed in 1..200u64 {
        let (mut tasks, mut model, mut random) = (Tasks::new(), BTreeMap::new(), seed);
        for step in 0..500 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random % 3 != 0 || model.is_empty() {
                let key = put(&mut tasks, FIRST + step);
                assert_eq!(model.insert(key.index, key.id), None, "seed {seed}: a place twice");
            } else {
                let index = *model.keys().min_by_key(|index| u64::from(**index) ^ random).unwrap();
                let id = model.remove(&index).unwrap();
                if random % 2 == 0 {
                    assert_eq!(tasks.take(index).map(|task| task.id), Some(id), "seed {seed}");
                } else {
                    let task = tasks.find(TaskKey { id, index, runtime: 1 }).unwrap();
                    (task.future, task.mark) = (None, Mark::Ended(Ended::Finished));
                    tasks.vacate(index);
                }
            }
            assert_eq!(tasks.len, model.len());
        }
        let all: BTreeMap<u32, u64> = tasks.iter().map(|(index, task)| (index, task.id)).collect();
        assert_eq!(all, model, "seed {seed}");
    }
}

#[test]
fn ids_come_round_before_they_would_be_of_another_runtime() {
    let first = after(7 << 48);
    assert_eq!(first, 7 << 48 | 1);
    assert_eq!(after(7 << 48 | COUNT), 7 << 48);
    assert_eq!(after(0xFFFF << 48 | COUNT), 0xFFFF << 48);
}
