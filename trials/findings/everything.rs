//! A little of everything that a check looks at, in a quarter of a second. Nothing of it breaks one, so what is found is the
//! runtime's. It becomes an example of a copy of the tree: see `run`.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use waken::io::AsyncFd;
use waken::task::{JoinHandle, consume_budget, yield_now};
use waken::time::sleep;
use waken::{AsyncTcpListener, block_on, spawn};

const SHORT: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    block_on(async {
        descriptors()?;
        late_wakes().await;
        drop(spawn(budget()));
        aborts_itself().await?;
        talks().await?;
        drop(spawn(ends_with(Heir(5))));
        yield_now().await;
        Ok(())
    })
}

/// A descriptor is replaced by its owner, which closes it, and is taken out; the next one has its number.
fn descriptors() -> io::Result<()> {
    let mut replaced = AsyncFd::new(UnixStream::pair()?.0)?;
    *replaced.get_mut() = UnixStream::pair()?.0;
    drop(replaced);
    AsyncFd::new(UnixStream::pair()?.0).map(drop)
}

/// A waker outlives its task: it is called when that has ended, when another one is in its place, and when nobody is.
async fn late_wakes() {
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    let ended = spawn(poll_fn({
        let kept = kept.clone();
        move |cx| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }
    }));
    // So that they are not all gone, whatever the runtime thinks of that one.
    let beside = spawn(sleep(SHORT));
    yield_now().await;
    let late = kept.take().expect("it was polled");
    late.wake_by_ref();
    yield_now().await;
    ended.await.expect("it does not panic");
    let next = spawn(sleep(SHORT));
    yield_now().await;
    late.wake_by_ref();
    next.await.expect("nor does this");
    beside.await.expect("nor this");
    late.wake();
    sleep(SHORT).await;
}

/// More than one poll may do.
async fn budget() {
    for _ in 0..300 {
        consume_budget().await;
    }
}

/// A task runs on to its next wait, and waits there for the rest of its turn.
async fn aborts_itself() -> io::Result<()> {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let handle = spawn({
        let own = own.clone();
        async move {
            own.borrow().iter().for_each(JoinHandle::abort);
            drop(listener.accept().await);
        }
    });
    *own.borrow_mut() = Some(handle);
    sleep(SHORT).await;
    own.take();
    Ok(())
}

/// Somebody connects, and takes its time until it says something.
async fn talks() -> io::Result<()> {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let peer = thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        thread::sleep(5 * SHORT);
        stream.write_all(b"hello")
    });
    let stream = listener.accept().await?.0;
    while stream.read(&mut [0; 4]).await? > 0 {}
    peer.join().expect("it does not panic")
}

/// Its destructor spawns the next.
struct Heir(u32);

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            drop(spawn(ends_with(Heir(left))));
        }
    }
}

async fn ends_with(_heir: Heir) {
    pending::<()>().await;
}
