//! Wakes: none is lost, none counts twice, and each is in its place.
mod support;
use support::{Random, guard, watched};

use futures_lite::future::poll_once;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use waken::task::yield_now;
use waken::{JoinHandle, Runtime, block_on, spawn};

/// A task that does as it is told at its next poll, and shows its waker.
#[derive(Clone, Default)]
struct Probe {
    polls: Rc<Cell<u32>>,
    waker: Rc<RefCell<Option<Waker>>>,
    wake_itself: Rc<Cell<u32>>,
    done: Rc<Cell<bool>>,
}

impl Probe {
    /// Spawned and polled once.
    async fn spawn() -> (Probe, JoinHandle<()>) {
        let probe = Probe::default();
        let task = spawn(probe.clone().run(|| {}));
        yield_now().await;
        assert_eq!(probe.polls.get(), 1);
        (probe, task)
    }

    async fn run(self, at_poll: impl Fn()) {
        poll_fn(|cx| {
            at_poll();
            self.polls.set(self.polls.get() + 1);
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            for _ in 0..self.wake_itself.replace(0) {
                cx.waker().wake_by_ref();
            }
            if self.done.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn waker(&self) -> Waker {
        self.waker.borrow().clone().unwrap()
    }
}

/// Lets every task that is ready be polled, `n` times.
async fn turns(n: u32) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// W08.
#[test]
fn many_wakes_before_a_poll_make_one_poll() {
    watched(10, || {
        block_on(async {
            let (probe, _task) = Probe::spawn().await;
            for _ in 0..10 {
                probe.waker().wake();
                probe.waker().wake_by_ref();
            }
            turns(3).await;
            assert_eq!(probe.polls.get(), 2);
        });
    });
}

/// W08.
#[test]
fn wakes_during_a_poll_make_exactly_one_more() {
    watched(10, || {
        block_on(async {
            let (probe, _task) = Probe::spawn().await;
            probe.wake_itself.set(3);
            probe.waker().wake();
            turns(1).await;
            assert_eq!(probe.polls.get(), 2, "it waits for the next turn");
            turns(3).await;
            assert_eq!(probe.polls.get(), 3);
        });
    });
}

/// W08, F02, U01.
#[test]
fn a_stale_waker_does_not_wake_the_next_task_in_the_same_place() {
    watched(10, || {
        block_on(async {
            let (old, task) = Probe::spawn().await;
            old.done.set(true);
            old.waker().wake();
            task.await.unwrap();
            old.waker().wake();
            let (new, task) = Probe::spawn().await;
            for _ in 0..100 {
                old.waker().wake_by_ref();
                turns(1).await;
            }
            assert_eq!((old.polls.get(), new.polls.get()), (2, 1));
            new.done.set(true);
            new.waker().wake();
            task.await.unwrap();
        });
    });
}

/// W08, T14: between its end and its join a task has nothing left to poll.
#[test]
fn a_wake_of_a_task_that_has_ended_and_is_not_joined_does_nothing() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let waker = Rc::new(RefCell::new(None));
            let shown = waker.clone();
            let task = spawn(async move {
                *shown.borrow_mut() = Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
                7
            });
            turns(1).await;
            assert!(task.is_finished());
            let before = runtime.metrics();
            waker.take().unwrap().wake();
            turns(2).await;
            let after = runtime.metrics();
            assert_eq!((after.polls, after.tasks_alive), (before.polls, 0));
            assert_eq!(task.await.unwrap(), 7);
        });
    });
}

#[test]
fn tasks_are_polled_in_the_order_of_their_wakes() {
    watched(10, || {
        block_on(async {
            let log = Rc::new(RefCell::new(Vec::new()));
            let mut probes = Vec::new();
            for i in 0..100 {
                let (probe, log) = (Probe::default(), log.clone());
                spawn(probe.clone().run(move || log.borrow_mut().push(i)));
                probes.push(probe);
            }
            turns(1).await;
            assert_eq!(*log.borrow(), Vec::from_iter(0..100), "spawning is a wake");
            let mut random = Random(7);
            for _ in 0..100 {
                log.borrow_mut().clear();
                let mut order: Vec<usize> = (0..100).collect();
                (1..100).for_each(|i| order.swap(i, random.below(i as u64 + 1) as usize));
                order.iter().for_each(|&i| probes[i].waker().wake());
                turns(1).await;
                assert_eq!(*log.borrow(), order);
            }
        });
    });
}

/// P01: whichever runtime is current, a wake goes to the one of its task.
#[test]
fn a_wake_under_another_runtime_goes_home() {
    watched(10, || {
        let (home, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let probe = Probe::default();
        let task = home.spawn(probe.clone().run(|| {}));
        home.block_on(yield_now());
        probe.done.set(true);
        other.block_on(async { probe.waker().wake() });
        home.block_on(task).unwrap();
        assert_eq!(probe.polls.get(), 2);
    });
}

/// A finished task's last wake must not give its place in the queue to the next task.
#[test]
fn a_new_task_does_not_inherit_a_place_in_the_queue() {
    watched(10, || {
        block_on(async {
            let log = Rc::new(RefCell::new(Vec::new()));
            // Wakes itself and is done: its place in the table is free, its wake still queued.
            spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            }));
            let older = log.clone();
            spawn(async move {
                let mut yielded = yield_now();
                assert!(poll_once(&mut yielded).await.is_none()); // woken, before …
                let newer = older.clone();
                spawn(async move { newer.borrow_mut().push("newer") }); // … this one is
                pending_once().await;
                older.borrow_mut().push("older");
            });
            turns(3).await;
            assert_eq!(*log.borrow(), ["older", "newer"]);
        });
    });
}

/// Pending, once, without a wake.
async fn pending_once() {
    let mut polled = false;
    poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

/// N07: "A task woken while the tasks run waits for the next turn."
#[test]
fn a_task_is_polled_once_a_turn() {
    watched(10, || {
        block_on(async {
            let (finishing, task) = Probe::spawn().await;
            drop(task);
            let polls = Rc::new(Cell::new(0));
            let counted = polls.clone();
            spawn(poll_fn(move |cx| {
                counted.set(counted.get() + 1);
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            }));
            turns(5).await;
            assert_eq!(polls.get(), 5);
            finishing.done.set(true);
            finishing.wake_itself.set(1);
            finishing.waker().wake();
            turns(5).await;
            assert_eq!(polls.get(), 10);
            // Woken often before its turn, and more often in it; with room for that in the queue, and without.
            let (probe, _task) = Probe::spawn().await;
            for so_far in (1..40).step_by(2) {
                (0..3).for_each(|_| probe.waker().wake());
                probe.wake_itself.set(3);
                yield_now().await;
                assert_eq!(probe.polls.get(), so_far + 1);
                turns(3).await;
                assert_eq!(probe.polls.get(), so_far + 2);
            }
        });
    });
}

/// W05.
#[test]
fn will_wake_knows_the_task_and_its_clones() {
    watched(10, || {
        block_on(async {
            let (a, _a) = Probe::spawn().await;
            let (b, _b) = Probe::spawn().await;
            let first = a.waker();
            a.waker().wake();
            turns(1).await;
            assert!(first.will_wake(&a.waker()) && first.clone().will_wake(&first));
            assert!(!first.will_wake(&b.waker()));
            let root = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            assert!(!root.will_wake(&first));
        });
    });
}

/// N09, P02, U01, W12, W15: also when the thread of the runtime has ended.
#[test]
fn wakers_outlive_the_runtime_on_every_thread() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (probe, root) = runtime.block_on(async {
            let (probe, _task) = Probe::spawn().await;
            (probe, poll_fn(|cx| Poll::Ready(cx.waker().clone())).await)
        });
        let wakers = [probe.waker(), root];
        drop(runtime);
        #[allow(clippy::waker_clone_wake)] // Both, on purpose.
        let everything = |wakers: [Waker; 2]| {
            for waker in wakers {
                waker.wake_by_ref();
                waker.clone().wake();
                assert!(waker.will_wake(&waker.clone()));
                drop(waker.clone());
                waker.wake();
            }
        };
        everything(wakers.clone());
        let theirs = wakers.clone();
        thread::spawn(move || everything(theirs)).join().unwrap();
        block_on(async move { everything(wakers) });
        assert_eq!(probe.polls.get(), 1);
    });
}

/// W08, T18: random wakes, also from within polls, ends and new tasks, against a model of the queue.
#[test]
fn a_hundred_thousand_random_sequences_go_as_the_model_says() {
    for with_last_wakes in [false, true] {
        guard(60).cpu_ms(5_000).block_on(random_sequences(with_last_wakes));
    }
}

async fn random_sequences(with_last_wakes: bool) {
    for seed in 1..=50_000 {
        let mut random = Random(seed * 0x9E37_79B9);
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut queue: Vec<(usize, u32, bool)> = Vec::new(); // who, wakes itself, is done
        let mut expected = Vec::new();
        let mut probes: Vec<(Probe, bool)> = Vec::new(); // and whether it lives
        for _ in 0..30 {
            let who = random.below(probes.len() as u64 + 1) as usize;
            if who == probes.len() {
                let (probe, log) = (Probe::default(), log.clone());
                drop(spawn(probe.clone().run(move || log.borrow_mut().push(who))));
                probes.push((probe, true));
                queue.push((who, 0, false));
                continue;
            }
            match random.below(3) {
                0 => {
                    let planned = std::mem::take(&mut queue);
                    for (who, itself, done) in planned {
                        expected.push(who);
                        probes[who].1 = !done;
                        if itself > 0 && !done {
                            queue.push((who, 0, false));
                        }
                    }
                    turns(1).await;
                    assert_eq!(*log.borrow(), expected, "seed {seed}, {with_last_wakes}");
                }
                what => {
                    let (probe, lives) = &probes[who];
                    let Some(waker) = probe.waker.borrow().clone() else { continue };
                    waker.wake();
                    if *lives && !queue.iter().any(|&(other, ..)| other == who) {
                        let done = what == 1 && random.below(4) == 0;
                        let itself = random.below(3) as u32;
                        let itself = if done && !with_last_wakes { 0 } else { itself };
                        probe.done.set(done);
                        probe.wake_itself.set(itself);
                        queue.push((who, itself, done));
                    }
                }
            }
        }
        for (probe, _) in &probes {
            probe.done.set(true);
            probe.waker.take().into_iter().for_each(Waker::wake);
        }
        turns(2).await;
    }
}

/// W09, U08, in their simplest form: what was written before a wake is seen by the poll that it causes.
#[test]
fn what_was_written_before_a_wake_is_seen_after_it() {
    watched(20, || {
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let written = Arc::new(AtomicUsize::new(0));
        let (theirs, writes) = (waker.clone(), written.clone());
        let writer = thread::spawn(move || {
            for n in 1..=10_000 {
                let waker = loop {
                    if let Some(waker) = theirs.lock().unwrap().take() {
                        break waker;
                    }
                    thread::yield_now();
                };
                writes.store(n, Relaxed);
                waker.wake();
            }
        });
        block_on(async {
            for n in 1..=10_000 {
                *waker.lock().unwrap() = Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
                pending_once().await;
                assert_eq!(written.load(Relaxed), n);
            }
        });
        writer.join().unwrap();
    });
}

/// W09, U08: two threads wake one task, and of the second wake nothing is left but what was written before it.
#[test]
fn what_was_written_before_a_wake_that_came_second_is_seen_as_well() {
    guard(30).cpu_ms(3_000).run(|| {
        const ROUNDS: usize = 3_000;
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let written: Arc<[AtomicUsize; 2]> = Arc::default();
        let done = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1].map(|who| {
            let (waker, written, done) = (waker.clone(), written.clone(), done.clone());
            thread::spawn(move || {
                for round in 1..=ROUNDS {
                    // Both at once: a round begins when both have ended the one before.
                    while done.load(Relaxed) < 2 * (round - 1) || waker.lock().unwrap().is_none() {
                        thread::yield_now();
                    }
                    let waker = waker.lock().unwrap().clone().unwrap();
                    written[who].store(round, Relaxed);
                    waker.wake();
                    done.fetch_add(1, Relaxed);
                }
            })
        });
        block_on(poll_fn(|cx| {
            let mut waker = waker.lock().unwrap();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            // Nobody else will wake it: a write that this poll does not see is one that no poll sees.
            match written.iter().all(|written| written.load(Relaxed) == ROUNDS) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
