//! `runtime/tasks.rs`, from inside.

use super::*;
use crate::spawned::erase;
use std::collections::BTreeMap;

/// Puts in a task with this id, as a spawn does.
fn put(tasks: &mut Tasks, id: u64) -> TaskKey {
    let (index, entry) = tasks.vacancy();
    assert!(entry.is_vacant(), "id {id} goes where a task is");
    *entry = Task::new(
        id,
        Some(erase(async {}, |_| None)),
        &About::of::<()>(None, Location::caller()),
        0,
    );
    entry.mark = Mark::Waits;
    TaskKey { id, index, runtime: 1 }
}

/// Of the runtime 1.
const FIRST: u64 = id(1);

const fn id(n: u64) -> u64 {
    n << SERIAL_BITS | 1
}

/// F02.
#[test]
fn a_key_and_a_number_find_their_task_and_no_later_one_in_its_place() {
    let mut tasks = Tasks::new();
    let first = put(&mut tasks, FIRST);
    let number = Number::of_task(first.id, first.index);
    assert!(tasks.find(first).is_some() && tasks.meant_by(number).is_some());
    assert!(tasks.take(first.index).is_some_and(|task| task.id == FIRST));
    assert!(tasks.find(first).is_none() && tasks.meant_by(number).is_none(), "nothing is there");
    assert!(tasks.take(first.index).is_none(), "it was taken");

    let second = put(&mut tasks, id(2));
    assert_eq!(second.index, first.index, "the place is used again");
    assert!(tasks.find(first).is_none() && tasks.meant_by(number).is_none(), "another is there");
    assert!(tasks.find(second).is_some_and(|task| task.id == id(2)));
}

/// F02.
#[test]
fn an_old_key_stays_dead_after_the_table_gave_back_its_memory() {
    let mut tasks = Tasks::new();
    let keys: Vec<TaskKey> = (1..=1000).map(|n| put(&mut tasks, id(n))).collect();
    for &key in &keys {
        tasks.take(key.index);
    }
    assert_eq!(tasks.entries.capacity(), 0);
    put(&mut tasks, id(1001));
    assert!(keys.iter().all(|&key| tasks.find(key).is_none()));
}

/// It ends while the ready queue has an entry of it.
fn end_queued(tasks: &mut Tasks, key: TaskKey) {
    let task = tasks.find(key).unwrap();
    (task.future, task.mark) = (None, Mark::Queued);
    task.end(Ended::Finished);
}

/// F02.
#[test]
fn a_place_is_not_used_again_while_the_queue_has_an_entry_of_it() {
    let mut tasks = Tasks::new();
    let ways: [fn(&mut Tasks, TaskKey); 3] = [
        |tasks, key| {
            end_queued(tasks, key);
            tasks.vacate(key.index);
        },
        |tasks, key| {
            end_queued(tasks, key);
            assert!(tasks.take(key.index).is_some());
        },
        |tasks, key| {
            tasks.find(key).unwrap().mark = Mark::Queued;
            assert!(tasks.take(key.index).is_some(), "as the runtime ends");
        },
    ];
    for (n, leave) in (1..).step_by(3).zip(ways) {
        let first = put(&mut tasks, id(n));
        tasks.set_name(first.index, Box::new("the first".into()));
        leave(&mut tasks, first);
        assert!(tasks.find(first).is_none() && tasks.iter().all(|(index, _)| index != first.index));
        assert_ne!(put(&mut tasks, id(n + 1)).index, first.index);
        tasks.pass_over(first.index);
        assert_eq!(put(&mut tasks, id(n + 2)).index, first.index, "and now it is used");
        assert!(tasks.name(first.index).is_none(), "another task has the name now");
    }
}

/// N10.
#[test]
fn a_table_gives_back_its_memory_when_the_queue_has_no_entry_of_it_any_more() {
    let mut tasks = Tasks::new();
    let keys: Vec<TaskKey> = (1..=1000).map(|n| put(&mut tasks, id(n))).collect();
    for &key in &keys {
        end_queued(&mut tasks, key);
        tasks.vacate(key.index);
    }
    for key in keys {
        assert_ne!(tasks.entries.capacity(), 0);
        tasks.pass_over(key.index);
    }
    assert_eq!(tasks.entries.capacity(), 0);
}

/// W04.
#[test]
fn who_waits_last_for_an_end_is_kept_and_the_one_before_comes_out() {
    let mut tasks = Tasks::new();
    let [key, one, other] = [1, 2, 3].map(|n| put(&mut tasks, id(n)));
    let [one, other] = [one, other].map(|key| Number::of_task(key.id, key.index));
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
    assert_eq!(put(&mut tasks, id(2)).index, key.index);
    assert!(tasks.name(key.index).is_none(), "another task has the name now");
}

#[test]
fn random_spawns_and_ends_agree_with_a_map() {
    for seed in 1..200u64 {
        let (mut tasks, mut model, mut random) = (Tasks::new(), BTreeMap::new(), seed);
        let mut queued = Vec::new();
        for step in 0..500 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random % 3 != 0 || model.is_empty() {
                let key = put(&mut tasks, id(step + 1));
                assert_eq!(model.insert(key.index, key.id), None, "seed {seed}: a place twice");
                assert!(!queued.contains(&key.index), "seed {seed}: a place that is queued");
            } else {
                let index = *model.keys().min_by_key(|index| u64::from(**index) ^ random).unwrap();
                let id = model.remove(&index).unwrap();
                let task = tasks.find(TaskKey { id, index, runtime: 1 }).unwrap();
                if random % 5 < 2 {
                    task.mark = Mark::Queued;
                    queued.push(index);
                }
                if random % 2 == 0 {
                    assert_eq!(tasks.take(index).map(|task| task.id), Some(id), "seed {seed}");
                } else {
                    task.future = None;
                    task.end(Ended::Finished);
                    tasks.vacate(index);
                }
            }
            if random % 7 == 0 {
                queued.pop().into_iter().for_each(|index| tasks.pass_over(index));
            }
            assert_eq!(tasks.len, model.len() + queued.len());
        }
        let all: BTreeMap<u32, u64> = tasks.iter().map(|(index, task)| (index, task.id)).collect();
        assert_eq!(all, model, "seed {seed}");
    }
}

#[test]
fn ids_come_round_before_they_would_be_of_another_runtime() {
    let (first, last) = (after(7), LAST_COUNT << SERIAL_BITS | 7);
    assert_eq!((count(first), first as u16), (1, 7));
    assert_eq!((count(last), after(last)), (LAST_COUNT, 7));
    assert_eq!(after(u64::MAX), 0xFFFF);
}
