//! Runtimes that end with everything in them: tasks that wait, sleep, read, accept, have panicked or are being aborted;
//! handles, sockets and wakers that outlive them, some on other threads. So many, one after the other:
//!
//! ```sh
//! churn 200
//! ```

use std::future::pending;
use std::io;
use std::sync::mpsc;
use std::task::Waker;
use std::thread;
use std::time::Duration;
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Remote, Runtime, spawn};

fn main() -> io::Result<()> {
    let runtimes = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    // One in two runtimes has a task that panics; the reports are of no interest here.
    std::panic::set_hook(Box::new(|_| ()));
    let (post, posted) = mpsc::channel::<Late>();
    let elsewhere = thread::spawn(move || posted.into_iter().map(Late::use_it).sum::<usize>());
    for n in 0..runtimes {
        one(n, &post)?;
    }
    drop(post);
    match elsewhere.join() {
        Ok(late) => {
            println!("churn: {runtimes} runtimes began and ended, {late} things outlived them")
        }
        Err(_) => return Err(io::Error::other("the other thread has panicked")),
    }
    Ok(())
}

/// What is left of a runtime, for another thread, while it ends or afterwards.
struct Late {
    waker: Waker,
    remote: Remote,
    stream: AsyncTcpStream,
}

impl Late {
    fn use_it(self) -> usize {
        self.waker.wake_by_ref();
        self.remote.wake();
        if let Ok(task) = self.remote.spawn(|| async { vec![7; 100] }) {
            let _output_or_cancelled = task.join();
        }
        drop(self.stream);
        self.waker.wake();
        3
    }
}

fn one(n: usize, post: &mpsc::Sender<Late>) -> io::Result<()> {
    let runtime = Runtime::builder().self_waking_fd(n % 3 == 0).build()?;
    let remote = runtime.remote();
    let kept = runtime.block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = spawn(async move {
            let (stream, _peer) = listener.accept().await?;
            let mut buf = [0; 64];
            while let n @ 1.. = stream.read(&mut buf).await? {
                stream.write_all(&buf[..n]).await?;
            }
            io::Result::Ok(())
        });
        let stream = AsyncTcpStream::connect(address).await?;
        stream.write_all(b"hello").await?;
        let mut buf = [0; 5];
        stream.read_exact(&mut buf).await?;
        let mut set = JoinSet::new();
        for k in 0..8 {
            set.spawn(async move {
                yield_now().await;
                if k % 4 == 1 {
                    panic!("{}", "as planned".to_owned());
                }
                sleep(Duration::from_secs(if k % 2 == 0 { 0 } else { 3600 })).await;
                vec![k; 10]
            });
        }
        let _first = set.join_next().await;
        spawn(async move { while set.join_next().await.is_some() {} });
        let aborted = spawn(async { timeout(Duration::from_secs(9), pending::<Vec<u8>>()).await });
        yield_now().await;
        aborted.abort();
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        io::Result::Ok((Late { waker, remote, stream }, server, aborted))
    })?;
    let (late, server, aborted) = kept;
    // Two in three runtimes end while the other thread is at it.
    if n % 3 == 2 {
        drop(runtime);
        let _closed = post.send(late);
    } else {
        let _closed = post.send(late);
        runtime.turn(Some(Duration::ZERO))?;
        drop(runtime);
    }
    drop((server, aborted));
    Ok(())
}
