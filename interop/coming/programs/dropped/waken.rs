use std::time::Duration;

fn main() {
    waken::block_on(async {
        drop(waken::spawn(async { println!("it runs") }));
        waken::time::sleep(Duration::from_millis(20)).await;
        println!("the end");
    });
}
