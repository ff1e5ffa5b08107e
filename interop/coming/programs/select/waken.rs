use async_channel::bounded;
use futures_lite::future::or;
use std::time::Duration;
use waken::block_on;
use waken::time::sleep;

fn main() {
    block_on(async {
        let (sender, jobs) = bounded(10);
        sender.send("sweep").await.unwrap();
        loop {
            let job = async { jobs.recv().await.ok() };
            let idle = async {
                sleep(Duration::from_millis(20)).await;
                None
            };
            // The first that is ready; the left one is asked
            // first. `race` asks in any order, as `select!`.
            match or(job, idle).await {
                Some(job) => println!("{job}"),
                None => break println!("nothing to do"),
            }
        }
    });
}
