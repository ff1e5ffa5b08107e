use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, mut receiver) = mpsc::channel(10);
    let total = Arc::new(Mutex::new(0));
    for n in 1..=3 {
        let (sender, total) = (sender.clone(), total.clone());
        tokio::spawn(async move {
            *total.lock().await += n;
            sender.send(n).await.unwrap();
        });
    }
    drop(sender);
    while let Some(n) = receiver.recv().await {
        println!("{n}");
    }
    println!("{}", total.lock().await);
}
