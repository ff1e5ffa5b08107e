use monoio::time::{interval, sleep, timeout};
use std::time::Duration;

#[monoio::main(timer_enabled = true)]
async fn main() {
    sleep(Duration::from_millis(5)).await;
    println!("slept");

    let minute = sleep(Duration::from_secs(60));
    let slept = timeout(Duration::from_millis(5), minute).await;
    println!("in time: {}", slept.is_ok());

    let mut ticks = interval(Duration::from_millis(5));
    for n in 0..3 {
        ticks.tick().await; // the first at once
        println!("tick {n}");
    }
}
