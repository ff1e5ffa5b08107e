use std::time::Duration;

#[monoio::main(timer_enabled = true)]
async fn main() {
    monoio::spawn(async { panic!("oh") });
    monoio::time::sleep(Duration::from_millis(20)).await;
    println!("the others run on");
}
