//! Chapter 1.

use crate::support::watched;
use std::cell::RefCell;
use waken::task::yield_now;
use waken::{block_on, spawn};

#[test]
fn ex01_who_yields_lets_the_other_go_first_once() {
    watched(5, || {
        let seen = std::rc::Rc::new(RefCell::new(String::new()));
        block_on(async {
            let tasks = ["a", "b"].map(|name| {
                let seen = seen.clone();
                spawn(async move {
                    for n in 1..=3 {
                        seen.borrow_mut().push_str(&format!("{name}{n} "));
                        yield_now().await;
                    }
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(*seen.borrow(), "a1 b1 a2 b2 a3 b3 ");
    });
}
