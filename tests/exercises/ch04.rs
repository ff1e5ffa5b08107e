//! Chapter 4.

use crate::support::watched;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use waken::runtime::metrics;
use waken::task::yield_now;
use waken::{block_on, spawn};

async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

#[test]
fn ex04_many_wakes_are_one_poll_in_the_next_turn() {
    watched(5, || {
        let seen = Rc::new(RefCell::new(String::new()));
        block_on(async {
            let kept = Rc::new(Cell::new(None));
            let woken = spawn({
                let (seen, kept) = (seen.clone(), kept.clone());
                let mut polls = 0;
                poll_fn(move |cx| {
                    polls += 1;
                    seen.borrow_mut().push_str(&format!("poll {polls}, "));
                    match polls {
                        1 => kept.set(Some(cx.waker().clone())),
                        2 => (0..3).for_each(|_| cx.waker().wake_by_ref()),
                        _ => return Poll::Ready(()),
                    }
                    Poll::Pending
                })
            });
            yield_now().await;
            let waker = kept.take().unwrap();
            (0..3).for_each(|_| waker.wake_by_ref());
            let other = spawn({
                let seen = seen.clone();
                async move { seen.borrow_mut().push_str("another, ") }
            });
            other.await.unwrap();
            woken.await.unwrap();
        });
        assert_eq!(*seen.borrow(), "poll 1, poll 2, another, poll 3, ");
    });
}

#[test]
fn ex04_a_wake_of_a_task_that_has_ended_polls_nobody() {
    watched(5, || {
        block_on(async {
            // Kept by its handle, and then another in its place.
            let short = spawn(waker());
            yield_now().await;
            assert!(short.is_finished());
            let before = metrics();
            let late = short.await.unwrap();
            late.wake_by_ref();
            yield_now().await;
            let next = spawn(std::future::pending::<()>());
            yield_now().await;
            late.wake_by_ref();
            yield_now().await;
            assert_eq!(metrics().polls - before.polls, 1, "the first poll of the next task");
            next.abort();

            let kept = Rc::new(Cell::new(None));
            let ended = spawn({
                let kept = kept.clone();
                async move { kept.set(Some(waker().await)) }
            });
            yield_now().await;
            let before = metrics();
            kept.take().unwrap().wake();
            yield_now().await;
            assert_eq!(metrics().polls, before.polls, "it has ended, and nobody has joined it yet");
            ended.await.unwrap();
        });
    });
}

#[test]
fn ex04_the_root_is_polled_when_it_is_woken() {
    watched(5, || {
        let mut polls = 0;
        block_on(poll_fn(|cx| {
            polls += 1;
            if polls > 3 {
                return Poll::Ready(());
            }
            (0..3).for_each(|_| cx.waker().wake_by_ref());
            Poll::Pending
        }));
        assert_eq!(polls, 4);
    });
}
