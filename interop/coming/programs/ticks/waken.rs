use std::time::{Duration, Instant};

fn main() {
    waken::block_on(async {
        let begin = Instant::now();
        let mut ticks =
            waken::time::interval(Duration::from_millis(200));
        ticks.tick().await;
        println!(
            "at once: {}",
            begin.elapsed() < Duration::from_millis(200)
        );
    });
}
