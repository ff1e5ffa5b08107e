use std::time::{Duration, Instant};

#[monoio::main(timer_enabled = true)]
async fn main() {
    let begin = Instant::now();
    let mut ticks =
        monoio::time::interval(Duration::from_millis(200));
    ticks.tick().await;
    println!(
        "at once: {}",
        begin.elapsed() < Duration::from_millis(200)
    );
}
