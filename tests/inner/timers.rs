//! `runtime/timers.rs`, from inside.

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

fn wake(due: Vec<Waker>) {
    due.into_iter().for_each(Waker::wake);
}

/// M09. Each is earlier than the one before it, so that the entry of that one does not serve.
#[test]
fn cancelled_timers_do_not_pile_up() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    for earlier in 0..1_000_000 {
        let at = now + Duration::from_secs(3600) - Duration::from_nanos(earlier);
        let key = timers.insert(at, Waker::noop().clone(), here());
        timers.remove(key);
    }
    assert!(timers.heap.capacity() <= 1024);
    assert_eq!(timers.next(|_| false), None);
}

/// M09: within one turn, and when the turn is over.
#[test]
fn cancelled_timers_beside_one_that_lives_do_not_pile_up() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let hour = now + Duration::from_secs(3600);
    let mut earlier = hour + Duration::from_secs(3600);
    let mut insert = |timers: &mut Timers| {
        earlier -= Duration::from_nanos(1);
        timers.insert(earlier, Waker::noop().clone(), here())
    };
    let _lives = timers.insert(hour, Waker::noop().clone(), here());
    for _ in 0..100_000 {
        let key = insert(&mut timers);
        timers.remove(key);
    }
    assert!(timers.heap.capacity() <= 1024);
    let burst: Vec<Key> = (0..100_000).map(|_| insert(&mut timers)).collect();
    burst.into_iter().for_each(|key| drop(timers.remove(key)));
    assert_eq!((timers.next(|_| false), timers.alive()), (Some(hour), 1));
    assert!(timers.heap.capacity() <= 1024);
}

/// M07.
#[test]
fn a_timer_that_is_moved_later_leaves_the_heap_alone() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let key = timers.insert(now, Waker::noop().clone(), here());
    for second in 1..1000 {
        assert!(timers.reset(key, now + Duration::from_secs(second)));
        assert_eq!(timers.heap.len(), 1);
    }
    wake(timers.fire(now + Duration::from_secs(998)));
    assert_eq!(timers.alive(), 1, "not before its newest deadline");
    wake(timers.fire(now + Duration::from_secs(999)));
    assert_eq!(timers.alive(), 0);
}

/// M08: a clock that has run for longer than any machine, in steps of 2^k ms, with timers at every step.
#[test]
fn however_long_the_clock_has_run_timers_fire_when_they_are_due() {
    let (mut timers, start, mut fired) = (Timers::new(), Instant::now(), 0);
    let far = start + Duration::from_millis(1 << 51);
    let last = timers.insert(far, Waker::noop().clone(), here());
    for k in 0..=50 {
        let now = start + Duration::from_millis(1 << k);
        wake(timers.fire(now));
        for wait_us in [0, 1, 999, 1_000_000, 3_600_000_000] {
            let due = now + Duration::from_micros(wait_us);
            let count = Arc::new(Count(AtomicUsize::new(0)));
            let key = timers.insert(due + Duration::from_secs(1), count.clone().into(), here());
            assert!(timers.reset(key, due));
            assert_eq!(timers.next(|_| false), Some(due), "2^{k} ms and {wait_us} us");
            wake(timers.fire(due - Duration::from_nanos(1)));
            assert_eq!((count.0.load(Ordering::Relaxed), timers.fired), (0, fired), "early");
            wake(timers.fire(due));
            fired += 1;
            assert_eq!((count.0.load(Ordering::Relaxed), timers.fired), (1, fired), "late");
        }
        // One that is moved over the next step, and cancelled there.
        let moved = timers.insert(now, Waker::noop().clone(), here());
        assert!(timers.reset(moved, now + Duration::from_millis(1 << k)));
        timers.remove(moved);
        assert_eq!(timers.alive(), 1);
    }
    assert_eq!(timers.next(|_| false), Some(far));
    assert!(timers.remove(last).is_some());
}

/// M05, M07: who is woken, and in which order.
#[test]
fn random_settings_agree_with_a_sorted_list() {
    for seed in 1..200u64 {
        let (mut timers, start, mut settings) = (Timers::new(), Instant::now(), 0);
        // Until when, which setting that was, and who is to be woken.
        let mut model: Vec<(Key, (Duration, u64), Waker)> = Vec::new();
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
            // Some are too late for an entry that was left to serve them.
            let at = at + Duration::from_millis(500 * (next(10) / 9));
            settings += 1;
            match next(5) {
                0 | 1 => {
                    let waker = Waker::from(Arc::new(Count(AtomicUsize::new(0))));
                    let key = timers.insert(start + at, waker.clone(), here());
                    model.push((key, (at, settings), waker));
                }
                2 if pick < model.len() => drop(timers.remove(model.swap_remove(pick).0)),
                3 if pick < model.len() => {
                    let (key, was, _) = &mut model[pick];
                    assert!(timers.reset(*key, start + at), "seed {seed}");
                    if at != was.0 {
                        *was = (at, settings);
                    }
                }
                _ => {
                    now += Duration::from_millis(next(20));
                    let due = timers.fire(start + now);
                    model.sort_by_key(|(_, at, _)| *at);
                    let later = model.partition_point(|(_, (at, _), _)| *at <= now);
                    let due_first = model.drain(..later).map(|(_, _, waker)| waker);
                    let same = |(a, b): (&Waker, Waker)| a.will_wake(&b);
                    assert_eq!(due.len(), later, "seed {seed}");
                    assert!(due.iter().zip(due_first).all(same), "seed {seed}");
                }
            }
            assert_eq!(timers.alive(), model.len(), "seed {seed}");
            let earliest = model.iter().map(|(_, (at, _), _)| start + *at).min();
            assert!(timers.next(|_| false) <= earliest, "seed {seed}");
            if next(2) == 0 {
                assert_eq!(timers.earliest(), earliest, "seed {seed}");
                assert_eq!(timers.next(|_| false), earliest, "seed {seed}");
            }
            holds(&mut timers);
        }
    }
}

/// Every timer has one entry, no later than its deadline and its order. A place without a timer has one or none.
fn holds(timers: &mut Timers) {
    let mut entries = timers.heap.clone().into_vec();
    entries.sort_by_key(|entry| entry.order);
    let find = |order: u64| entries.binary_search_by_key(&order, |it| it.order).unwrap();
    for (key, timer, note) in timers.slots.iter() {
        let Note { deadline, entry } = note.as_ref().unwrap();
        let entry = entries[find(*entry)];
        assert_eq!(entry.index, key.index);
        assert!((entry.deadline, entry.order) <= (*deadline, timer.order));
    }
    let mut index = 0;
    while let Some((timer, note)) = timers.slots.place(index) {
        if let (None, Some(Note { deadline, entry })) = (timer, note) {
            let entry = entries[find(*entry)];
            assert!(entry.index == index && entry.deadline <= *deadline);
        }
        index += 1;
    }
}

/// M04, M07: what a timeout around each read does, and one deadline for several steps.
#[test]
fn a_timer_that_is_given_up_leaves_its_entry_to_one_that_is_a_little_later() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let at = |ms| now + Duration::from_millis(ms);
    let insert = |timers: &mut Timers, at| timers.insert(at, Waker::noop().clone(), here());
    for step in 1..1000 {
        let key = insert(&mut timers, at(50 * step));
        timers.remove(key);
        let same = insert(&mut timers, at(50 * step));
        timers.remove(same);
        assert_eq!(timers.heap.len(), 1);
    }
    insert(&mut timers, at(50_000));
    holds(&mut timers);
    assert_eq!((timers.heap.len(), timers.next(|_| false)), (1, Some(at(50))));
    assert_eq!(timers.earliest(), Some(at(50_000)));
    assert!(timers.fire(at(49_999)).is_empty(), "not before its deadline");
    assert_eq!(timers.fire(at(50_000)).len(), 1);
}

/// M04, M07: for an earlier one the loop would sleep too long; for one that is much later, it would look up for nothing.
#[test]
fn a_timer_that_is_earlier_or_much_later_than_the_last_one_in_its_place_is_entered_anew() {
    for (ms, other) in [(2000, 1999), (2000, 1), (1, 60_000), (1, 102)] {
        let (mut timers, now) = (Timers::new(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let key = timers.insert(at(ms), Waker::noop().clone(), here());
        timers.remove(key);
        timers.insert(at(other), Waker::noop().clone(), here());
        holds(&mut timers);
        assert_eq!(timers.next(|_| false), Some(at(other)), "after one of {ms} ms");
        assert!(timers.fire(at(other - 1)).is_empty());
        assert_eq!(timers.fire(at(other)).len(), 1);
    }
}

/// F02, M07: an entry that is out of the heap is not there for anybody.
#[test]
fn an_entry_that_came_up_or_was_swept_is_left_to_nobody() {
    for many in [1, 1000] {
        let (mut timers, now) = (Timers::new(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let insert = |timers: &mut Timers, at| timers.insert(at, Waker::noop().clone(), here());
        let _lives = insert(&mut timers, at(1000));
        let keys: Vec<Key> = (0..many).map(|_| insert(&mut timers, at(10))).collect();
        keys.into_iter().for_each(|key| drop(timers.remove(key)));
        assert_eq!(timers.next(|_| false), Some(at(1000)));
        assert_eq!(timers.heap.len(), 1, "{many} came up, or were swept");
        for _ in 0..many {
            insert(&mut timers, at(20));
        }
        holds(&mut timers);
        assert_eq!(timers.next(|_| false), Some(at(20)));
        assert_eq!(timers.fire(at(20)).len(), many);
    }
}

/// M09: each is the first when it is given up, so there is never anything to sweep.
#[test]
fn timers_that_are_given_up_in_the_order_of_their_deadlines_leave_no_room() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let at = |second| now + Duration::from_secs(second);
    let insert = |timers: &mut Timers, n| timers.insert(at(n), Waker::noop().clone(), here());
    let burst: Vec<Key> = (1..10_000).map(|n| insert(&mut timers, n)).collect();
    for key in burst {
        timers.remove(key);
        timers.next(|_| false);
    }
    assert!(timers.heap.capacity() <= 1024, "{}", timers.heap.capacity());
}

/// M09.
#[test]
fn timers_of_several_lengths_that_are_given_up_in_turn_need_no_room_again_and_again() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let at = |second| now + Duration::from_secs(second);
    for round in 0..1000 {
        for second in [3600, 60, 1] {
            let key = timers.insert(at(second), Waker::noop().clone(), here());
            timers.remove(key);
            holds(&mut timers);
        }
        assert!(timers.heap.capacity() <= KEPT);
        assert!(round < 50 || timers.heap.capacity() > FEW, "it grows anew all the time");
    }
}

/// M04: it would be past by the time of the next timer, and the loop would look up for nothing at each.
#[test]
fn an_entry_that_nobody_has_when_the_turn_is_over_serves_nobody() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let at = |ms| now + Duration::from_millis(ms);
    let key = timers.insert(at(10), Waker::noop().clone(), here());
    timers.remove(key);
    assert_eq!(timers.next(|_| false), None);
    timers.insert(at(60), Waker::noop().clone(), here());
    assert_eq!(timers.next(|_| false), Some(at(60)));
}

/// Writes down who was woken.
struct Log(u32, Arc<std::sync::Mutex<Vec<u32>>>);
impl Wake for Log {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

/// M05.
#[test]
fn equal_deadlines_fire_in_the_order_they_were_set_even_after_a_move() {
    let (mut timers, now, log) = (Timers::new(), Instant::now(), Arc::default());
    let waker = |n| Waker::from(Arc::new(Log(n, Arc::clone(&log))));
    let at = now + Duration::from_secs(1);
    for n in 0..8 {
        let moved = timers.insert(now, waker(3 * n + 1), here());
        timers.insert(at, waker(3 * n), here());
        timers.reset(moved, at);
        timers.insert(at, waker(3 * n + 2), here());
    }
    wake(timers.fire(at));
    assert!(log.lock().unwrap().iter().copied().eq(0..24), "{log:?}");
}

/// M05: whoever comes into a place that was left has no right to its entry's time, only to its own.
#[test]
fn equal_deadlines_fire_in_the_order_they_were_set_also_in_a_place_that_was_left() {
    let (mut timers, now, log) = (Timers::new(), Instant::now(), Arc::default());
    let waker = |n| Waker::from(Arc::new(Log(n, Arc::clone(&log))));
    let at = now + Duration::from_secs(1);
    let before = |ms| at - Duration::from_millis(ms);
    for (n, left) in [at, before(1), before(500)].into_iter().enumerate() {
        let left = timers.insert(left, waker(99), here());
        timers.insert(at, waker(2 * n as u32), here());
        timers.remove(left);
        timers.insert(at, waker(2 * n as u32 + 1), here());
    }
    holds(&mut timers);
    wake(timers.fire(at));
    assert!(log.lock().unwrap().iter().copied().eq(0..6), "{log:?}");
}

/// A reset to the deadline that a timer has already is no move, whether its entry was renewed since the last one or not.
#[test]
fn a_timer_that_is_not_moved_keeps_its_place_among_its_equals() {
    for look in [false, true] {
        let (mut timers, now, log) = (Timers::new(), Instant::now(), Arc::default());
        let waker = |n| Waker::from(Arc::new(Log(n, Arc::clone(&log))));
        let at = now + Duration::from_secs(1);
        let moved = timers.insert(now, waker(1), here());
        timers.reset(moved, at);
        timers.insert(at, waker(2), here());
        if look {
            assert_eq!(timers.earliest(), Some(at), "the entry is renewed");
        }
        timers.reset(moved, at);
        wake(timers.fire(at));
        assert_eq!(*log.lock().unwrap(), [1, 2], "renewed: {look}");
    }
}
