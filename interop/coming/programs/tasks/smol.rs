use smol::future::FutureExt;
use smol::{block_on, spawn};
use std::future::pending;
use std::panic::AssertUnwindSafe;

fn main() {
    block_on(async {
        let task = spawn(async { 6 * 7 });
        println!("{}", task.await);

        let task = spawn(pending::<()>());
        let output = task.cancel().await;
        println!("cancelled: {}", output.is_none());

        let task = spawn(async { panic!("oh") });
        let task = AssertUnwindSafe(task).catch_unwind();
        let output: std::thread::Result<()> = task.await;
        println!("panicked: {}", output.is_err());
    });
}
