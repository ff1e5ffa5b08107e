//! Calls that block, on threads of their own, while the loop goes on. Feature `blocking`.
#![cfg(feature = "blocking")]
#[path = "support/filter.rs"]
mod filter;
mod support;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{Guard, eventually};
use waken::time::{sleep, timeout};
use waken::{block_on, spawn, unblock};

/// The guard of a test that makes `blocking` start so many threads.
fn guard(seconds: u64, threads: usize) -> Guard {
    let why = "the pool of `blocking` keeps the threads that it has, for the next calls";
    support::guard(seconds).keeps_threads(threads, why).keeps_bytes(400 * threads, why)
}

#[test]
fn the_output_comes_back_to_the_task_that_waits() {
    guard(20, 1).run(|| {
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
    guard(30, 8).run(|| {
        static GO: AtomicBool = AtomicBool::new(false);
        block_on(async {
            let slow: Vec<_> = (0..8)
                .map(|n| {
                    spawn(unblock(move || {
                        while !GO.load(SeqCst) {
                            thread::sleep(Duration::from_millis(1));
                        }
                        n
                    }))
                })
                .collect();
            for _ in 0..20 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(!slow.iter().any(|job| job.is_finished()));
            GO.store(true, SeqCst);
            for (n, task) in slow.into_iter().enumerate() {
                assert_eq!(task.await.unwrap(), n);
            }
        });
    });
}

/// B04.
#[test]
fn a_panic_on_a_thread_is_the_tasks_that_waits() {
    guard(20, 1).panics().run(|| {
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
    guard(60, 500).run(|| {
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
    guard(30, 1).run(|| {
        static ENDED: AtomicBool = AtomicBool::new(false);
        let start = Instant::now();
        block_on(async {
            let job = unblock(|| {
                thread::sleep(Duration::from_millis(2000));
                ENDED.store(true, SeqCst);
            });
            let given_up = timeout(Duration::from_millis(50), job).await;
            assert!(given_up.is_err());
        });
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
        eventually("the job has ended", || ENDED.load(SeqCst));
    });
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// No thread more can be made from now on: neither here nor on those threads that this one starts.
fn refuse_threads() {
    for call in [libc::SYS_clone, libc::SYS_clone3] {
        filter::refuse_here(filter::Call(call, None), libc::EAGAIN);
    }
    let error = thread::Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
}

/// B01: looking up a name takes a thread of its own. If there is none to be had, that is the error.
#[test]
fn a_name_that_no_thread_can_look_up_is_an_error() {
    support::guard(20).run(|| {
        filter::where_calls_fail(&[], 0, || {
            block_on(async {
                refuse_threads();
                let error = waken::AsyncTcpStream::connect("localhost:9").await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
            });
        });
    });
}

/// The same for the pool: those threads that there are do all the work.
#[test]
#[ignore = "`blocking` 1.7.0 tries again for ever, under its lock: its `grow_pool` does not see the limit that it has lowered"]
fn jobs_are_done_although_no_thread_more_can_be_made() {
    guard(20, 1).run(|| {
        filter::where_calls_fail(&[], 0, || {
            block_on(async {
                unblock(|| ()).await;
                refuse_threads();
                let jobs: Vec<_> = (0..200u32).map(|n| spawn(unblock(move || n))).collect();
                for (n, job) in jobs.into_iter().enumerate() {
                    assert_eq!(job.await.unwrap(), n as u32);
                }
            });
        });
    });
}

/// B02: no job is forgotten, however small and however many.
#[test]
fn a_hundred_thousand_jobs_from_four_threads_all_come_back() {
    guard(120, 500).cpu_ms(3_000).run(|| {
        let runtimes: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(|| {
                    block_on(async {
                        let mut sum = 0;
                        for _ in 0..250 {
                            let jobs: Vec<_> =
                                (0..100u64).map(|n| spawn(unblock(move || n))).collect();
                            for job in jobs {
                                sum += job.await.unwrap();
                            }
                        }
                        sum
                    })
                })
            })
            .collect();
        for runtime in runtimes {
            assert_eq!(runtime.join().unwrap(), 250 * 4_950);
        }
    });
}

/// B04, B06: panics cost no thread. Idle threads stay, as is documented, and are those of the next burst.
#[test]
fn bursts_of_jobs_and_of_panics_use_the_same_threads() {
    guard(60, 300).panics().run(|| {
        block_on(async {
            let mut most = [0; 6];
            for (round, most) in most.iter_mut().enumerate() {
                let jobs: Vec<_> = (0..100)
                    .map(|n| {
                        spawn(unblock(move || {
                            thread::sleep(Duration::from_millis(2));
                            assert!(n % 2 == 0, "on purpose");
                            n
                        }))
                    })
                    .collect();
                for (n, job) in jobs.into_iter().enumerate() {
                    match job.await {
                        Ok(output) => assert_eq!(output, n),
                        Err(error) => assert!(error.is_panic() && n % 2 == 1, "round {round}"),
                    }
                }
                *most = threads();
            }
            println!("{most:?} threads after 100 jobs each");
            // One for each of the 600 would be too many. On a busy machine up to 126 were seen.
            assert!(most.iter().all(|most| *most < 300), "{most:?} threads after 100 jobs each");
        });
    });
}
