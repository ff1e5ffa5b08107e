//! Chapter 11 of the guide: an eventfd that nobody ever reads, and each write to it is an edge.
//!
//! ```text
//! $ cargo run --example ch11_edges
//! at first: the eventfd stands at 0, and the kernel has told of 0 events
//! 5 wakes of a runtime that sleeps: the eventfd stands at 5, and the kernel has told of 5 events
//! 1000 wakes of one that is awake: the eventfd stands at 5, and the kernel has told of 5 events
//! ```

use std::fs;
use std::thread;
use std::time::Duration;
use waken::runtime::{metrics, remote};
use waken::time::sleep;
use waken::{Remote, block_on};

const MS: Duration = Duration::from_millis(1);

fn main() {
    block_on(async {
        println!("at first: {}", counts());
        let theirs = remote();
        thread::spawn(move || wake(&theirs, 5, 20 * MS));
        sleep(200 * MS).await;
        println!("5 wakes of a runtime that sleeps: {}", counts());
        let theirs = remote();
        // `join` blocks the runtime's thread, so it is not asleep in `epoll_wait`.
        thread::spawn(move || wake(&theirs, 1000, Duration::ZERO)).join().unwrap();
        sleep(MS).await;
        println!("1000 wakes of one that is awake: {}", counts());
    });
}

fn wake(remote: &Remote, times: usize, pause: Duration) {
    for _ in 0..times {
        thread::sleep(pause);
        remote.wake();
    }
}

/// proc_pid_fdinfo(5) tells what a `read` would give.
fn counts() -> String {
    let infos = fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
    let count = infos
        .filter_map(|info| {
            info.split_once("eventfd-count:")
                .map(|(_, it)| it.lines().next().unwrap().trim().to_owned())
        })
        .next();
    let (count, events) = (count.unwrap_or_default(), metrics().epoll_events);
    format!("the eventfd stands at {count}, and the kernel has told of {events} events")
}
