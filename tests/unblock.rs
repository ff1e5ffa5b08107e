//! Calls that block, on threads of their own, while the loop goes on. Feature `blocking`.
#![cfg(feature = "blocking")]
mod support;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{alone, eventually, watched};
use waken::time::{sleep, timeout};
use waken::{block_on, spawn, unblock};

#[test]
fn the_output_comes_back_to_the_task_that_waits() {
    watched(20, || {
        block_on(async {
            let here = thread::current().id();
            let task = spawn(async move {
                let kept = Rc::new(1);
                let there = unblock(|| thread::current().id()).await;
                assert_ne!(there, here);
                assert_eq!(thread::current().id(), here);
                *kept
            });
            assert_eq!(task.await.unwrap(), 1);
        });
    });
}

#[test]
fn the_loop_goes_on_while_threads_block() {
    watched(30, || {
        block_on(async {
            let slow: Vec<_> = (0..8)
                .map(|n| {
                    spawn(unblock(move || {
                        thread::sleep(Duration::from_millis(200));
                        n
                    }))
                })
                .collect();
            let start = Instant::now();
            for _ in 0..20 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(start.elapsed() < Duration::from_millis(190), "{:?}", start.elapsed());
            for (n, task) in slow.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), n);
            }
        });
    });
}

#[test]
fn a_panic_on_a_thread_is_the_tasks_that_waits() {
    watched(20, || {
        block_on(async {
            let task = spawn(unblock(|| panic!("no such disk")));
            let error = task.await.unwrap_err();
            assert!(error.to_string().ends_with("panicked: no such disk"), "{error}");
        });
    });
}

/// W18: each job is two wakes from other threads.
#[test]
fn ten_thousand_small_jobs_all_come_back() {
    watched(60, || {
        block_on(async {
            let tasks: Vec<_> = (0..10_000u64).map(|n| spawn(unblock(move || n))).collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            assert_eq!(sum, 9_999 * 10_000 / 2);
        });
    });
}

/// B03, B05. It goes on alone.
#[test]
fn who_gives_up_waits_for_no_job_that_runs() {
    alone("who_gives_up_waits_for_no_job_that_runs", 30, || {
        static ENDED: AtomicBool = AtomicBool::new(false);
        let start = Instant::now();
        block_on(async {
            let job = unblock(|| {
                thread::sleep(Duration::from_millis(500));
                ENDED.store(true, SeqCst);
            });
            let given_up = timeout(Duration::from_millis(50), job).await;
            assert!(given_up.is_err());
        });
        assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
        eventually("the job has ended", || ENDED.load(SeqCst));
    });
}
