//! Chapter 5.

use crate::support::{keep, on_drop, watched};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use waken::task::yield_now;
use waken::time::timeout;
use waken::{block_on, spawn};

#[test]
fn ex05_an_aborted_task_is_dropped_in_its_turn_and_its_destructor_may_do_what_it_likes() {
    watched(5, || {
        let said = Rc::new(RefCell::new(String::new()));
        let say = |what: &'static str| {
            let said = said.clone();
            move || said.borrow_mut().push_str(what)
        };
        block_on(async {
            let (begun, drops, spawned) = (say("begun, "), say("dropped, "), say("spawned, "));
            let task = spawn(async move {
                begun();
                keep(on_drop(move || {
                    drops();
                    drop(spawn(async move { spawned() }));
                }))
                .await
            });
            yield_now().await;
            task.abort();
            say("aborted, ")();
            let joined = timeout(Duration::from_secs(1), task).await;
            let error = joined.expect("its turn comes, and its joiner is woken").unwrap_err();
            assert!(error.is_cancelled());
            yield_now().await;
        });
        assert_eq!(*said.borrow(), "begun, aborted, dropped, spawned, ");
    });
}

#[test]
fn ex05_who_has_ended_is_not_harmed_nor_who_came_after() {
    watched(5, || {
        block_on(async {
            let task = spawn(async { "done" });
            let late = task.abort_handle();
            yield_now().await;
            late.abort();
            assert_eq!(task.await.unwrap(), "done", "it had ended before");
            // It has the place in the table that the first one had.
            let next = spawn(async { "another" });
            late.abort();
            assert_eq!(next.await.unwrap(), "another");
        });
    });
}
