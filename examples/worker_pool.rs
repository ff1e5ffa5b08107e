//! The classic loop with workers: the loop keeps the connections, a fixed number of threads computes.
//!
//! ```text
//! $ cargo run --release --example worker_pool [ADDR]      # 127.0.0.1:7001 when no address is given
//! listening on 127.0.0.1:7001
//! $ nc 127.0.0.1 7001                              # in another terminal: how many primes are below …
//! 100
//! 25
//! ten
//! error: not a number
//! ```
//!
//! By hand the descriptor itself goes to a worker, which reads, computes and writes. What goes wrong in the well-known
//! versions, and what is here instead:
//!
//! * Two edges, and two workers have the same connection; so it needs `EPOLLONESHOT`. Here it never leaves its task.
//! * A worker forgets to arm it again, or does so too early. A task reads on when it has answered.
//! * A worker closes a descriptor, and an event is on its way to whoever has the number now. A stale waker fits nothing.
//! * A worker dies, and its client waits for ever. The panic is caught, and is the answer.
//! * The loop sleeps in `epoll_wait` while results wait for it. A waker from another thread ends that sleep.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn};

const MOST: u32 = 10_000_000;

type Job = Box<dyn FnOnce() + Send>;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7001".into());
    let jobs = start_workers();
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let jobs = jobs.clone();
                    drop(spawn(async move {
                        if let Err(error) = serve(stream, &jobs).await {
                            eprintln!("{peer}: {error}");
                        }
                    }));
                }
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

/// Answers line by line. A connection has one job at most, so the queue is no longer than there are connections.
async fn serve(stream: AsyncTcpStream, jobs: &Sender<Job>) -> io::Result<()> {
    let (mut buf, mut filled) = ([0; 64], 0);
    loop {
        while let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            let line = std::str::from_utf8(&buf[..end]).ok();
            let answer = match line.and_then(|line| line.trim().parse().ok()) {
                None => "error: not a number\n".to_owned(),
                Some(n) => match run(jobs, move || primes_below(n)).await {
                    Ok(count) => format!("{count}\n"),
                    Err(_panic) => "error: the work has panicked\n".to_owned(),
                },
            };
            stream.write_all(answer.as_bytes()).await?;
            buf.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        match stream.read(&mut buf[filled..]).await? {
            0 if filled == buf.len() => return stream.write_all(b"error: a long line\n").await,
            0 => return Ok(()),
            n => filled += n,
        }
    }
}

/// Has one of the workers do `work`. Its panic is an error.
async fn run<T: Send + 'static>(
    jobs: &Sender<Job>,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::Result<T> {
    let slot = Arc::new(Mutex::new((None, None::<Waker>)));
    let theirs = slot.clone();
    let job = Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let mut slot = theirs.lock().unwrap();
        slot.0 = Some(result);
        let waker = slot.1.take();
        drop(slot); // the loop should find it unlocked
        waker.into_iter().for_each(Waker::wake);
    });
    jobs.send(job).expect("the workers live as long as there is somebody to send");
    // Look and leave the waker under one lock: the result cannot come in between, unseen.
    poll_fn(|cx| {
        let mut slot = slot.lock().unwrap();
        match slot.0.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// As many threads as there are CPUs, and one queue for all of them.
fn start_workers() -> Sender<Job> {
    let (jobs, queue) = mpsc::channel::<Job>();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
        let queue = queue.clone();
        thread::spawn(move || {
            loop {
                // A statement of its own: `while let` would keep the lock while the job runs.
                let Ok(job) = queue.lock().unwrap().recv() else { return };
                job();
            }
        });
    }
    jobs
}

/// By trial, which takes seconds for the most.
fn primes_below(n: u32) -> usize {
    assert!(n <= MOST, "{n} is more than {MOST}");
    let is_prime = |n: &u32| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    (2..n).filter(is_prime).count()
}
