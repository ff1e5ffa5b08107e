use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    println!("ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = hangup.recv() => println!("reloading"),
        }
    }
    println!("bye");
    Ok(())
}
