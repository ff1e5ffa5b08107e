use async_lock::Mutex;
use std::rc::Rc;
use waken::{block_on, spawn};

fn main() {
    block_on(async {
        let (sender, receiver) = async_channel::bounded(10);
        let total = Rc::new(Mutex::new(0));
        for n in 1..=3 {
            let (sender, total) =
                (sender.clone(), total.clone());
            spawn(async move {
                *total.lock().await += n;
                sender.send(n).await.unwrap();
            });
        }
        drop(sender);
        while let Ok(n) = receiver.recv().await {
            println!("{n}");
        }
        println!("{}", total.lock().await);
    });
}
