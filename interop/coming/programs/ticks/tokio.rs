use std::time::{Duration, Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let begin = Instant::now();
    let mut ticks =
        tokio::time::interval(Duration::from_millis(200));
    ticks.tick().await;
    println!(
        "at once: {}",
        begin.elapsed() < Duration::from_millis(200)
    );
}
