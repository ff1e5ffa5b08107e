//! A connection with a hostile peer: bytes say what the peer does (sends, sends urgently, stops reading, half closes, resets) and
//! what two tasks of ours do at the other end (read, peek, look whether they may, give up, write, shut down).
//!
//! All is one thread: the peer is a plain socket, used between two turns. What has to hold:
//!
//! - the bytes come as they were sent, on both sides; nothing is lost, doubled or changed;
//! - when the runtime says that there is nothing to do, no task of ours waits for what the kernel says is there;
//! - it says so soon: a bounded number of turns after each step;
//! - once the peer has gone, both tasks end.

use crate::input::Input;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use waken::io::Interest;
use waken::net::AsyncUnixStream;
use waken::runtime::Next;
use waken::{AsyncTcpStream, Builder, Runtime};

/// Both kinds of stream, for the same script.
enum Stream {
    Tcp(AsyncTcpStream),
    Unix(AsyncUnixStream),
}

macro_rules! both {
    ($of:expr, $stream:ident => $use:expr) => {
        match $of {
            Stream::Tcp($stream) => $use,
            Stream::Unix($stream) => $use,
        }
    };
}

impl Stream {
    fn fd(&self) -> RawFd {
        both!(self, stream => stream.as_fd().as_raw_fd())
    }
}

/// What the bytes of one direction are: the `n`th is known, and none is the urgent one.
fn nth(n: u64) -> u8 {
    (n % 251) as u8
}

static URGENT_BYTE: u8 = URGENT;
const URGENT: u8 = 255;

/// What a task of ours is to do next, and how far it is.
#[derive(Default)]
struct Side {
    steps: RefCell<Vec<(u8, u8)>>,
    /// It has to come to an end now.
    last: Cell<bool>,
    ended: Cell<bool>,
    waker: RefCell<Option<std::task::Waker>>,
    /// It waits for the socket, and for nothing else.
    waits: Cell<bool>,
    bytes: Cell<u64>,
    urgent: Cell<u64>,
    /// The connection is broken: from then on bytes may be missing.
    failed: Cell<bool>,
}

impl Side {
    fn tell(&self, step: (u8, u8)) {
        self.steps.borrow_mut().push(step);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.borrow().clone();
        waker.into_iter().for_each(|waker| waker.wake());
    }

    /// The next step; `None`: the last one.
    async fn next(&self) -> Option<(u8, u8)> {
        poll_fn(|cx| {
            let mut steps = self.steps.borrow_mut();
            if !steps.is_empty() {
                return Poll::Ready(Some(steps.remove(0)));
            }
            if self.last.get() {
                return Poll::Ready(None);
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The same bytes as were sent, but for urgent ones, which may be left out.
    fn received(&self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == URGENT {
                self.urgent.set(self.urgent.get() + 1);
                continue;
            }
            assert_eq!(
                *byte,
                nth(self.bytes.get()),
                "byte {} of what was received",
                self.bytes.get()
            );
            self.bytes.set(self.bytes.get() + 1);
        }
    }

    async fn waiting<F: Future>(&self, future: F) -> F::Output {
        self.waits.set(true);
        let output = future.await;
        self.waits.set(false);
        output
    }
}

async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Reads as it is told, at the end until there is nothing more.
async fn reader(stream: Rc<Stream>, side: Rc<Side>) {
    let mut buf = vec![0; 4096];
    loop {
        let step = side.next().await;
        let room =
            step.map_or(4096, |(_, n)| [1, 7, usize::from(n), 4096][usize::from(n & 3)].max(1));
        let buf = &mut buf[..room];
        let read = match step.map(|(step, _)| step % 8) {
            None | Some(0..=2) => Some(side.waiting(both_read(&stream, buf)).await),
            Some(3) => once(both_read(&stream, buf)).await,
            Some(4) => {
                let ready = side.waiting(readable(&stream)).await;
                ready.expect("readiness itself does not fail");
                let read = match &*stream {
                    Stream::Tcp(stream) => stream.try_read(buf),
                    Stream::Unix(stream) => stream.try_read(buf),
                };
                (!read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
                    .then_some(read)
            }
            Some(5) => {
                // Looks, and reads the same.
                let peeked = match &*stream {
                    Stream::Tcp(stream) => once(stream.peek(buf)).await,
                    Stream::Unix(stream) => once(stream.peek(buf)).await,
                };
                if let Some(Ok(n)) = peeked {
                    let seen: Vec<u8> = buf[..n].to_vec();
                    let first = seen.iter().find(|byte| **byte != URGENT);
                    assert!(first.is_none_or(|byte| *byte == nth(side.bytes.get())), "peeked");
                }
                None
            }
            Some(6) => {
                let half = buf.len() / 2;
                let (one, other) = buf.split_at_mut(half);
                let parts = &mut [IoSliceMut::new(one), IoSliceMut::new(other)];
                match &*stream {
                    Stream::Tcp(stream) => once(stream.read_vectored(parts)).await,
                    Stream::Unix(stream) => once(stream.read_vectored(parts)).await,
                }
            }
            Some(_) => {
                let ready = match &*stream {
                    Stream::Tcp(stream) => {
                        once(stream.ready(Interest::READABLE | Interest::WRITABLE)).await
                    }
                    Stream::Unix(stream) => {
                        once(stream.ready(Interest::READABLE | Interest::WRITABLE)).await
                    }
                };
                assert!(ready.is_none_or(|ready| ready.is_ok()));
                None
            }
        };
        match read {
            None => {}
            Some(Ok(0)) if step.is_none() => break,
            Some(Ok(n)) => side.received(&buf[..n]),
            Some(Err(error)) => {
                assert!(error.raw_os_error().is_some(), "{error}");
                side.failed.set(true);
                if step.is_none() {
                    break;
                }
            }
        }
    }
    side.ended.set(true);
}

async fn both_read(stream: &Stream, buf: &mut [u8]) -> io::Result<usize> {
    both!(stream, stream => stream.read(buf).await)
}

async fn readable(stream: &Stream) -> io::Result<()> {
    both!(stream, stream => stream.readable().await)
}

/// Writes as it is told; what it has written counts, and only that.
async fn writer(stream: Rc<Stream>, side: Rc<Side>) {
    while let Some((step, n)) = side.next().await {
        let n = usize::from(n) << (step >> 3 & 7);
        let bytes: Vec<u8> = (0..n as u64).map(|at| nth(side.bytes.get() + at)).collect();
        let written = match step % 8 {
            0..=3 => {
                side.waiting(async { both!(&*stream, stream => stream.write(&bytes).await) }).await
            }
            4 => {
                match once(async { both!(&*stream, stream => stream.write(&bytes).await) }).await {
                    Some(written) => written,
                    None => Ok(0),
                }
            }
            5 => {
                let ready = side
                    .waiting(async { both!(&*stream, stream => stream.writable().await) })
                    .await;
                ready.expect("readiness itself does not fail");
                match both!(&*stream, stream => stream.try_write(&bytes)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                    written => written,
                }
            }
            6 => {
                let shut = both!(&*stream, stream => stream.shutdown(Shutdown::Write));
                drop(shut);
                side.failed.set(true);
                Ok(0)
            }
            _ => Ok(0),
        };
        match written {
            Ok(n) => side.bytes.set(side.bytes.get() + n as u64),
            Err(error) => {
                assert!(error.raw_os_error().is_some(), "{error}");
                side.failed.set(true);
            }
        }
    }
    side.ended.set(true);
}

/// The other end: a plain socket that does not wait.
enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Peer {
    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Peer::Tcp(stream) => stream,
            Peer::Unix(stream) => stream,
        }
    }

    fn fd(&self) -> RawFd {
        match self {
            Peer::Tcp(stream) => stream.as_raw_fd(),
            Peer::Unix(stream) => stream.as_raw_fd(),
        }
    }

    fn shut(&self, how: Shutdown) {
        let _gone = match self {
            Peer::Tcp(stream) => stream.shutdown(how),
            Peer::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Its close is a reset, and leaves nothing behind in the kernel.
    fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = size_of_val(&linger) as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
        // SAFETY: the option lives, and is as long as said. A Unix socket takes no notice.
        unsafe { libc::setsockopt(self.fd(), level, name, (&raw const linger).cast(), size) };
    }

    fn send_urgent(&self) -> bool {
        // SAFETY: one byte, that lives.
        let sent = unsafe {
            let flags = libc::MSG_OOB | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            libc::send(self.fd(), (&raw const URGENT_BYTE).cast(), 1, flags)
        };
        sent == 1
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

thread_local! {
    static RUNTIME: Runtime = Builder::new().spin(Duration::ZERO).build().expect("a runtime");
    static LISTENER: TcpListener = TcpListener::bind("0.0.0.0:0").expect("a listener");
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

fn connect(tcp: bool) -> (Stream, Peer) {
    if !tcp {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("any socket");
        return (Stream::Unix(ours.try_into().expect("registered")), Peer::Unix(theirs));
    }
    // Many addresses of our own machine: those of one have ports for a minute only.
    let run = RUNS.replace(RUNS.get().wrapping_add(1));
    let ip = Ipv4Addr::new(
        127,
        1 + (run >> 14 & 63) as u8,
        1 + (run >> 7 & 127) as u8,
        1 + (run & 127) as u8,
    );
    LISTENER.with(|listener| {
        let port = listener.local_addr().expect("bound").port();
        let theirs = TcpStream::connect(SocketAddr::from((ip, port))).expect("it listens");
        let (ours, _) = listener.accept().expect("it has connected");
        theirs.set_nonblocking(true).expect("any socket");
        theirs.set_nodelay(true).expect("a TCP socket");
        let ours: AsyncTcpStream = ours.try_into().expect("registered");
        (Stream::Tcp(ours), Peer::Tcp(theirs))
    })
}

/// What the kernel says of our socket: whether a read, and whether a write, would not wait.
fn ready(fd: RawFd) -> (bool, bool) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, that lives.
    let n = unsafe { libc::poll(&raw mut poll, 1, 0) };
    assert!(n >= 0, "{}", io::Error::last_os_error());
    let broken = poll.revents & (libc::POLLHUP | libc::POLLERR) != 0;
    // Of an urgent byte alone it says the same, and a read would wait: looked at, unless that would take an error away.
    let mut byte = 0u8;
    let is_there = broken
        || poll.revents & libc::POLLIN != 0 && {
            let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
            // SAFETY: room for one byte, that lives.
            unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, flags) >= 0 }
        };
    (is_there, poll.revents & libc::POLLOUT != 0 || broken)
}

struct World<'a> {
    runtime: &'a Runtime,
    fd: RawFd,
    reads: Rc<Side>,
    writes: Rc<Side>,
}

impl World<'_> {
    /// Turns until there is nothing to do; then nobody waits for what is there.
    fn settle(&self) {
        let mut again = 0;
        loop {
            let mut turns = 0;
            while self.runtime.turn(Some(Duration::ZERO)).expect("epoll works") == Next::Now {
                turns += 1;
                assert!(turns < 2000, "it never comes to rest");
            }
            // An event that came behind the look is not a turn's fault: once more.
            let more = self.runtime.turn(Some(Duration::ZERO)).expect("epoll works") == Next::Now;
            let (may_read, may_write) = ready(self.fd);
            let read_stalls = may_read && self.reads.waits.get() && !self.reads.ended.get();
            let write_stalls = may_write && self.writes.waits.get() && !self.writes.ended.get();
            if !more && !read_stalls && !write_stalls {
                return;
            }
            again += 1;
            assert!(again < 50, "stalled: reader {read_stalls}, writer {write_stalls}");
            if again > 10 {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

pub fn run(bytes: &[u8]) {
    RUNTIME.with(|runtime| script(runtime, &Input::new(bytes)));
}

fn script(runtime: &Runtime, input: &Input) {
    let settings = input.byte();
    let guard = runtime.enter();
    let (stream, mut peer) = connect(settings & 3 == 0);
    drop(guard);
    let (reads, writes) = (Rc::new(Side::default()), Rc::new(Side::default()));
    let world = World { runtime, fd: stream.fd(), reads: reads.clone(), writes: writes.clone() };
    let stream = Rc::new(stream);
    let one = runtime.spawn(reader(stream.clone(), reads.clone()));
    let other = runtime.spawn(writer(stream.clone(), writes.clone()));
    let (mut sent, mut got, mut urgent, mut closed) = (0u64, 0u64, 0u64, false);
    let mut buf = vec![0; 1 << 16];
    let mut is_over = false;
    for _ in 0..40 {
        if input.is_over() || is_over {
            break;
        }
        let step = input.byte();
        match step & 15 {
            0..=4 => reads.tell((step >> 4, input.byte())),
            5..=7 => writes.tell((input.byte(), input.byte())),
            8..=10 if !closed => {
                let n = u64::from(input.byte()) << (step >> 4 & 7);
                let bytes: Vec<u8> = (0..n).map(|at| nth(sent + at)).collect();
                if let Ok(n) = peer.io().write(&bytes) {
                    sent += n as u64;
                }
            }
            11 if !closed => urgent += u64::from(peer.send_urgent()),
            12 => {
                while let Ok(n @ 1..) = peer.io().read(&mut buf) {
                    for byte in &buf[..n] {
                        assert_eq!(*byte, nth(got), "byte {got} of what we wrote");
                        got += 1;
                    }
                    if step & 16 != 0 {
                        break;
                    }
                }
            }
            13 if step & 0xf0 == 0x50 => {
                peer.shut(Shutdown::Write);
                closed = true;
            }
            14 if step & 0xe0 == 0x60 => is_over = true,
            // Two steps at once: what comes together is seen together.
            15 => continue,
            _ => {}
        }
        world.settle();
    }
    // The end: what is under way arrives, or the connection breaks; and both tasks learn of it.
    let reset = settings & 12 == 12;
    if !reset {
        while let Ok(n @ 1..) = peer.io().read(&mut buf) {
            for byte in &buf[..n] {
                assert_eq!(*byte, nth(got), "byte {got} of what we wrote");
                got += 1;
            }
            world.settle();
        }
        peer.shut(Shutdown::Write);
        world.settle();
    }
    reads.last.set(true);
    writes.last.set(true);
    let gone = {
        // What its end is, and whether there is somebody left to write to.
        peer.reset_on_close();
        if reset {
            drop(peer);
            None
        } else {
            Some(peer)
        }
    };
    reads.wake();
    writes.wake();
    let start = Instant::now();
    let mut gone = gone;
    while !(reads.ended.get() && writes.ended.get()) {
        world.settle();
        if let Some(peer) = &mut gone {
            while let Ok(n @ 1..) = peer.io().read(&mut buf) {
                for byte in &buf[..n] {
                    assert_eq!(*byte, nth(got), "byte {got} of what we wrote");
                    got += 1;
                }
            }
        }
        let took = start.elapsed();
        assert!(
            took < Duration::from_secs(5),
            "a task does not end: reader {}, writer {}",
            reads.ended.get(),
            writes.ended.get()
        );
        if took > Duration::from_millis(2) {
            thread::sleep(Duration::from_micros(100));
        }
    }
    if !reset && !reads.failed.get() {
        assert_eq!(reads.bytes.get(), sent, "all that the peer has sent has arrived");
    }
    assert!(reads.bytes.get() <= sent && reads.urgent.get() <= urgent, "more than was sent");
    assert!(got <= writes.bytes.get(), "the peer has read what nobody wrote");
    drop(gone);
    runtime.turn(Some(Duration::ZERO)).expect("epoll works");
    assert!(one.is_finished() && other.is_finished());
    drop((one, other));
    // A descriptor that was taken out is deregistered, and a plain socket again.
    if settings & 16 != 0 {
        let stream = Rc::into_inner(stream).expect("the tasks have ended");
        let fd: OwnedFd = both!(stream, stream => stream.into());
        assert_eq!(ready(fd.as_raw_fd()).0, ready(fd.as_raw_fd()).0);
    } else {
        drop(stream);
    }
    assert_eq!(runtime.metrics().sources_alive, 0, "a source is left");
    assert_eq!(runtime.metrics().tasks_alive, 0, "a task is left");
}
