//! Chapter 5 of the guide: the ways in which a task ends, and what its handle says of each.
//!
//! ```text
//! $ cargo run --example ch05_tasks 2>/dev/null         # there the panics say where they were
//! finished:  Ok(42)
//! panicked:  task 2 panicked: oh
//! aborted:   dropped in `abort()`: false; when it is joined: true; task 3 was cancelled
//! detached:  nobody has my handle, and I print this
//! polled after Ready:  task 5 panicked: `async fn` resumed after completion
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use waken::task::yield_now;
use waken::time::sleep;
use waken::{block_on, spawn};

struct SaysWhenDropped(Rc<Cell<bool>>);

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

fn main() {
    block_on(async {
        println!("finished:  {:?}", spawn(async { 6 * 7 }).await);
        println!("panicked:  {}", spawn(async { panic!("oh") }).await.unwrap_err());

        let dropped = Rc::new(Cell::new(false));
        let owned = SaysWhenDropped(dropped.clone());
        let task = spawn(async move {
            let _owned = owned;
            sleep(Duration::from_secs(60)).await;
        });
        yield_now().await;
        task.abort();
        let in_abort = dropped.get();
        let error = task.await.unwrap_err();
        println!(
            "aborted:   dropped in `abort()`: {in_abort}; when it is joined: {}; {error}",
            dropped.get()
        );

        drop(spawn(async { println!("detached:  nobody has my handle, and I print this") }));
        yield_now().await;

        let twice = spawn(async {
            let mut done = Box::pin(async { 1 });
            done.as_mut().await + done.as_mut().await
        });
        println!("polled after Ready:  {}", twice.await.unwrap_err());
    });
}
