//! Chapter 11.

use crate::support::guard;
use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use waken::runtime::remote;
use waken::time::sleep;
use waken::{Runtime, spawn};

const THROWS: u32 = 20_000;

#[test]
fn ex11_who_sleeps_is_woken_and_who_is_awake_costs_no_call() {
    guard(5).cpu_ms(2000).run(|| {
        // It shall sleep as often as it can: without a look before it.
        let runtime = Runtime::builder().spin(Duration::ZERO).build().unwrap();
        runtime.block_on(async {
            // A thread and a task throw a ball, and each waits for the other: one wake lost is the end.
            let ball = Arc::new(AtomicU32::new(0));
            let mut thread = None;
            let rounds = Cell::new(0);
            poll_fn(|cx| {
                let n = ball.load(Acquire);
                if n % 2 == 1 {
                    rounds.set(rounds.get() + 1);
                    ball.store(n + 1, Release);
                    // It comes back while we go to sleep: at every moment of that.
                    (0..n / 2 % 128).for_each(|_| hint::spin_loop());
                }
                thread
                    .get_or_insert_with(|| thread::spawn(throws(ball.clone(), cx.waker().clone())));
                if n > 2 * THROWS { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            thread.unwrap().join().unwrap();
            assert_eq!(rounds.get(), THROWS + 1);

            // While the runtime's thread is awake, it will look into the box anyway.
            let (before, remote) = (eventfd_count(), remote());
            thread::spawn(move || (0..1000).for_each(|_| remote.wake())).join().unwrap();
            assert_eq!(eventfd_count(), before, "nobody sleeps: no write");
            spawn(sleep(Duration::from_millis(10))).await.unwrap();
            assert_eq!(eventfd_count(), before, "the letters were there before it slept");
        });
    });
}

fn throws(ball: Arc<AtomicU32>, waker: std::task::Waker) -> impl FnOnce() {
    move || {
        for n in 0..=THROWS {
            while ball.load(Acquire) != 2 * n {
                hint::spin_loop();
            }
            ball.store(2 * n + 1, Release);
            waker.wake_by_ref();
        }
    }
}

/// The sum of what stands in all of this process: each write adds one.
fn eventfd_count() -> u64 {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
    let infos = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok());
    infos
        .filter_map(|info| info.split_once("eventfd-count:").map(|(_, count)| count.to_owned()))
        .map(|count| u64::from_str_radix(count.lines().next().unwrap().trim(), 16).unwrap())
        .sum()
}
