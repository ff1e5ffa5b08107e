use std::time::Duration;
use tokio::select;
use waken::time::sleep;

fn main() {
    waken::block_on(async {
        let (sender, jobs) = async_channel::bounded(10);
        sender.send("sweep").await.unwrap();
        loop {
            select! {
                Ok(job) = jobs.recv() => println!("{job}"),
                _ = sleep(Duration::from_millis(20)) => {
                    break println!("nothing to do");
                }
            }
        }
    });
}
