//! Chapter 7 of the guide: another executor's waker, whose destructor runs a turn of our loop, in the middle of a poll.
//!
//! ```text
//! $ cargo run --example ch07_turn
//! polled by the first: Pending
//! polled by the second: Pending, and meanwhile a byte has come and its edge was read
//! the second was woken
//! ```

use std::cell::RefCell;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use waken::{AsyncTcpStream, Runtime};

thread_local! {
    static RUNTIME: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let runtime = RUNTIME.take();
        runtime.into_iter().for_each(|it| drop(it.turn(Some(Duration::from_millis(100)))));
    }
}

fn main() -> std::io::Result<()> {
    let runtime = Rc::new(Runtime::new()?);
    let _entered = runtime.enter();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut peer = TcpStream::connect(listener.local_addr()?)?;
    let stream = AsyncTcpStream::try_from(listener.accept()?.0)?;
    runtime.turn(Some(Duration::from_millis(100)))?; // The first events of a new socket are over.
    let mut buf = [0; 1];
    let mut reading = pin!(stream.read(&mut buf));
    let first = Waker::from(Arc::new(Task::default()));
    println!("polled by the first: {:?}", reading.as_mut().poll(&mut Context::from_waker(&first)));
    drop(first); // The reactor has a clone, and the last one.
    peer.write_all(b"x")?;
    RUNTIME.set(Some(runtime.clone()));
    let second = Arc::new(Task::default());
    let polled = reading.as_mut().poll(&mut Context::from_waker(&second.clone().into()));
    println!(
        "polled by the second: {polled:?}, and meanwhile a byte has come and its edge was read"
    );
    for _ in 0..10 {
        runtime.turn(Some(Duration::from_millis(10)))?;
    }
    match second.0.load(Relaxed) {
        true => println!("the second was woken"),
        false => println!("the second waits, the byte is there, and no edge will come"),
    }
    Ok(())
}
