use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, mut jobs) = mpsc::channel(10);
    sender.send("sweep").await.unwrap();
    loop {
        tokio::select! {
            Some(job) = jobs.recv() => println!("{job}"),
            _ = sleep(Duration::from_millis(20)) => {
                println!("nothing to do");
                break;
            }
        }
    }
}
