//! The programs that run over the simulated kernel: tasks that read, write, copy, accept, connect, give up and try again, in
//! every way that the API has. Each knows what it must have seen when it ends.

use crate::kernel::{self, Act, FIRST_FD, MessageKind, Plan, Sort, pattern};
use crate::outside;
use crate::random::Random;
use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;
use std::cell::Cell;
use std::ffi::c_int;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use waken::io::{AsyncFd, Interest};
use waken::net::{AsyncUdpSocket, AsyncUnixStream};
use waken::task::{Wait, WaitOn};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinHandle, spawn};

/// What was wrong, if anything.
pub(crate) type Outcome = Result<(), String>;

macro_rules! ensure {
    ($fine:expr, $($why:tt)*) => { if !$fine { return Err(format!($($why)*)); } };
}

/// A connection of either kind.
pub(crate) enum Socket {
    Tcp(AsyncTcpStream),
    Unix(AsyncUnixStream),
}

macro_rules! either {
    ($socket:expr, $it:ident => $then:expr) => {
        match $socket {
            Socket::Tcp($it) => $then,
            Socket::Unix($it) => $then,
        }
    };
}

#[allow(unsafe_code)]
fn own(fd: c_int) -> OwnedFd {
    // SAFETY: the simulated kernel has just opened it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn open(plan: &Plan) -> io::Result<Socket> {
    let fd = own(kernel::with(|k| k.open_stream(plan.clone())));
    Ok(match plan.sort {
        Sort::Tcp => Socket::Tcp(fd.try_into()?),
        _ => Socket::Unix(fd.try_into()?),
    })
}

/// A waker that is not the runtime's own, as combinators have them.
struct Forward(Waker);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Polls `future` with such a waker.
async fn foreign<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let waker = Waker::from(Arc::new(Forward(cx.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// Polls `future` once, and gives it up if it waits. Then nobody keeps the waker of this task: it waits for nothing.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let output = {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    };
    let this = waken::task::id();
    for task in waken::runtime::tasks().into_iter().filter(|task| task.id == this) {
        let kept = |wait: &Wait| matches!(wait.on, WaitOn::Readable(_) | WaitOn::Writable(_));
        if let Some(wait) = task.waits_for.iter().find(|wait| kept(wait)) {
            kernel::with(|k| k.fail(format!("given up, and still waiting: {wait:?}")));
        }
    }
    output
}

fn is_block<R>(result: &io::Result<R>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn some_time(random: &mut Random) -> Duration {
    Duration::from_micros(1 + random.below(40) as u64)
}

impl Socket {
    fn fd(&self) -> c_int {
        either!(self, it => it.as_raw_fd())
    }

    async fn read(&self, random: &mut Random, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, it => match random.below(11) {
            0 => poll_fn(|cx| Pin::new(&mut &*it).poll_read(cx, buf)).await,
            1 => loop {
                it.readable().await?;
                let result = it.try_read(buf);
                if !is_block(&result) {
                    break result;
                }
            },
            2 => {
                let (one, two) = buf.split_at_mut(random.below(buf.len()));
                it.read_vectored(&mut [IoSliceMut::new(one), IoSliceMut::new(two)]).await
            }
            3 => {
                let n = it.peek(buf).await?;
                it.read(&mut buf[..n.max(1)]).await
            }
            4 => loop {
                if let Ok(result) = timeout(some_time(random), it.read(buf)).await {
                    break result;
                }
            },
            5 => {
                if let Some(result) = once(it.read(buf)).await {
                    return result;
                }
                it.read(buf).await
            }
            6 => it.async_io(Interest::READABLE, |mut socket| socket.read(buf)).await,
            7 => foreign(it.read(buf)).await,
            8 => loop {
                it.ready(Interest::READABLE).await?;
                let result = it.try_io(Interest::READABLE, |mut socket| socket.read(buf));
                match result {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result if is_block(&result) => {}
                    result => break result,
                }
            },
            _ => it.read(buf).await,
        })
    }

    async fn write(&self, random: &mut Random, buf: &[u8]) -> io::Result<usize> {
        either!(self, it => match random.below(9) {
            0 => poll_fn(|cx| Pin::new(&mut &*it).poll_write(cx, buf)).await,
            1 => loop {
                it.writable().await?;
                let result = it.try_write(buf);
                if !is_block(&result) {
                    break result;
                }
            },
            2 => {
                let (one, two) = buf.split_at(random.below(buf.len()));
                it.write_vectored(&[IoSlice::new(one), IoSlice::new(two)]).await
            }
            3 => loop {
                if let Ok(result) = timeout(some_time(random), it.write(buf)).await {
                    break result;
                }
            },
            4 => {
                if let Some(result) = once(it.write(buf)).await {
                    return result;
                }
                it.write(buf).await
            }
            5 => it.write_all(buf).await.map(|()| buf.len()),
            6 => foreign(it.write(buf)).await,
            _ => it.write(buf).await,
        })
    }

    /// Takes an urgent byte out of its turn, if there is one.
    async fn read_urgent(&self, random: &mut Random) {
        let Socket::Tcp(it) = self else { return };
        let mut byte = [MaybeUninit::uninit()];
        if random.one_in(2) {
            let _ = it.try_io(Interest::PRIORITY, |socket| {
                SockRef::from(socket).recv_out_of_band(&mut byte)
            });
        } else if let Some(Ok(ready)) = once(it.ready(Interest::PRIORITY)).await {
            // Told of it, one may also take it behind the runtime's back.
            if ready.is_priority() {
                let _ = SockRef::from(it).recv_out_of_band(&mut byte);
            }
        }
    }

    async fn shut(&self) -> io::Result<()> {
        either!(self, it => poll_fn(|cx| Pin::new(&mut &*it).poll_close(cx)).await)
    }
}

/// The peer has gone, by its script.
fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Reads to the end, and looks at every byte. `true` when that was a reset.
async fn read_all(
    socket: &Socket,
    plan: &Plan,
    mut random: Random,
    alone: bool,
) -> Result<u64, String> {
    let mut buf = [0; 48];
    let mut at = 0;
    loop {
        let size = [1, 7, 16, 48][random.below(4)];
        if random.one_in(4) {
            socket.read_urgent(&mut random).await;
        }
        let result = match random.below(12) {
            // In pieces of one byte, through a future that keeps on.
            0 => either!(socket, it => it.read_exact(&mut buf[..1]).await).map(|()| 1),
            _ => socket.read(&mut random, &mut buf[..size]).await,
        };
        match result {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) if plan.is_reset() && is_reset(&error) => break,
            Err(error) => return Err(format!("a read of {}: {error}", socket.fd() - FIRST_FD)),
            Ok(n) => {
                for byte in &buf[..n] {
                    let right = pattern(plan.flow_in, at);
                    ensure!(*byte == right, "byte {at} of {} is wrong", socket.fd() - FIRST_FD);
                    at += 1;
                }
            }
        }
        if random.one_in(16) {
            sleep(some_time(&mut random)).await;
        }
    }
    // A writer may have been told of the reset, which is told once.
    if alone || !plan.is_reset() {
        ensure!(at == plan.bytes_in(), "{at} bytes of {} have come", plan.bytes_in());
    }
    Ok(at)
}

async fn write_some(
    socket: &Socket,
    plan: &Plan,
    random: &mut Random,
    from: u64,
    to: u64,
) -> Result<bool, String> {
    let mut at = from;
    while at < to {
        let size = (1 + random.below(40) as u64).min(to - at);
        let bytes: Vec<u8> = (at..at + size).map(|at| pattern(plan.flow_out, at)).collect();
        match socket.write(random, &bytes).await {
            Ok(n) => at += n as u64,
            Err(error) if plan.is_reset() && is_reset(&error) => return Ok(false),
            Err(error) => return Err(format!("a write to {}: {error}", socket.fd() - FIRST_FD)),
        }
    }
    Ok(true)
}

async fn end(socket: &Socket, plan: &Plan) -> Outcome {
    match socket.shut().await {
        Err(error) if !plan.is_reset() => Err(format!("shutdown: {error}")),
        _ => Ok(()),
    }
}

/// Sends back what comes, to the end.
async fn echo(socket: &Socket, plan: &Plan, mut random: Random) -> Outcome {
    let mut buf = [0; 48];
    let mut at = 0;
    loop {
        let size = [1, 7, 16, 48][random.below(4)];
        let n = match socket.read(&mut random, &mut buf[..size]).await {
            Ok(0) => break,
            Ok(n) => n as u64,
            Err(error) if plan.is_reset() && is_reset(&error) => return Ok(()),
            Err(error) => return Err(format!("a read: {error}")),
        };
        for (byte, at) in buf.iter().zip(at..at + n) {
            ensure!(*byte == pattern(plan.flow_in, at), "byte {at} is wrong");
        }
        if !write_some(socket, plan, &mut random, at, at + n).await? {
            return Ok(());
        }
        at += n;
    }
    ensure!(plan.is_reset() || at == plan.bytes_in(), "{at} bytes of {}", plan.bytes_in());
    end(socket, plan).await
}

/// One task reads, another one writes.
async fn duplex(socket: Rc<Socket>, plan: Rc<Plan>, total: u64, mut random: Random) -> Outcome {
    let (ours, its, other) = (socket.clone(), plan.clone(), Random::new(random.any()));
    let reader = spawn(async move { read_all(&ours, &its, other, false).await });
    if write_some(&socket, &plan, &mut random, 0, total).await? {
        end(&socket, &plan).await?;
    }
    reader.await.map_err(|error| error.to_string())??;
    Ok(())
}

/// What comes from one goes to the other.
async fn copy(
    from: Rc<Socket>,
    to: Rc<Socket>,
    plans: [Rc<Plan>; 2],
    mut random: Random,
) -> Outcome {
    let mut buf = [0; 32];
    let mut at = 0;
    loop {
        let n = match from.read(&mut random, &mut buf).await {
            Ok(0) => break,
            Ok(n) => n as u64,
            Err(error) => return Err(format!("a read: {error}")),
        };
        for (byte, at) in buf.iter().zip(at..at + n) {
            ensure!(*byte == pattern(plans[0].flow_in, at), "byte {at} is wrong");
        }
        write_some(&to, &plans[1], &mut random, at, at + n).await?;
        at += n;
    }
    ensure!(at == plans[0].bytes_in(), "{at} bytes of {}", plans[0].bytes_in());
    end(&to, &plans[1]).await
}

/// Several tasks wait for the same socket, and share what comes.
async fn shared(socket: Rc<Socket>, plan: Rc<Plan>, tasks: usize) -> Outcome {
    let readers = (0..tasks).map(|_| {
        let socket = socket.clone();
        spawn(async move {
            let (mut buf, mut all) = ([0; 16], 0);
            loop {
                either!(&*socket, it => {
                    it.readable().await.map_err(|error| error.to_string())?;
                    match it.try_read(&mut buf) {
                        Ok(0) => return Ok(all),
                        Ok(n) => all += n as u64,
                        result if is_block(&result) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                })
            }
        })
    });
    let readers: Vec<JoinHandle<Result<u64, String>>> = readers.collect();
    let mut all = 0;
    for reader in readers {
        all += reader.await.map_err(|error| error.to_string())??;
    }
    ensure!(all == plan.bytes_in(), "{all} bytes of {} have come", plan.bytes_in());
    Ok(())
}

/// Several tasks wait until there is room in the same socket, and share what has to go.
async fn shared_writing(socket: Rc<Socket>, plan: Rc<Plan>, total: u64, tasks: usize) -> Outcome {
    let at = Rc::new(Cell::new(0));
    let writers = (0..tasks).map(|_| {
        let (socket, plan, at) = (socket.clone(), plan.clone(), at.clone());
        spawn(async move {
            while at.get() < total {
                either!(&*socket, it => {
                    it.writable().await.map_err(|error| error.to_string())?;
                    let bytes: Vec<u8> = (at.get()..total.min(at.get() + 16))
                        .map(|at| pattern(plan.flow_out, at))
                        .collect();
                    match it.try_write(&bytes) {
                        Ok(n) => at.set(at.get() + n as u64),
                        result if is_block(&result) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                })
            }
            Ok(())
        })
    });
    let writers: Vec<JoinHandle<Outcome>> = writers.collect();
    for writer in writers {
        writer.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Writes to a pipe until all is written, or nobody reads any more.
async fn pipe_writer(fd: OwnedFd, plan: Plan, total: u64, mut random: Random) -> Outcome {
    let file = AsyncFd::with_interest(std::fs::File::from(fd), Interest::WRITABLE);
    let mut file = file.map_err(|error| error.to_string())?;
    let mut at = 0;
    while at < total {
        let size = (1 + random.below(40) as u64).min(total - at);
        let bytes: Vec<u8> = (at..at + size).map(|at| pattern(plan.flow_out, at)).collect();
        let result = match random.below(2) {
            0 => poll_fn(|cx| Pin::new(&mut file).poll_write(cx, &bytes)).await,
            _ => file.async_io(Interest::WRITABLE, |mut file| file.write(&bytes)).await,
        };
        match result {
            Ok(n) => at += n as u64,
            Err(error) if plan.is_reset() && error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(format!("a write: {error}")),
        }
    }
    Ok(())
}

async fn accept(fd: OwnedFd, plans: Vec<Plan>, mut random: Random) -> Outcome {
    let listener = TcpListener::from(fd);
    let listener = AsyncTcpListener::try_from(listener).map_err(|error| error.to_string())?;
    let mut tasks = Vec::new();
    for plan in plans {
        let stream = loop {
            let accepted = match random.below(4) {
                0 => poll_fn(|cx| listener.poll_accept(cx)).await,
                1 => match timeout(some_time(&mut random), listener.accept()).await {
                    Ok(accepted) => accepted,
                    Err(_) => continue,
                },
                2 => match once(listener.accept()).await {
                    Some(accepted) => accepted,
                    None => listener.accept().await,
                },
                _ => listener.accept().await,
            };
            match accepted {
                Ok((stream, _)) => break stream,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                }
                Err(error) => return Err(format!("accept: {error}")),
            }
        };
        let random = Random::new(random.any());
        tasks.push(spawn(async move { echo(&Socket::Tcp(stream), &plan, random).await }));
    }
    drop(listener);
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

async fn connect(plan: Plan, total: u64, mut random: Random) -> Outcome {
    let address = SocketAddr::from(([127, 0, 0, 1], 4711));
    let refused = plan.script.iter().any(|act| matches!(act, Act::Unreachable));
    kernel::with(|k| k.to_connect.push_back(plan.clone()));
    let stream = match AsyncTcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => {
            let fine = refused && error.kind() == ErrorKind::ConnectionRefused;
            ensure!(fine || plan.is_reset() && is_reset(&error), "connect: {error}");
            return Ok(());
        }
    };
    ensure!(!refused, "connected with nobody");
    let socket = Socket::Tcp(stream);
    if write_some(&socket, &plan, &mut random, 0, total).await? {
        end(&socket, &plan).await?;
    }
    read_all(&socket, &plan, Random::new(random.any()), false).await?;
    Ok(())
}

/// Every message, whole and in order, whatever comes between them.
async fn datagrams(fd: OwnedFd, lengths: Vec<u32>, errors: usize) -> Outcome {
    let socket = AsyncUdpSocket::try_from(fd).map_err(|error| error.to_string())?;
    let (mut buf, mut refused) = ([0; 64], 0);
    let mut lengths = lengths.into_iter().zip(0..).peekable();
    while let Some((length, n)) = lengths.peek().copied() {
        match socket.recv(&mut buf).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(format!("recv: {error}")),
            Ok(size) => {
                ensure!(size == length as usize, "{size} bytes, and not {length}");
                for (byte, at) in buf[..size].iter().zip(0..) {
                    ensure!(*byte == pattern(n, at), "message {n} is wrong");
                }
                lengths.next();
            }
        }
    }
    ensure!(refused <= errors, "an error came twice");
    Ok(())
}

/// What the kernel tells in pieces: each count of a semaphore, each piece in a pipe, until its end.
async fn any_fd(fd: OwnedFd, pieces: u32, ends: bool, mut random: Random) -> Outcome {
    let file = AsyncFd::with_interest(std::fs::File::from(fd), Interest::READABLE);
    let mut file = file.map_err(|error| error.to_string())?;
    let (mut buf, mut seen) = ([0; 64], 0);
    loop {
        if seen == pieces && !ends {
            return Ok(());
        }
        let result = match random.below(3) {
            0 => poll_fn(|cx| Pin::new(&mut file).poll_read(cx, &mut buf)).await,
            1 => file.async_io(Interest::READABLE, |mut file| file.read(&mut buf)).await,
            _ => loop {
                file.readable().await.map_err(|error| error.to_string())?;
                let result = file.try_io(Interest::READABLE, |mut file| file.read(&mut buf));
                match result {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result if is_block(&result) => {}
                    result => break result,
                }
            },
        };
        match result {
            Ok(0) if ends => {
                ensure!(seen == pieces, "{seen} pieces of {pieces}");
                return Ok(());
            }
            Ok(_) => seen += 1,
            Err(error) => return Err(format!("a read: {error}")),
        }
    }
}

/// A descriptor that somebody may put another one into the place of.
struct Replaceable(OwnedFd);

impl AsFd for Replaceable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The mistake that `AsyncFd::get_mut` warns of: the registered descriptor is closed under the runtime, a duplicate is
/// left somewhere, and its events come for ever. They are nobody's.
async fn leave_a_ghost(mut random: Random) -> Outcome {
    let plans = [plain(&mut random, 90), plain(&mut random, 91)];
    let [one, other] = plans.map(|plan| own(kernel::with(|k| k.open_stream(plan))));
    kernel::with(|k| k.duplicate(one.as_raw_fd()));
    let mut wrapped = AsyncFd::new(Replaceable(one)).map_err(|error| error.to_string())?;
    if random.one_in(2) {
        sleep(some_time(&mut random)).await;
    }
    *wrapped.get_mut() = Replaceable(other);
    drop(wrapped);
    Ok(())
}

// ---- the cast of a schedule -----------------------------------------------------------------------

/// Acts that send `segments` pieces, with what may be between them.
fn pieces(random: &mut Random, sort: Sort, between: &[Act]) -> Vec<Act> {
    let mut script = Vec::new();
    for _ in 0..random.below(5) {
        script.push(Act::Send(
            [1, 6, 7, 8, 15, 16, 17, 1 + random.below(60) as u32][random.below(8)],
        ));
        if random.one_in(4) {
            script.push(if sort == Sort::Tcp { Act::Urgent } else { Act::Descriptor });
        } else if random.one_in(2) {
            script.extend(between);
        }
    }
    script
}

fn plain(random: &mut Random, flow: u32) -> Plan {
    let sort = if random.one_in(3) { Sort::Unix } else { Sort::Tcp };
    let script = pieces(random, sort, &[Act::AwaitRead]);
    let room = 8 + random.below(80) as u64;
    Plan { sort, script, flow_in: flow, flow_out: flow, room, excused: false }
}

fn finish(random: &mut Random, plan: &mut Plan, may_reset: bool) {
    let resets = may_reset && random.one_in(4);
    plan.script.push(if resets { Act::Reset } else { Act::Fin });
}

/// What is echoed: the peer waits for answers in between, and before its end.
fn echoed(random: &mut Random, sort: Sort, flow: u32) -> Plan {
    let mut plan = Plan { sort, ..plain(random, flow) };
    plan.script.clear();
    let mut sent = 0;
    for act in pieces(random, sort, &[Act::AwaitRead]) {
        if let Act::Send(n) = act {
            sent += u64::from(n);
        }
        let waits = matches!(act, Act::AwaitRead);
        plan.script.push(if waits { Act::AwaitBytes(sent) } else { act });
    }
    if random.one_in(2) {
        plan.script.push(Act::AwaitBytes(sent));
    }
    finish(random, &mut plan, true);
    plan
}

/// Makes one program of a random kind, and the descriptors it has. Called under the runtime.
pub(crate) fn start(n: u32, random: &mut Random) -> Result<JoinHandle<Outcome>, String> {
    let kind = random.below(16);
    let mut own_random = Random::new(random.any());
    let fail = |error: io::Error| error.to_string();
    Ok(match kind {
        0..=2 => {
            let sort = if random.one_in(3) { Sort::Unix } else { Sort::Tcp };
            let plan = echoed(random, sort, n);
            let (mut socket, elsewhere) = (open(&plan).map_err(fail)?, random.one_in(8));
            // Again and again, so that numbers of descriptors and places are used by one after the other.
            let mut rounds = random.below(4);
            spawn(async move {
                loop {
                    echo(&socket, &plan, Random::new(own_random.any())).await?;
                    if elsewhere {
                        outside::drop_there(socket);
                    } else {
                        drop(socket);
                    }
                    if rounds == 0 {
                        return Ok(());
                    }
                    rounds -= 1;
                    socket = open(&plan).map_err(|error| error.to_string())?;
                }
            })
        }
        3..=5 => {
            let mut plan = plain(random, n);
            finish(random, &mut plan, true);
            let socket = open(&plan).map_err(fail)?;
            spawn(async move { read_all(&socket, &plan, own_random, true).await.map(drop) })
        }
        6 | 7 => {
            let mut plan = plain(random, n);
            let total = random.below(200) as u64;
            if random.one_in(2) {
                plan.script.push(Act::AwaitBytes(total));
            }
            finish(random, &mut plan, true);
            let (socket, plan) = (Rc::new(open(&plan).map_err(fail)?), Rc::new(plan));
            spawn(duplex(socket, plan, total, own_random))
        }
        8 => {
            let mut plans = [plain(random, n), plain(random, n + 50)];
            plans[0].flow_out = n + 50;
            plans[1].flow_out = n;
            for plan in &mut plans {
                finish(random, plan, false);
            }
            let [one, two] = [open(&plans[0]).map_err(fail)?, open(&plans[1]).map_err(fail)?];
            let ([one, two], [its, others]) = ([one, two].map(Rc::new), plans.map(Rc::new));
            let there = copy(
                one.clone(),
                two.clone(),
                [its.clone(), others.clone()],
                Random::new(random.any()),
            );
            let there = spawn(there);
            spawn(async move {
                copy(two, one, [others, its], own_random).await?;
                there.await.map_err(|error| error.to_string())?
            })
        }
        9 => {
            let mut plan = Plan { excused: true, ..plain(random, n) };
            finish(random, &mut plan, false);
            let (socket, plan) = (Rc::new(open(&plan).map_err(fail)?), Rc::new(plan));
            match own_random.below(3) {
                0 => spawn(shared_writing(socket, plan, own_random.below(200) as u64, 2)),
                _ => spawn(shared(socket, plan, 2 + own_random.below(3))),
            }
        }
        10 | 11 => {
            let clients = 1 + random.below(3) as u32;
            let plans: Vec<Plan> =
                (0..clients).map(|c| echoed(random, Sort::Tcp, n + 10 * c)).collect();
            let mut script = Vec::new();
            for _ in &plans {
                let errors = [libc::ECONNABORTED, libc::EMFILE, libc::EPROTO, libc::ENFILE];
                if random.one_in(3) {
                    script.push(Act::AcceptError(errors[random.below(4)]));
                }
                script.push(Act::Client);
            }
            let fd = own(kernel::with(|k| k.open_listener(plans.clone(), script)));
            spawn(accept(fd, plans, own_random))
        }
        12 => {
            let mut plan = Plan { sort: Sort::Tcp, ..plain(random, n) };
            plan.script.retain(|act| !matches!(act, Act::Descriptor));
            let refused = random.one_in(4);
            plan.script.insert(0, if refused { Act::Unreachable } else { Act::Connected });
            let total = random.below(60) as u64;
            plan.script.push(Act::AwaitEnd);
            finish(random, &mut plan, true);
            spawn(connect(plan, total, own_random))
        }
        13 => {
            let (mut lengths, mut script, mut errors) = (Vec::new(), Vec::new(), 0);
            for _ in 0..1 + random.below(6) {
                if random.one_in(4) {
                    script.push(Act::Refused);
                    errors += 1;
                }
                lengths.push(random.below(40) as u32);
                script.push(Act::Send(*lengths.last().unwrap()));
            }
            let fd = own(kernel::with(|k| k.open_messages(MessageKind::Udp, script)));
            spawn(datagrams(fd, lengths, errors))
        }
        14 if random.one_in(3) => {
            let mut plan = Plan { sort: Sort::Pipe, ..plain(random, n) };
            let total = 1 + random.below(200) as u64;
            plan.script.clear();
            if random.one_in(2) {
                plan.script
                    .extend([Act::AwaitBytes(random.below(total as usize) as u64), Act::Reset]);
            }
            let fd = own(kernel::with(|k| k.open_stream(plan.clone())));
            spawn(pipe_writer(fd, plan, total, own_random))
        }
        14 => {
            let ends = random.one_in(2);
            let kind = if ends { MessageKind::Pipe } else { MessageKind::Semaphore };
            let counts: Vec<u32> =
                (0..random.below(6)).map(|_| 1 + random.below(3) as u32).collect();
            let pieces = if ends { counts.len() as u32 } else { counts.iter().sum() };
            let mut script: Vec<Act> = counts.into_iter().map(Act::Send).collect();
            script.extend(ends.then_some(Act::Fin));
            let fd = own(kernel::with(|k| k.open_messages(kind, script)));
            spawn(any_fd(fd, pieces, ends, own_random))
        }
        _ => spawn(async move {
            match own_random.below(3) {
                0 => leave_a_ghost(own_random).await?,
                1 => {
                    for _ in 0..own_random.below(4) {
                        outside::be_woken().await;
                    }
                }
                _ => {
                    for _ in 0..own_random.below(4) {
                        sleep(some_time(&mut own_random)).await;
                    }
                }
            }
            Ok(())
        }),
    })
}
