//! A thread on another CPU wakes the runtime, which sleeps in its driver.

use crate::meter::Meter;
use crate::{Plan, Rt, in_task};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// What the two share.
#[derive(Default)]
struct Desk {
    asked: AtomicU64,
    answered: AtomicU64,
    waker: Mutex<Option<Waker>>,
    over: AtomicBool,
}

/// `n` round trips: the task unparks the thread, the thread wakes the task.
pub fn cross_thread<R: Rt>(rt: R, plan: Plan) -> String {
    pin_to(0);
    let desk = Arc::new(Desk::default());
    let thread = std::thread::spawn({
        let desk = desk.clone();
        move || answer(&desk)
    });
    let other = thread.thread().clone();
    let line = in_task(rt, {
        let desk = desk.clone();
        async move {
            let mut meter = Meter::start();
            for i in 1..=plan.warm + plan.n {
                if i == plan.warm + 1 {
                    meter = Meter::start();
                }
                desk.asked.store(i, Release);
                other.unpark();
                poll_fn(|cx| {
                    if desk.answered.load(Acquire) == i {
                        return Poll::Ready(());
                    }
                    *desk.waker.lock().unwrap() = Some(cx.waker().clone());
                    match desk.answered.load(Acquire) == i {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                })
                .await;
            }
            meter.each(plan.n)
        }
    });
    desk.over.store(true, Release);
    thread.thread().unpark();
    thread.join().unwrap();
    line
}

fn answer(desk: &Desk) {
    pin_to(1);
    let mut seen = 0;
    loop {
        while desk.asked.load(Acquire) == seen {
            if desk.over.load(Acquire) {
                return;
            }
            std::thread::park();
        }
        seen += 1;
        desk.answered.store(seen, Release);
        let waker = desk.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Binds this thread to a CPU, if there is such a one.
fn pin_to(cpu: usize) {
    // SAFETY: a set of CPUs is plain bits, and the kernel reads as many as it is told.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
