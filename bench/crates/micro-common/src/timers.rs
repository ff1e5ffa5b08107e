//! Timers: those that are given up, which nearly all are, and those that end.

use crate::meter::Meter;
use crate::{Plan, Rt};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// What a timeout costs that does not come true: a sleep of a minute is made, polled once, and dropped, while `live`
/// other sleeps go on.
pub async fn timeout<R: Rt>(plan: Plan) -> String {
    let mut others = Vec::new();
    for i in 0..plan.live {
        let mut other = Box::pin(R::sleep(Duration::from_millis(50_000 + i * 7 % 70_000)));
        poll_once(other.as_mut()).await;
        others.push(other);
    }
    let mut meter = Meter::start();
    for i in 0..plan.warm + plan.n {
        if i == plan.warm {
            meter = Meter::start();
        }
        poll_once(pin!(R::sleep(Duration::from_secs(60)))).await;
    }
    meter.each(plan.n)
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// `n` tasks sleep at once, each for a random time below a second: how late they are, and what they cost. None may
/// be early.
pub async fn sleeps<R: Rt>(plan: Plan) -> String {
    let late = Rc::new(RefCell::new(Vec::with_capacity(plan.n as usize)));
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let meter = Meter::start_with_process();
    let mut tasks = Vec::with_capacity(plan.n as usize);
    for _ in 0..plan.n {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let duration = Duration::from_micros(random % 1_000_000);
        let late = late.clone();
        tasks.push(R::spawn(async move {
            let start = Instant::now();
            R::sleep(duration).await;
            let slept = start.elapsed();
            assert!(slept >= duration, "woke early: {slept:?} instead of {duration:?}");
            late.borrow_mut().push((slept - duration).as_micros() as u64);
        }));
    }
    for task in tasks {
        task.await;
    }
    meter.lateness(plan.n, &mut late.borrow_mut())
}
