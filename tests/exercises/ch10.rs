//! Chapter 10.

use crate::support::watched;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use waken::Runtime;
use waken::runtime::metrics;
use waken::task::yield_now;
use waken::time::sleep_until;

#[test]
fn ex10_who_has_used_up_the_budget_lets_the_others_go_first() {
    watched(5, || {
        let runtime = Runtime::builder().budget(10).build().unwrap();
        runtime.block_on(async {
            let others = Rc::new(Cell::new(0));
            let counted = others.clone();
            let other = runtime.spawn(async move {
                for _ in 0..10 {
                    counted.set(counted.get() + 1);
                    yield_now().await;
                }
            });
            let greedy = runtime.spawn(async move {
                for n in 0..100 {
                    sleep_until(Instant::now()).await; // is ready at once
                    assert!(others.get() > n / 10, "{n} operations, and {}", others.get());
                }
            });
            greedy.await.unwrap();
            other.await.unwrap();
            assert_eq!(metrics().budget_yields, 9, "after 10, 20, …, 90 operations");

            // Another executor knows nothing of the budget, and would poll for ever.
            let nested = runtime.spawn(async {
                for _ in 0..10 {
                    sleep_until(Instant::now()).await;
                }
                futures_lite::future::block_on(sleep_until(Instant::now()));
            });
            nested.await.unwrap();
        });
        // Outside of any poll there is nobody to let go first.
        let _guard = runtime.enter();
        let mut cx = Context::from_waker(Waker::noop());
        for n in 0..100 {
            let over = pin!(sleep_until(Instant::now() - Duration::from_millis(1)));
            assert!(over.poll(&mut cx).is_ready(), "{n}");
        }
    });
}
