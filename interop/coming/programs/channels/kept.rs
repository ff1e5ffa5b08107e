use std::rc::Rc;
use tokio::sync::{Mutex, mpsc};
use waken::{block_on, spawn};

fn main() {
    block_on(async {
        let (sender, mut receiver) = mpsc::channel(10);
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
        while let Some(n) = receiver.recv().await {
            println!("{n}");
        }
        println!("{}", total.lock().await);
    });
}
