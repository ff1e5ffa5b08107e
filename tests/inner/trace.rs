//! `runtime/trace/check.rs`: each check, on a runtime that does what none of ours does.

use super::super::recorder::Site;
use super::*;
use crate::number::Number;
use crate::slab::Key;
use crate::tasks::{About, Ended};
use std::panic::Location;
use std::time::Instant;

/// To read, at the place (0) or aside.
fn wait(claim: u32) -> Event {
    Event::Wait { place: (1, 0, false, claim), number: Some(number()), at: None }
}

/// A runtime that does as it is told.
struct Broken {
    story: Story,
    now: Duration,
    wakes: u64,
    found: Vec<String>,
    /// On which thread the next events are.
    thread: u32,
    /// The last, as it is told.
    told: String,
}

/// Of the runtime 1.
const TASK: u64 = 1 << 16 | 1;
const OTHER: u64 = 2 << 16 | 1;

fn number() -> Number {
    Number::of_task(TASK, 0)
}

impl Broken {
    /// It has a task, which is in the queue, and descriptor 5.
    fn new() -> Broken {
        let story = Story::new(Instant::now());
        let mut runtime = Broken {
            story,
            now: Duration::ZERO,
            wakes: 0,
            found: Vec::new(),
            thread: 1,
            told: String::new(),
        };
        runtime.does(Event::Start { runtime: 1, epoll: 3, eventfd: 4 });
        runtime.does(Event::Register { fd: 5, bits: 1, key: Key { index: 0, stamp: 1 } });
        let about = About { spawned_at: Location::caller(), type_name: || "a future", name: None };
        runtime.does(Event::Spawn { number: number(), id: TASK, about });
        runtime.does(Event::Enqueue { number: number() });
        runtime
    }

    fn does(&mut self, event: Event) -> &mut Broken {
        static SITE: Site = Site::new(file!(), line!());
        self.now += Duration::from_micros(1);
        let record = Record { at: self.now, site: &SITE, runtime: 1, thread: self.thread, event };
        let step = self.story.step(&record, &mut self.wakes);
        assert!(!step.what.is_empty(), "an event after {:?} says nothing", self.found);
        self.told = format!("{} {}", step.what, step.more);
        self.found.extend(step.findings.iter().map(|finding| finding.check.to_owned()));
        self
    }

    fn from(&mut self, thread: u32) -> &mut Broken {
        self.thread = thread;
        self
    }

    fn polls(&mut self) -> &mut Broken {
        self.does(Event::Poll { number: number() })
    }

    fn is_pending(&mut self) -> &mut Broken {
        self.does(Event::Polled { number: number(), is_ready: false })
    }

    /// As it ought to be: to try, to hear `WouldBlock`, and to wait.
    fn waits(&mut self) -> &mut Broken {
        self.does(Event::Call { name: "recv", first: 5, result: Err(11) });
        self.does(Event::NotReady { source: 0, reads: true, short: false });
        self.does(wait(0))
    }

    fn is_woken(&mut self) -> &mut Broken {
        self.does(Event::Ready { datum: 1 << 32, bits: 1 });
        self.does(Event::Taken { source: 0 });
        self.does(Event::Wake { number: number() });
        self.does(Event::Enqueue { number: number() })
    }

    fn ends(&mut self) -> &mut Broken {
        self.does(Event::Polled { number: number(), is_ready: true });
        self.does(Event::End { index: 0, how: Ended::Finished })
    }

    fn sleeps(&mut self) -> &mut Broken {
        self.does(Event::Sleep { timeout: None })
    }
}

#[track_caller]
fn assert_found(runtime: &Broken, check: &str) {
    assert_eq!(runtime.found, [check]);
    assert!(ALL.iter().any(|(name, _)| *name == check), "the page does not know `{check}`");
}

#[test]
fn a_runtime_that_does_everything_right_passes_every_check() {
    let mut runtime = Broken::new();
    runtime.polls().waits().is_pending().sleeps().is_woken().polls().waits().is_pending().sleeps();
    runtime.is_woken().polls().ends().does(Event::Stop { runtime: 1 });
    assert_eq!(runtime.found, [""; 0]);
}

#[test]
fn who_has_woken_itself_and_ended_is_not_counted_in_the_queue() {
    let mut runtime = Broken::new();
    let other = Number::of_task(OTHER, 1);
    let about = About { spawned_at: Location::caller(), type_name: || "a future", name: None };
    runtime
        .does(Event::Spawn { number: other, id: OTHER, about })
        .does(Event::Enqueue { number: other });
    runtime
        .polls()
        .does(Event::Wake { number: number() })
        .does(Event::Enqueue { number: number() });
    runtime.ends().does(Event::Poll { number: other });
    runtime.does(Event::Wait { place: (1, 0, false, 0), number: Some(other), at: None });
    runtime.does(Event::Polled { number: other, is_ready: false }).sleeps();
    assert!(runtime.told.contains("[queue 0, parked 1"), "{}", runtime.told);
}

#[test]
fn a_poll_that_nobody_has_asked_for_is_found() {
    let mut runtime = Broken::new();
    runtime.polls().waits().is_pending().polls();
    assert_found(&runtime, "no poll without a wake");
}

#[test]
fn a_poll_of_what_is_done_is_found() {
    let mut runtime = Broken::new();
    runtime.polls().ends().does(Event::Enqueue { number: number() }).polls();
    assert_found(&runtime, "no poll after Ready");
    runtime.ends();
}

#[test]
fn a_task_that_waits_with_nobody_who_knows_is_found_once() {
    let mut runtime = Broken::new();
    runtime.polls().is_pending().sleeps().sleeps();
    assert_found(&runtime, "no lost waker");
}

#[test]
fn one_whose_last_clone_is_dropped_is_found() {
    let mut runtime = Broken::new();
    runtime.polls().does(Event::Counted { number: number(), made: true }).is_pending().sleeps();
    assert_eq!(runtime.found, [""; 0]);
    runtime.does(Event::Counted { number: number(), made: false }).sleeps();
    assert_found(&runtime, "no lost waker");
}

#[test]
fn who_waits_for_what_is_there_already_is_found() {
    let mut runtime = Broken::new();
    runtime.polls().does(wait(0));
    assert_found(&runtime, "edges are used up");
}

#[test]
fn who_waits_for_urgent_data_alone_may_leave_the_rest_unread() {
    let mut runtime = Broken::new();
    runtime.polls().does(Event::WaitsFor { source: 0, urgent_only: true });
    runtime.does(wait(0));
    assert_eq!(runtime.found, [""; 0]);
    // It was said of that one wait.
    runtime.does(wait(0));
    assert_found(&runtime, "edges are used up");
}

#[test]
fn one_whose_wake_is_on_its_way_is_not_lost() {
    let mut runtime = Broken::new();
    runtime.polls().is_pending().does(Event::Letter { eventfd: 4, number: Some(number()) });
    runtime.sleeps();
    assert_eq!(runtime.found, [""; 0]);
}

/// The box is open again while what was in it is handed out.
#[test]
fn a_letter_that_comes_while_the_last_is_taken_out_is_not_taken_for_it() {
    let mut runtime = Broken::new();
    let letter = || Event::Letter { eventfd: 4, number: Some(number()) };
    runtime.polls().is_pending().from(2).does(letter());
    runtime.from(3).does(letter()).from(1).does(Event::Letters { wakes: 1, jobs: 0 });
    assert!(runtime.does(Event::Wake { number: number() }).told.contains("thread 2 -> WAKE t1"));
    runtime.does(Event::Enqueue { number: number() }).polls().is_pending().sleeps();
    runtime.does(Event::Letters { wakes: 1, jobs: 0 }).does(Event::Wake { number: number() });
    assert!(runtime.told.contains("thread 3 -> WAKE t1"), "{}", runtime.told);
    assert_eq!(runtime.found, [""; 0]);
}

#[test]
fn readiness_that_is_dropped_without_would_block_is_found() {
    let mut runtime = Broken::new();
    runtime.polls().does(Event::Call { name: "recv", first: 5, result: Ok(4096) });
    runtime.does(Event::NotReady { source: 0, reads: true, short: false });
    assert_found(&runtime, "edges are used up");
}

/// As when an `AsyncFd` is made and tried in one poll: what its user's own call says is not seen.
#[test]
fn a_call_that_moves_nothing_says_nothing_of_readiness() {
    let mut runtime = Broken::new();
    runtime.polls().does(Event::Call { name: "fcntl", first: 5, result: Ok(0) });
    runtime.does(Event::NotReady { source: 0, reads: true, short: false });
    runtime.does(wait(0));
    assert!(runtime.found.is_empty(), "{:?}", runtime.found);
}

#[test]
fn a_waiter_that_has_ended_is_found() {
    let mut runtime = Broken::new();
    runtime.polls().does(Event::NotReady { source: 0, reads: true, short: true }).ends();
    runtime.does(wait(0));
    assert_found(&runtime, "wakers belong to the living");
}

#[test]
fn a_poll_of_a_millisecond_is_a_hint() {
    let mut runtime = Broken::new();
    runtime.polls().waits().now += Duration::from_millis(1);
    runtime.is_pending();
    assert_found(&runtime, "no long poll");
}

#[test]
fn a_number_that_was_not_taken_out_before_it_is_anothers_is_found() {
    let mut runtime = Broken::new();
    runtime.does(Event::Register { fd: 5, bits: 1, key: Key { index: 1, stamp: 2 } });
    assert_found(&runtime, "registered once");
}

/// As `select` of two reads of one socket does it.
#[test]
fn who_waits_twice_and_gives_up_one_still_waits() {
    let mut runtime = Broken::new();
    runtime.polls().waits().does(wait(4)).does(wait(4));
    runtime.does(Event::GiveUp { place: (1, 0, false, 4) }).is_pending().sleeps();
    assert_eq!(runtime.found, [""; 0]);
    runtime.does(Event::GiveUp { place: (1, 0, false, 0) }).sleeps();
    assert_found(&runtime, "no lost waker");
}

/// As a task that reads and writes one socket at once.
#[test]
fn who_waits_both_ways_and_is_woken_to_write_still_waits_to_read() {
    let mut runtime = Broken::new();
    runtime.polls().waits().does(Event::NotReady { source: 0, reads: false, short: false });
    let (number, at) = (Some(number()), None);
    runtime.does(Event::Wait { place: (1, 0, true, 4), number, at }).is_pending();
    runtime.does(Event::Ready { datum: 1 << 32, bits: 4 });
    runtime.does(Event::TakenAside { of: (1, 0), reads: false, writes: true });
    runtime.does(Event::Wake { number: self::number() });
    assert!(runtime.told.contains("fd 5 OUT -> WAKE t1"), "{}", runtime.told);
    runtime.does(Event::Enqueue { number: self::number() }).polls().is_pending().sleeps();
    assert!(runtime.found.is_empty(), "{:?}", runtime.found);
}

/// As when a future of its own is polled by another runtime's task.
#[test]
fn a_task_of_another_runtime_has_not_ended_because_it_is_not_known_here() {
    let mut runtime = Broken::new();
    runtime.polls().does(Event::NotReady { source: 0, reads: true, short: true });
    for number in [Number::of_task(7 << 16 | 2, 7), Number::of_root(2)] {
        let number = Some(number);
        runtime.does(Event::Wait { place: (1, 0, false, 0), number, at: None });
    }
    assert_eq!(runtime.found, [""; 0]);
}

#[test]
fn a_number_that_is_anothers_before_the_letter_has_come_is_that_others() {
    let mut runtime = Broken::new();
    runtime.from(2).does(Event::Removed { eventfd: 4, fd: 5 }).from(1);
    runtime.does(Event::Register { fd: 5, bits: 1, key: Key { index: 1, stamp: 2 } });
    runtime.polls().does(Event::Call { name: "recv", first: 5, result: Err(11) });
    runtime.does(Event::NotReady { source: 1, reads: true, short: false });
    let (number, at) = (Some(number()), None);
    runtime.does(Event::Wait { place: (1, 1, false, 0), number, at }).is_pending();
    assert!(runtime.told.contains("PARKED on fd 5 readable"), "{}", runtime.told);
    runtime.does(Event::Deregister { runtime: 1, source: 0 }).sleeps();
    assert_eq!(runtime.found, [""; 0]);
    runtime.does(Event::Deregister { runtime: 1, source: 1 }).sleeps();
    assert_found(&runtime, "no lost waker");
}

/// What is told of one does not look at all the others.
#[test]
fn to_tell_of_a_sleep_costs_the_same_however_many_wait() {
    fn id(index: u32) -> u64 {
        u64::from(index) << 16 | 1
    }
    fn task(index: u32) -> Number {
        Number::of_task(id(index), index)
    }
    let polls = |runtime: &mut Broken, number| {
        runtime.does(Event::Poll { number });
        let (key, deadline) = (Key { index: number.index(), stamp: 1 }, Instant::now());
        let at = Location::caller();
        runtime.does(Event::TimerSet { key, of: Some(number), deadline, at });
        runtime.does(Event::Polled { number, is_ready: false });
    };
    let mut runtime = Broken::new();
    for index in 2..10_000 {
        let about = About { spawned_at: Location::caller(), type_name: || "a future", name: None };
        let bits = Key { index, stamp: 1 };
        runtime.does(Event::Register { fd: index as i32 + 10, bits: 1, key: bits });
        runtime.does(Event::Spawn { number: task(index), id: id(index), about });
        runtime.does(Event::Enqueue { number: task(index) });
    }
    runtime.polls().waits().is_pending();
    let begin = cpu();
    (2..10_000).for_each(|index| polls(&mut runtime, task(index)));
    for n in 0..20_000 {
        let number = task(2 + n % 9998);
        runtime.sleeps().does(Event::TimerFired { index: number.index() });
        runtime.does(Event::Wake { number }).does(Event::Enqueue { number });
        polls(&mut runtime, number);
    }
    for index in 2..10_000 {
        runtime.does(Event::Enqueue { number: task(index) });
        runtime
            .does(Event::Deregister { runtime: 1, source: index })
            .does(Event::TakenOut { id: id(index) });
    }
    assert_eq!(runtime.found, [""; 0]);
    // It takes a second. With each sleep, or each end of a timer, that looked at all who wait it was minutes.
    assert!(cpu() - begin < Duration::from_secs(20), "{:?}", cpu() - begin);
}

/// What this thread has used of the processor.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_task_that_outlives_its_runtime_is_found() {
    let mut runtime = Broken::new();
    runtime.does(Event::Stop { runtime: 1 });
    assert_found(&runtime, "every task is dropped");
}
