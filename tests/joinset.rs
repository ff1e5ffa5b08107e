//! `JoinSet`: members are joined in the order in which they end, and none is forgotten.
mod support;

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::{cpu, guard, panic_message, watched};
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{JoinSet, Runtime, spawn};

/// Counts how often it is dropped.
struct Held(Rc<Cell<u32>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// A member that never ends, and counts its drop.
fn add_endless(set: &mut JoinSet<()>, drops: &Rc<Cell<u32>>) {
    let held = Held(drops.clone());
    set.spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
}

#[test]
fn members_come_in_the_order_in_which_they_end() {
    watched(10, || {
        waken::block_on(async {
            let mut set = JoinSet::new();
            for ms in [40, 1, 20] {
                set.spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    ms
                });
            }
            let mut order = Vec::new();
            while let Some(member) = set.join_next().await {
                order.push(member.unwrap());
            }
            assert_eq!(order, [1, 20, 40]);
        });
    });
}

/// T11: the one that ends wakes who waits, whichever it is of the group.
#[test]
fn a_member_is_joined_when_it_ends_while_the_others_go_on() {
    watched(10, || {
        waken::block_on(async {
            let mut set = JoinSet::new();
            set.spawn(pending());
            set.spawn(async {
                sleep(Duration::from_millis(5)).await;
                2
            });
            set.spawn(pending());
            let joining =
                spawn(async move { (set.join_next().await.unwrap().unwrap(), set.len()) });
            // Not by a timeout around it, which would look again at its end.
            let mut waited = 0;
            while !joining.is_finished() {
                assert!(waited < 2000, "nobody is woken");
                waited += 1;
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(joining.await.unwrap(), (2, 2));
        });
    });
}

#[test]
fn an_empty_set_is_over_at_once_and_can_be_filled_again() {
    watched(10, || {
        waken::block_on(async {
            let mut set = JoinSet::default();
            for round in 0..3 {
                assert!(set.is_empty());
                assert_eq!(set.len(), 0);
                assert!(set.join_next().await.is_none());
                assert!(set.try_join_next().is_none());
                set.spawn(async move { round });
                assert!(!set.is_empty());
                assert_eq!(set.join_next().await.unwrap().unwrap(), round);
            }
        });
    });
}

#[test]
fn the_length_counts_members_until_they_are_joined() {
    watched(10, || {
        waken::block_on(async {
            let mut set = JoinSet::new();
            for n in 0..3 {
                set.spawn(async move { n });
            }
            assert_eq!(set.len(), 3);
            assert!(set.try_join_next().is_none(), "none has run yet");
            yield_now().await;
            assert_eq!(set.len(), 3, "they have ended, and are members still");
            for n in 0..3 {
                assert_eq!(set.try_join_next().unwrap().unwrap(), n);
                assert_eq!(set.len(), 2 - n);
            }
            assert!(set.try_join_next().is_none());
        });
    });
}

#[test]
fn the_poll_function_says_pending_ready_and_none() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut set = JoinSet::new();
            let go = Rc::new(Cell::new(false));
            let gone = go.clone();
            set.spawn(async move {
                while !gone.get() {
                    yield_now().await;
                }
                1
            });
            let first = poll_fn(|cx| Poll::Ready(set.poll_join_next(cx).is_pending())).await;
            assert!(first);
            go.set(true);
            let member = poll_fn(|cx| set.poll_join_next(cx)).await;
            assert_eq!(member.unwrap().unwrap(), 1);
            assert!(poll_fn(|cx| set.poll_join_next(cx)).await.is_none());
        });
    });
}

/// W04: the waker of the last poll counts: the set was given to another task in between.
#[test]
fn whoever_polled_last_is_woken() {
    watched(10, || {
        waken::block_on(async {
            let mut set = JoinSet::new();
            set.spawn(sleep(Duration::from_millis(10)));
            assert!(set.poll_join_next(&mut Context::from_waker(Waker::noop())).is_pending());
            let task = spawn(async move {
                let joined = set.join_next().await;
                (joined.is_some(), set.len())
            });
            assert_eq!(task.await.unwrap(), (true, 0));
        });
    });
}

/// T06.
#[test]
fn a_member_that_panics_is_joined_like_the_others() {
    guard(10).panics().run(|| {
        waken::block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async { 1 });
            let id = set.spawn(async { panic!("member two") }).id();
            set.spawn(async { 3 });
            assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
            let error = set.join_next().await.unwrap().unwrap_err();
            assert_eq!(error.id(), id);
            assert_eq!(panic_message(error.into_panic()), "member two");
            assert_eq!(set.join_next().await.unwrap().unwrap(), 3);
            assert!(set.join_next().await.is_none());
        });
    });
}

/// T07.
#[test]
fn a_member_whose_destructor_panics_is_joined_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    guard(10).panics().run(|| {
        waken::block_on(async {
            let mut set = JoinSet::new();
            set.spawn(async {
                let _bomb = Bomb;
                pending::<()>().await;
            });
            let bomb = Bomb;
            set.spawn(poll_fn(move |_| {
                let _held = &bomb;
                Poll::Ready(())
            }));
            yield_now().await;
            assert!(set.join_next().await.unwrap().is_ok(), "it was ready before its destructor");
            set.abort_all();
            assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
            assert!(set.join_next().await.is_none());
        });
    });
}

#[test]
fn an_aborted_member_is_joined_as_cancelled_and_by_its_own_handle_too() {
    watched(10, || {
        waken::block_on(async {
            let drops = Rc::default();
            let mut set = JoinSet::new();
            let one = set.spawn(pending::<()>());
            add_endless(&mut set, &drops);
            set.spawn(async {});
            one.abort();
            let error = set.join_next().await.unwrap().unwrap_err();
            assert!(error.is_cancelled() && error.id() == one.id());
            assert!(set.join_next().await.unwrap().is_ok(), "the one that ended by itself");
            set.abort_all();
            assert_eq!(
                (set.len(), drops.get()),
                (1, 0),
                "they stay members, and are not dropped inside"
            );
            yield_now().await;
            assert_eq!(drops.get(), 1);
            assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
            assert!(set.join_next().await.is_none());
        });
    });
}

#[test]
fn shutdown_ends_and_joins_every_member() {
    guard(10).panics().run(|| {
        waken::block_on(async {
            let drops = Rc::default();
            let mut set = JoinSet::new();
            (0..10).for_each(|_| add_endless(&mut set, &drops));
            set.spawn(async { panic!("a panic does not come out of `shutdown`") });
            set.spawn(async {});
            yield_now().await;
            set.shutdown().await;
            assert_eq!((set.len(), drops.get()), (0, 10));
            set.shutdown().await;
            set.spawn(async {});
            assert!(set.join_next().await.unwrap().is_ok(), "and can be used again");
        });
    });
}

#[test]
fn a_detached_member_runs_on_alone() {
    watched(10, || {
        waken::block_on(async {
            let ended = Rc::new(Cell::new(0));
            let mut set = JoinSet::new();
            for _ in 0..5 {
                let ended = ended.clone();
                set.spawn(async move {
                    yield_now().await;
                    ended.set(ended.get() + 1);
                });
            }
            set.detach_all();
            assert!(set.is_empty() && set.join_next().await.is_none());
            set.spawn(pending());
            yield_now().await;
            yield_now().await;
            assert_eq!(ended.get(), 5);
            assert!(set.try_join_next().is_none(), "their end is not taken for a member's");
            assert_eq!(set.len(), 1);
            drop(set);
        });
    });
}

/// N03.
#[test]
fn dropping_the_set_aborts_its_members_before_the_next_turn_ends() {
    watched(10, || {
        waken::block_on(async {
            let drops = Rc::default();
            let mut set = JoinSet::new();
            (0..10).for_each(|_| add_endless(&mut set, &drops));
            yield_now().await;
            drop(set);
            assert_eq!(drops.get(), 0);
            yield_now().await;
            assert_eq!(drops.get(), 10);
        });
    });
}

/// Q07: each join costs the same, however many members there are, and in whatever order they end.
#[test]
fn ten_thousand_members_are_joined_in_linear_time() {
    fn join(members: usize, from_the_last: bool) -> Duration {
        waken::block_on(async {
            let mut set = JoinSet::new();
            let mut handles = Vec::new();
            for _ in 0..members {
                handles.push(match from_the_last {
                    true => set.spawn(pending::<()>()),
                    false => set.spawn(async {}),
                });
            }
            yield_now().await;
            let (before, mut joined) = (cpu(), 0);
            if from_the_last {
                handles.iter().rev().for_each(|handle| handle.abort());
            }
            while let Some(member) = set.join_next().await {
                assert_eq!(member.is_err(), from_the_last);
                joined += 1;
            }
            assert_eq!(joined, members);
            cpu() - before
        })
    }
    watched(60, || {
        for from_the_last in [false, true] {
            let small = (0..3).map(|_| join(1000, from_the_last)).min().unwrap();
            let large = join(10_000, from_the_last);
            let limit = 40 * small + Duration::from_millis(50);
            assert!(large < limit, "1,000 in {small:?}, 10,000 in {large:?}");
        }
    });
}

#[test]
fn a_join_that_is_given_up_loses_no_member() {
    watched(10, || {
        waken::block_on(async {
            let mut set = JoinSet::new();
            for n in 0..50u64 {
                set.spawn(async move {
                    sleep(Duration::from_micros(300 * n)).await;
                    n
                });
            }
            let (mut seen, mut given_up) = (Vec::new(), 0);
            while !set.is_empty() {
                match timeout(Duration::from_micros(100), set.join_next()).await {
                    Ok(Some(member)) => seen.push(member.unwrap()),
                    Ok(None) => unreachable!("it is not empty"),
                    Err(_) => given_up += 1,
                }
            }
            assert!(given_up > 0);
            seen.sort_unstable();
            assert_eq!(seen, Vec::from_iter(0..50));
        });
    });
}

/// D02, T13.
#[test]
fn members_end_with_their_runtime_and_the_set_reports_them_cancelled() {
    watched(10, || {
        let drops = Rc::default();
        let mut set = JoinSet::new();
        let runtime = Runtime::new().unwrap();
        {
            let _current = runtime.enter();
            (0..5).for_each(|_| add_endless(&mut set, &drops));
            set.spawn(async {});
        }
        runtime.block_on(yield_now());
        drop(runtime);
        assert_eq!((drops.get(), set.len()), (5, 6));
        waken::block_on(async {
            let mut cancelled = 0;
            while let Some(member) = set.join_next().await {
                cancelled += u32::from(member.unwrap_err().is_cancelled());
            }
            assert_eq!(cancelled, 6, "an output that was not joined in time is gone as well");
        });
    });
}

#[test]
fn a_set_inside_a_task_ends_with_the_runtime() {
    watched(10, || {
        let drops = Rc::default();
        let runtime = Runtime::new().unwrap();
        let inside = Rc::clone(&drops);
        runtime.spawn(async move {
            let mut set = JoinSet::new();
            (0..5).for_each(|_| add_endless(&mut set, &inside));
            set.join_next().await;
        });
        runtime.block_on(async { (yield_now().await, yield_now().await) });
        assert_eq!((drops.get(), runtime.metrics().tasks_alive), (0, 6));
        drop(runtime);
        assert_eq!(drops.get(), 5);
    });
}

/// N08.
#[test]
fn a_set_polled_under_another_runtime_panics_with_a_sentence_while_its_own_lives() {
    guard(10).panics().run(|| {
        let mut set = JoinSet::new();
        let runtime = Runtime::new().unwrap();
        {
            let _current = runtime.enter();
            set.spawn(async { 1 });
        }
        runtime.block_on(yield_now());
        let other = catch_unwind(AssertUnwindSafe(|| waken::block_on(set.join_next())));
        let message = panic_message(other.map(|_| ()).unwrap_err());
        assert!(message.contains("under another runtime"), "{message}");
        assert_eq!(set.len(), 1);
        let joined =
            runtime.block_on(async { timeout(Duration::from_millis(500), set.join_next()).await });
        assert_eq!(joined.expect("the member is still there to be joined").unwrap().unwrap(), 1);
    });
}
