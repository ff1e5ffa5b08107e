//! Chapter 2.

use crate::support::{Drops, Held, watched};
use std::pin::Pin;
use std::task::{Context, Poll};
use waken::task::yield_now;
use waken::{block_on, spawn};

/// Ready at once; what it holds is dropped with it.
struct Holds {
    _held: Held,
}

impl Future for Holds {
    type Output = &'static str;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<&'static str> {
        Poll::Ready("ready")
    }
}

#[test]
fn ex02_a_future_stays_where_it_is_and_its_place_takes_the_output() {
    watched(5, || {
        block_on(async {
            let future = Drops::default();
            let task = spawn(Holds { _held: future.held() });
            assert_eq!(task.await.unwrap(), "ready");
            assert_eq!(future.count(), 1, "who is told of the end finds the future dropped");

            let borrows = spawn(async {
                let words = ["a", "b", "c"];
                let mut said = String::new();
                for word in &words {
                    yield_now().await;
                    said.push_str(word);
                }
                said
            });
            assert_eq!(borrows.await.unwrap(), "abc");

            let output = Drops::default();
            let held = output.held();
            let task = spawn(async { held });
            yield_now().await;
            yield_now().await;
            assert!(task.is_finished());
            assert_eq!(output.count(), 0, "the output is kept for who asks for it");
            drop(task.await.unwrap());
            assert_eq!(output.count(), 1);
        });
    });
}
