//! Tasks on one thread: spawning them, and how they wake themselves and one another.

use crate::meter::Meter;
use crate::{Plan, Rt};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::rc::Rc;
use std::task::{Poll, Waker};

fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Room for one value, and for the waker of whoever waits for it.
#[derive(Default)]
struct Slot {
    value: Cell<Option<u64>>,
    waker: Cell<Option<Waker>>,
}

impl Slot {
    fn send(&self, value: u64) {
        self.value.set(Some(value));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn receive(&self) -> impl Future<Output = u64> + '_ {
        poll_fn(|cx| match self.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
    }
}

/// Spawns a trivial task and awaits it, one after another.
pub async fn spawn<R: Rt>(plan: Plan) -> String {
    let mut sum = 0;
    for i in 0..plan.warm {
        sum += R::spawn(async move { black_box(i) }).await;
    }
    let meter = Meter::start();
    for i in 0..plan.n {
        sum += R::spawn(async move { black_box(i) }).await;
    }
    black_box(sum);
    meter.each(plan.n)
}

/// Spawns all tasks, keeps their handles, lets them run, and awaits them.
pub async fn batch<R: Rt>(plan: Plan) -> String {
    let rounds = if plan.warm > 0 { 3 } else { 1 };
    let mut line = String::new();
    for _ in 0..rounds {
        let ran = Rc::new(Cell::new(0));
        let mut tasks = Vec::with_capacity(plan.n as usize);
        let meter = Meter::start();
        for _ in 0..plan.n {
            let ran = ran.clone();
            tasks.push(R::spawn(async move { ran.set(ran.get() + 1) }));
        }
        for task in tasks {
            task.await;
        }
        line = meter.each(plan.n);
        assert_eq!(ran.get(), plan.n);
    }
    line
}

/// `live` tasks (at least one) give way to one another, `n` times in all.
pub async fn yields<R: Rt>(plan: Plan) -> String {
    let tasks = plan.live.max(1);
    let round = async |n: u64| {
        let each = n / tasks;
        let task = move || async move {
            for _ in 0..each {
                yield_now().await;
            }
        };
        let tasks: Vec<_> = (0..tasks).map(|_| R::spawn(task())).collect();
        for task in tasks {
            task.await;
        }
    };
    round(plan.warm).await;
    let meter = Meter::start();
    round(plan.n).await;
    meter.each(plan.n)
}

/// Two tasks wake one another in turn: `n` round trips, which are 2 `n` wakes.
pub async fn ping_pong<R: Rt>(plan: Plan) -> String {
    let (there, back) = (Rc::new(Slot::default()), Rc::new(Slot::default()));
    let all = plan.warm + plan.n;
    let other = R::spawn({
        let (there, back) = (there.clone(), back.clone());
        async move {
            for _ in 0..all {
                back.send(there.receive().await + 1);
            }
        }
    });
    let mut value = 0;
    let mut meter = Meter::start();
    for i in 0..all {
        if i == plan.warm {
            meter = Meter::start();
        }
        there.send(value);
        value = back.receive().await;
    }
    let line = meter.each(plan.n);
    other.await;
    assert_eq!(value, all);
    line
}

/// Ping-pong with one of `live` tasks, chosen at random each time: `n` wakes, each with the poll that follows.
pub async fn wake<R: Rt>(plan: Plan) -> String {
    let slots: Rc<[Slot]> = (0..plan.live).map(|_| Slot::default()).collect();
    let back = Rc::new(Slot::default());
    for i in 0..slots.len() {
        let (slots, back) = (slots.clone(), back.clone());
        R::detach(R::spawn(async move {
            loop {
                back.send(slots[i].receive().await);
            }
        }));
    }
    R::spawn(async {}).await; // behind all of them: so they wait now
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut meter = Meter::start();
    for i in 0..(plan.warm + plan.n) / 2 {
        if i == plan.warm / 2 {
            meter = Meter::start();
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        slots[(random % plan.live) as usize].send(i);
        assert_eq!(back.receive().await, i);
    }
    meter.each(plan.n)
}

/// `block_on` of a future that is ready, on one living runtime.
pub fn block_on<R: Rt>(mut rt: R, plan: Plan) -> String {
    let mut meter = Meter::start();
    for i in 0..plan.warm + plan.n {
        if i == plan.warm {
            meter = Meter::start();
        }
        black_box(rt.block_on(async move { black_box(i) }));
    }
    meter.each(plan.n)
}
