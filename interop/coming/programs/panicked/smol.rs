use std::time::Duration;

fn main() {
    smol::block_on(async {
        smol::spawn(async { panic!("oh") }).detach();
        smol::Timer::after(Duration::from_millis(20)).await;
        println!("the others run on");
    });
}
