use std::future::pending;
use waken::{block_on, spawn};

fn main() {
    block_on(async {
        let task = spawn(async { 6 * 7 });
        println!("{}", task.await.unwrap());

        let task = spawn(pending::<()>());
        task.abort();
        let error = task.await.unwrap_err();
        println!("cancelled: {}", error.is_cancelled());

        let task = spawn(async { panic!("oh") });
        let error: waken::JoinError = task.await.unwrap_err();
        println!("panicked: {}", error.is_panic());
    });
}
