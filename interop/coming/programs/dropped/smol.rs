use std::time::Duration;

// An executor of our own, where nothing runs before `run` does: with `smol::spawn` it would be a race.
fn main() {
    let local = smol::LocalExecutor::new();
    drop(local.spawn(async { println!("it runs") }));
    smol::block_on(local.run(async {
        smol::Timer::after(Duration::from_millis(20)).await;
        println!("the end");
    }));
}
