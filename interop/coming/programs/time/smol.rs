use smol::Timer;
use smol::future::or;
use smol::stream::StreamExt;
use std::time::{Duration, Instant};

fn main() {
    smol::block_on(async {
        Timer::after(Duration::from_millis(5)).await;
        println!("slept");

        let minute = async {
            Timer::after(Duration::from_secs(60)).await;
            Some(())
        };
        let limit = async {
            Timer::after(Duration::from_millis(5)).await;
            None
        };
        let slept = or(minute, limit).await;
        println!("in time: {}", slept.is_some());

        let period = Duration::from_millis(5);
        let mut ticks =
            Timer::interval_at(Instant::now(), period);
        for n in 0..3 {
            ticks.next().await;
            println!("tick {n}");
        }
    });
}
