use std::fs;
use tokio::task::spawn_blocking;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let read = || fs::read_to_string("/proc/self/comm");
    let name = spawn_blocking(read).await.unwrap().unwrap();
    println!("{}", name.trim());
}
