//! An echo server that also hashes files, while the echo stays quick.
//!
//! ```text
//! $ cargo run --release --features blocking --example hash_files [ADDR]  # 127.0.0.1:7003 when no address is given
//! listening on 127.0.0.1:7003
//! $ nc 127.0.0.1 7003                              # in another terminal
//! hello
//! hello
//! hash LICENSE-MIT
//! 3696824789cbc148
//! hash nothing
//! error: No such file or directory (os error 2)
//! ```
//!
//! Why files go to threads: epoll does not take them, epoll_ctl(2). A `read` waits for the disk, and the loop would wait with
//! it, and with the loop everybody else. The hash itself is a loop over millions of bytes without an `await`. `unblock`
//! has a thread do both, and wakes the task when it is done.
//!
//! Whoever can connect can ask about every file that this program may read: it is for a loopback address.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn, unblock};

/// How many files are hashed at once. The pool would take hundreds, which only makes each of them slower.
const PLACES: usize = 4;
/// Of a file, in bytes: one hash ends some time, and the next has its turn.
const LARGEST: u64 = 1 << 30;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7003".into());
    block_on(async {
        let listener = AsyncTcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let places = Rc::new(Places { free: Cell::new(PLACES), waiting: RefCell::default() });
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let places = places.clone();
                    drop(spawn(async move {
                        if let Err(error) = serve(stream, &places).await {
                            eprintln!("{peer}: {error}");
                        }
                    }));
                }
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
    })
}

/// Line by line, as a line may be a question.
async fn serve(stream: AsyncTcpStream, places: &Places) -> io::Result<()> {
    let (mut buf, mut filled) = ([0; 4096 + 64], 0); // a path has up to 4,096 bytes
    loop {
        match stream.read(&mut buf[filled..]).await? {
            0 if filled == buf.len() => return stream.write_all(b"error: a long line\n").await,
            0 => return stream.write_all(&buf[..filled]).await, // the last line may lack its end
            n => filled += n,
        }
        while let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            match buf[..end].strip_prefix(b"hash ") {
                Some(path) => {
                    let path = PathBuf::from(OsStr::from_bytes(path.trim_ascii()));
                    let place = places.take().await;
                    let hash = unblock(move || hash(&path)).await;
                    drop(place); // the answer may have to wait for its reader
                    let answer = hash.unwrap_or_else(|error| format!("error: {error}\n"));
                    stream.write_all(answer.as_bytes()).await?;
                }
                None => stream.write_all(&buf[..=end]).await?,
            }
            buf.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
    }
}

/// FNV-1a of 64 bits: short, and no protection against anybody. It runs on a thread of the pool.
fn hash(path: &Path) -> io::Result<String> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() > LARGEST {
        return Err(io::Error::other("no file, or a large one")); // to open a pipe may take for ever
    }
    let file = File::open(path)?.take(found.len()); // it may grow as fast as it is read
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in BufReader::with_capacity(1 << 16, file).bytes() {
        hash = (hash ^ u64::from(byte?)).wrapping_mul(0x0100_0000_01b3);
    }
    Ok(format!("{hash:016x}\n"))
}

/// Who may hash now, and who waits for that.
struct Places {
    free: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// Free again when it is dropped, however the task ends.
struct Place<'a>(&'a Places);

impl Places {
    async fn take(&self) -> Place<'_> {
        poll_fn(|cx| match self.free.get().checked_sub(1) {
            Some(free) => {
                self.free.set(free);
                Poll::Ready(Place(self))
            }
            None => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        // All of them: one alone may have left meanwhile. They ask again in the order in which they came.
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}
