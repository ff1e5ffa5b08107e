//! The least that a wake from another thread costs, without any runtime: an eventfd in an edge-triggered epoll, and a
//! parked thread. Usage: micro-raw - cross_thread N

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    assert_eq!(arguments[2], "cross_thread", "there is no other operation without a runtime");
    let n: u64 = arguments[3].parse().unwrap();
    println!(r#"{{"ns":{:.2}}}"#, cross_thread(n));
}

/// Nanoseconds of one of `n` round trips.
fn cross_thread(n: u64) -> f64 {
    pin_to(0);
    let (warm, asked) = (n / 10, Arc::new(AtomicU64::new(0)));
    let (epoll, event) = epoll_of_an_eventfd();
    let thread = std::thread::spawn({
        let asked = asked.clone();
        move || {
            pin_to(1);
            for i in 1..=warm + n {
                while asked.load(Acquire) != i {
                    std::thread::park();
                }
                // SAFETY: it is given eight bytes, and reads them.
                unsafe { libc::write(event, (&raw const i).cast(), 8) };
            }
        }
    });
    let mut start = Instant::now();
    for i in 1..=warm + n {
        if i == warm + 1 {
            start = Instant::now();
        }
        asked.store(i, Release);
        thread.thread().unpark();
        let mut ready = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: there is room for one event. (The eventfd is not read: each write is a new edge.)
        unsafe { libc::epoll_wait(epoll, &mut ready, 1, -1) };
    }
    let ns = start.elapsed().as_nanos() as f64 / n as f64;
    thread.join().unwrap();
    ns
}

fn epoll_of_an_eventfd() -> (i32, i32) {
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 1 };
    // SAFETY: system calls that are given their own descriptors, and one event to read.
    unsafe {
        let (epoll, fd) = (libc::epoll_create1(0), libc::eventfd(0, libc::EFD_NONBLOCK));
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event);
        (epoll, fd)
    }
}

fn pin_to(cpu: usize) {
    // SAFETY: a set of CPUs is plain bits, and the kernel reads as many as it is told.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
