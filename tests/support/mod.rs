//! What the tests share: the guard of each, measures of what was used, and futures and values that report on
//! themselves.
#![allow(dead_code, unreachable_pub, unused_imports)] // Each test file uses some of it.

mod guard;
pub mod heap;
mod process;

pub use guard::{Guard, INSIDE, Verdict, at_end, guard, watched};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use waken::task::{Id, Wait, WaitOn};
use waken::time::sleep;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinHandle};

/// CPU time of this thread. Needs no descriptor.
#[allow(unsafe_code)]
pub fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place to write to lives.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(read, 0, "{}", io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How often this thread went to sleep by itself.
pub fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// The descriptors of this process. Those of one test alone, inside its guard.
pub fn fds() -> Vec<String> {
    let mut fds: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let target = std::fs::read_link(&path).ok()?;
            // The directory that is being read is one as well, for the moment.
            let listing = target.to_string_lossy().contains("/fd");
            (!listing).then(|| {
                format!("{} {}", path.file_name().unwrap().to_string_lossy(), target.display())
            })
        })
        .collect();
    fds.sort();
    fds
}

/// The message of a panic.
pub fn panic_message(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().unwrap_or(&"").to_string(),
    }
}

/// Waits until `condition` holds, for what another thread or the kernel does.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A small generator of random numbers: the seed is all there is to print.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What [`on_drop`] gives.
pub struct OnDrop<F: FnOnce()>(Option<F>);

/// Runs `act` when it is dropped.
pub fn on_drop<F: FnOnce()>(act: F) -> OnDrop<F> {
    OnDrop(Some(act))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|act| act());
    }
}

/// A future that holds `kept` and never ends.
pub async fn keep<T>(kept: T) {
    let _kept = kept;
    pending().await
}

/// Two ends of one connection.
pub async fn pair() -> io::Result<(AsyncTcpStream, AsyncTcpStream)> {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
    let client = AsyncTcpStream::connect(listener.local_addr()?).await?;
    Ok((listener.accept().await?.0, client))
}

/// Polls once, with a waker that wakes nobody.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts how often it is dropped.
#[derive(Clone, Default)]
pub struct Drops(Rc<Cell<u32>>);

/// What is counted, with the count.
pub struct Held(pub Rc<Cell<u32>>);

impl Drops {
    pub fn held(&self) -> Held {
        Held(self.0.clone())
    }

    pub fn count(&self) -> u32 {
        self.0.get()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// What a task waits for, and where, at a moment when it does: between a pause and the next it is ready.
pub async fn wait_of(task: Id) -> (WaitOn, &'static Location<'static>) {
    for _ in 0..1000 {
        let info = waken::runtime::tasks().into_iter().find(|info| info.id == task).unwrap();
        if let [Wait { on, at: Some(at), .. }] = info.waits_for[..] {
            return (on, at);
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("task {task} never waits for one thing, at a line");
}

/// Waits for a task that must end cancelled.
pub async fn cancelled<T: std::fmt::Debug>(task: JoinHandle<T>) {
    let error = task.await.unwrap_err();
    assert!(error.is_cancelled() && !error.is_panic(), "{error}");
}
