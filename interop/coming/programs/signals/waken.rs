use libc::{SIGHUP, SIGTERM};
use waken::block_on;
use waken::signal::Signals;

fn main() -> std::io::Result<()> {
    block_on(async {
        let mut signals = Signals::new([SIGTERM, SIGHUP])?;
        println!("ready");
        while signals.next().await == SIGHUP {
            println!("reloading");
        }
        println!("bye");
        Ok(())
    })
}
