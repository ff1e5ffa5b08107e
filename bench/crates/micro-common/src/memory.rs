//! What a task occupies while it waits.

use crate::meter::Meter;
use crate::{Plan, Rt};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// `n` tasks, each polled once, pending for ever, their wakers kept alive elsewhere.
pub async fn tasks<R: Rt>(plan: Plan) -> String {
    thread_local!(static KEPT: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) });
    // The pages of the list are touched beforehand, so that it does not count.
    KEPT.with_borrow_mut(|kept| {
        kept.resize(plan.n as usize, Waker::noop().clone());
        kept.clear();
    });
    let polled = Rc::new(Cell::new(0));
    let meter = Meter::start_with_process();
    for _ in 0..plan.n {
        let polled = polled.clone();
        let mut first = true;
        R::detach(R::spawn(poll_fn(move |cx| {
            if first {
                first = false;
                polled.set(polled.get() + 1);
                KEPT.with_borrow_mut(|kept| kept.push(cx.waker().clone()));
            }
            Poll::<()>::Pending
        })));
    }
    // Not by a self-wake: monoio polls a task that woke itself before all others.
    while polled.get() < plan.n {
        R::spawn(async {}).await;
    }
    println!("{}", meter.memory(plan.n));
    std::process::exit(0) // to drop a million tasks is another measurement
}
