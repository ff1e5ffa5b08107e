use std::future::pending;
use tokio::spawn;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let task = spawn(async { 6 * 7 });
    println!("{}", task.await.unwrap());

    let task = spawn(pending::<()>());
    task.abort();
    let error = task.await.unwrap_err();
    println!("cancelled: {}", error.is_cancelled());

    let task = spawn(async { panic!("oh") });
    let error: tokio::task::JoinError = task.await.unwrap_err();
    println!("panicked: {}", error.is_panic());
}
