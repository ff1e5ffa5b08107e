//! Wakes, spawns, joins and aborts from other threads, as many as are asked for, and as fast as they come; and every other
//! thing of the runtime's that two threads touch.
//!
//! ```sh
//! wakes 1000000
//! ```

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use waken::{Runtime, block_on, spawn};

fn main() -> io::Result<()> {
    let wakes: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let runtime = Runtime::new()?;
    let remote = runtime.remote();
    let written = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let ended = Arc::new(AtomicBool::new(false));
    let (mut tasks, mut threads) = (0, Vec::new());
    let seen = runtime.block_on(async {
        let (tell, told) = std::sync::mpsc::channel::<Waker>();
        let theirs = written.clone();
        let waits = spawn(poll_fn(move |cx| {
            let _first = tell.send(cx.waker().clone());
            match theirs.iter().map(|word| word.load(Relaxed)).sum::<u64>() >= wakes {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        waken::task::yield_now().await;
        let waker = told.recv().map_err(io::Error::other)?;
        drop(told);
        for thread in 0..2 {
            let (waker, written) = (waker.clone(), written.clone());
            threads.push(thread::spawn(move || {
                for _ in 0..wakes.div_ceil(2) {
                    written[thread].fetch_add(1, Relaxed);
                    waker.wake_by_ref();
                }
            }));
        }
        // Meanwhile a third one spawns, joins, gives up.
        let (theirs, until) = (remote.clone(), ended.clone());
        let spawner = thread::spawn(move || {
            let mut joined = 0u64;
            while !until.load(Relaxed) {
                let task = theirs.spawn(|| async { Box::new(1) });
                match task {
                    Ok(task) if joined % 3 == 2 => drop(task),
                    Ok(task) if joined % 3 == 1 => drop(block_on(task)),
                    Ok(task) => drop(task.join()),
                    Err(_) => break,
                }
                joined += 1;
            }
            joined
        });
        waits.await.map_err(io::Error::other)?;
        ended.store(true, Relaxed);
        while !spawner.is_finished() {
            waken::time::sleep(Duration::from_millis(1)).await;
        }
        tasks = spawner.join().unwrap_or(0);
        io::Result::Ok(written.iter().map(|word| word.load(Relaxed)).sum::<u64>())
    })?;
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let letters = runtime.metrics().remote_wakes;
    println!(
        "wakes: {seen} wakes from two threads in {letters} letters, {tasks} tasks from a third"
    );
    Ok(())
}
