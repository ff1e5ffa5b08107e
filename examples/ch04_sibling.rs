//! Chapter 4 of the guide: a wake that is missed, and why nobody notices.
//!
//! ```text
//! $ cargo run --example ch04_sibling
//! rung after 10 ms
//! heard after 200 ms
//! ```

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};
use waken::time::{sleep, timeout};
use waken::{block_on, spawn};

/// Badly made: it leaves its waker with nobody.
async fn rung(bell: &Cell<bool>) {
    poll_fn(|_cx| if bell.get() { Poll::Ready(()) } else { Poll::Pending }).await;
}

fn main() {
    let begin = Instant::now();
    // To tens of milliseconds.
    let tell = move |what| println!("{what} after {} ms", begin.elapsed().as_millis() / 10 * 10);
    block_on(async {
        let bell = std::rc::Rc::new(Cell::new(false));
        let ringer = bell.clone();
        spawn(async move {
            sleep(Duration::from_millis(10)).await;
            ringer.set(true);
            tell("rung");
        });
        let waiter = spawn(async move {
            match timeout(Duration::from_millis(200), rung(&bell)).await {
                Ok(()) => tell("heard"),
                Err(_) => tell("given up"),
            }
        });
        waiter.await.unwrap();
    });
}
