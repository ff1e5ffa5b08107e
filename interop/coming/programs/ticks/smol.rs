use smol::stream::StreamExt;
use std::time::{Duration, Instant};

fn main() {
    smol::block_on(async {
        let begin = Instant::now();
        let mut ticks =
            smol::Timer::interval(Duration::from_millis(200));
        ticks.next().await;
        println!(
            "at once: {}",
            begin.elapsed() < Duration::from_millis(200)
        );
    });
}
