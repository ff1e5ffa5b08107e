use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    tokio::spawn(async { panic!("oh") });
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("the others run on");
}
