//! Chapter 13.

use crate::support::watched;
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use waken::net::AsyncUnixStream;
use waken::runtime::{metrics, remote};
use waken::task::yield_now;
use waken::time::sleep;
use waken::{block_on, spawn};

const MS: Duration = Duration::from_millis(1);

#[test]
fn ex13_the_loop_asks_everybody_and_sleeps_when_nobody_has_anything() {
    watched(10, || {
        block_on(tasks_that_only_wake_themselves_cost_no_call());
        block_on(who_is_idle_sleeps_and_no_longer_than_until_the_next_timer());
        block_on(who_is_busy_still_asks_the_kernel_the_clock_and_the_mailbox());
    });
}

async fn tasks_that_only_wake_themselves_cost_no_call() {
    let before = metrics().epoll_waits;
    spawn(async {
        for _ in 0..1000 {
            yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(metrics().epoll_waits - before <= 1);
}

async fn who_is_idle_sleeps_and_no_longer_than_until_the_next_timer() {
    let (begin, before) = (Instant::now(), metrics());
    let long = spawn(sleep(10_000 * MS));
    sleep(100 * MS).await;
    let took = begin.elapsed();
    assert!(took >= 100 * MS && took < 5000 * MS, "{took:?}");
    assert!(metrics().epoll_waits - before.epoll_waits < 20, "it spins");
    long.abort();

    // What another thread wants is done when the letter comes.
    let (begin, remote) = (Instant::now(), remote());
    let thread = thread::spawn(move || {
        thread::sleep(50 * MS);
        remote.spawn(|| async { 7 }).unwrap().join().unwrap()
    });
    while !thread.is_finished() {
        sleep(5 * MS).await;
    }
    assert_eq!(thread.join().unwrap(), 7);
    assert!(begin.elapsed() < 5000 * MS);
}

async fn who_is_busy_still_asks_the_kernel_the_clock_and_the_mailbox() {
    let end = Rc::new(Cell::new(false));
    let ended = end.clone();
    let busy = spawn(async move {
        while !ended.get() {
            yield_now().await;
        }
    });
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let stream = AsyncUnixStream::try_from(theirs).unwrap();
    let remote = remote();
    let thread = thread::spawn(move || {
        thread::sleep(10 * MS);
        ours.write_all(b"x").unwrap();
        ours.read_exact(&mut [0]).unwrap();
        remote.spawn(|| async { 7 }).unwrap().join().unwrap()
    });
    stream.read_exact(&mut [0]).await.unwrap();
    sleep(10 * MS).await;
    stream.write_all(b"y").await.unwrap();
    while !thread.is_finished() {
        sleep(MS).await;
    }
    assert_eq!(thread.join().unwrap(), 7);
    end.set(true);
    busy.await.unwrap();
}
