//! Chapter 0.

use crate::support::watched;
use std::time::Duration;
use waken::time::{sleep, timeout};
use waken::{block_on, spawn};

#[test]
fn ex00_whatever_happens_wakes_whoever_waits_for_it() {
    watched(5, || {
        block_on(async {
            let sleeper = spawn(async {
                sleep(Duration::from_millis(10)).await;
                "the time is up"
            });
            // Root waits for the end of a task, and that task for a timer.
            assert_eq!(sleeper.await.unwrap(), "the time is up");
            let never = timeout(Duration::from_millis(10), std::future::pending::<()>()).await;
            assert!(never.is_err(), "nobody else has woken root");
        });
    });
}
