use std::fs;
use waken::{block_on, unblock};

fn main() {
    block_on(async {
        let read = || fs::read_to_string("/proc/self/comm");
        let name = unblock(read).await.unwrap();
        println!("{}", name.trim());
    });
}
