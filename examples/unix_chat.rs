//! The classic chat over a Unix socket: every line is printed, and goes to everybody else.
//!
//! ```text
//! $ cargo run --example unix_chat [PATH]           # /tmp/waken-chat.sock when no path is given
//! listening on /tmp/waken-chat.sock
//! $ nc -U /tmp/waken-chat.sock                     # in two more terminals: this is the second,
//! 1 (pid 1234): hello                              # and the first has said hello
//! ```
//!
//! By hand this is a table of descriptors and a loop over their events. What goes wrong in the well-known versions, and
//! what is here instead:
//!
//! * `write` to a slow client takes half a line, and the rest is forgotten. Each has a queue, and a task that waits.
//! * One `accept` for an edge leaves the other clients waiting. The runtime remembers an edge until `WouldBlock`.
//! * A descriptor is closed and still in the table: the next client gets its number, and its lines. Here whoever leaves
//!   takes his queue out of the room, and a number of ours is never given twice.
//! * `buf[len] = 0` after a full `read` is one byte past the end. A slice knows where it ends.
//!
//! The file of the socket outlives the program. The next start replaces it, unless somebody listens there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem::take;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fs, io};
use waken::net::{AsyncUnixListener, AsyncUnixStream};
use waken::task::yield_now;
use waken::time::timeout;
use waken::{block_on, spawn};

/// Of a line, in bytes.
const LONGEST: usize = 1024;
/// How many bytes wait for a client that does not read. What comes then he will not hear.
const MOST: usize = 1 << 18;

/// Who is in, by number.
type Room = Rc<RefCell<BTreeMap<u64, Rc<Queue>>>>;

fn main() -> io::Result<()> {
    let path = PathBuf::from(std::env::args_os().nth(1).unwrap_or("/tmp/waken-chat.sock".into()));
    block_on(async {
        let listener = listen(&path).await?;
        println!("listening on {}", path.display());
        let room = Room::default();
        for number in 1.. {
            match listener.accept().await {
                Ok((stream, _peer)) => {
                    let room = room.clone();
                    drop(spawn(async move {
                        if let Err(error) = visit(&room, number, stream).await {
                            eprintln!("{number}: {error}");
                        }
                        room.borrow_mut().remove(&number);
                    }));
                }
                Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
            }
        }
        Ok(())
    })
}

async fn listen(path: &Path) -> io::Result<AsyncUnixListener> {
    match AsyncUnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path).await => {
            fs::remove_file(path)?;
            AsyncUnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether this is a socket, and nobody listens. Files of other kinds refuse as well: they are not ours to remove.
async fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    // Who has no room for one more client does listen: then this is the timeout.
    let connected = timeout(Duration::from_secs(1), AsyncUnixStream::connect(path)).await;
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && connected.is_ok_and(|connected| connected.is_err_and(refused))
}

async fn visit(room: &Room, number: u64, stream: AsyncUnixStream) -> io::Result<()> {
    let name = format!("{number} (pid {})", stream.peer_cred()?.pid);
    let (stream, queue) = (Rc::new(stream), Rc::new(Queue::default()));
    room.borrow_mut().insert(number, queue.clone());
    let writing = deliver(queue, stream.clone());
    let _until_he_leaves = spawn(writing).abort_on_drop();
    let (mut buf, mut filled) = ([0; LONGEST], 0);
    loop {
        match stream.read(&mut buf[filled..]).await? {
            0 if filled == buf.len() => return Err(io::Error::other("a long line")),
            0 => return Ok(()),
            n => filled += n,
        }
        while let Some(end) = buf[..filled].iter().position(|&byte| byte == b'\n') {
            // What is no text, or would command a terminal, is not passed on.
            let text = String::from_utf8_lossy(&buf[..end]);
            let line = format!("{name}: {}\n", text.trim_end().replace(char::is_control, " "));
            print!("{line}");
            for (_, other) in room.borrow().iter().filter(|(other, _)| **other != number) {
                other.put(&line);
            }
            buf.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        yield_now().await; // who talks without a pause lets the others be written to in between
    }
}

async fn deliver(queue: Rc<Queue>, stream: Rc<AsyncUnixStream>) -> io::Result<()> {
    loop {
        let lines = poll_fn(|cx| queue.poll_take(cx)).await;
        stream.write_all(&lines).await?; // when he has gone, his `read` says so too
    }
}

/// The lines that one client has yet to hear, and the task that waits for them.
#[derive(Default)]
struct Queue(RefCell<(Vec<u8>, Option<Waker>)>);

impl Queue {
    /// Waits for nobody.
    fn put(&self, line: &str) {
        let (lines, writer) = &mut *self.0.borrow_mut();
        if lines.len() + line.len() <= MOST {
            lines.extend_from_slice(line.as_bytes());
            writer.take().into_iter().for_each(Waker::wake);
        }
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let (lines, writer) = &mut *self.0.borrow_mut();
        if lines.is_empty() {
            *writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(take(lines))
    }
}
