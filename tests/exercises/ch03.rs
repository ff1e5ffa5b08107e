//! Chapter 3.

use crate::support::watched;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use waken::task::yield_now;
use waken::{Runtime, block_on, spawn};

async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// `Pending` once; somebody else has the waker.
async fn park() {
    let mut is_first = true;
    poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

#[test]
fn ex03_a_wake_on_its_own_thread_queues_the_task_at_once() {
    watched(5, || {
        let seen = Rc::new(RefCell::new(Vec::new()));
        block_on(async {
            let kept = Rc::new(Cell::new(None));
            let first = spawn({
                let (seen, kept) = (seen.clone(), kept.clone());
                async move {
                    kept.set(Some(waker().await));
                    park().await;
                    seen.borrow_mut().push("woken");
                }
            });
            yield_now().await;
            kept.take().unwrap().wake();
            let after = seen.clone();
            let second = spawn(async move { after.borrow_mut().push("spawned after that") });
            first.await.unwrap();
            second.await.unwrap();
        });
        assert_eq!(*seen.borrow(), ["woken", "spawned after that"]);
    });
}

#[test]
fn ex03_a_wake_from_another_thread_arrives() {
    watched(5, || {
        block_on(async {
            spawn(async {
                let waker = waker().await;
                let other = thread::spawn(move || waker.wake());
                park().await;
                other.join().unwrap();
            })
            .await
            .unwrap();
        });
    });
}

#[test]
fn ex03_a_wake_while_another_runtime_runs_goes_home_and_one_after_the_end_nowhere() {
    watched(5, || {
        let ours = Runtime::new().unwrap();
        let kept = Rc::new(Cell::new(None));
        let task = ours.spawn({
            let kept = kept.clone();
            async move {
                kept.set(Some(waker().await));
                park().await;
            }
        });
        ours.block_on(yield_now());
        let waker = kept.take().unwrap();
        let late = waker.clone();
        block_on(async move { waker.wake() });
        ours.block_on(task).unwrap();
        drop(ours);
        late.wake();
    });
}
