use std::cell::Cell;
use std::rc::Rc;
use tokio::task::{LocalSet, spawn_local};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let count = Rc::new(Cell::new(0));
    let ours = count.clone();
    let local = LocalSet::new();
    local
        .run_until(async move {
            let task = spawn_local(async move {
                ours.set(ours.get() + 1);
            });
            task.await.unwrap();
        })
        .await;
    println!("{}", count.get());
}
