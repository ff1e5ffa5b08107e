use std::time::Duration;

#[monoio::main(timer_enabled = true)]
async fn main() {
    drop(monoio::spawn(async { println!("it runs") }));
    monoio::time::sleep(Duration::from_millis(20)).await;
    println!("the end");
}
