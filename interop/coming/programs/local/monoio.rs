use std::cell::Cell;
use std::rc::Rc;

#[monoio::main]
async fn main() {
    let count = Rc::new(Cell::new(0));
    let ours = count.clone();
    let task = monoio::spawn(async move {
        ours.set(ours.get() + 1);
    });
    task.await;
    println!("{}", count.get());
}
