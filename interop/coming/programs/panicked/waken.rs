use std::time::Duration;

fn main() {
    waken::block_on(async {
        waken::spawn(async { panic!("oh") });
        waken::time::sleep(Duration::from_millis(20)).await;
        println!("the others run on");
    });
}
