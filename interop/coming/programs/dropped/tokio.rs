use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    drop(tokio::spawn(async { println!("it runs") }));
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("the end");
}
