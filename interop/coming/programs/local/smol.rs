use smol::LocalExecutor;
use std::cell::Cell;
use std::rc::Rc;

fn main() {
    let local = LocalExecutor::new();
    smol::block_on(local.run(async {
        let count = Rc::new(Cell::new(0));
        let ours = count.clone();
        let task = local.spawn(async move {
            ours.set(ours.get() + 1);
        });
        task.await;
        println!("{}", count.get());
    }));
}
