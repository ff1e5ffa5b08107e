use std::cell::Cell;
use std::rc::Rc;
use waken::{block_on, spawn};

fn main() {
    block_on(async {
        let count = Rc::new(Cell::new(0));
        let ours = count.clone();
        let task = spawn(async move {
            ours.set(ours.get() + 1);
        });
        task.await.unwrap();
        println!("{}", count.get());
    });
}
