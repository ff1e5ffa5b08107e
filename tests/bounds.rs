//! What may cross threads, and what may move: frozen here, so that a change is a decision.
//!
//! Most of it is proved by compiling. A `not_…!` names a trait that a type must not have: were it
//! implemented, two candidates would fit the `_`, and the compiler would refuse.
#[path = "support/sources.rs"]
mod sources;
mod support;

use futures_io::{AsyncRead, AsyncWrite};
use sources::sources;
use std::cell::Cell;
use std::fmt::Debug;
use std::fs::File;
use std::future::Pending;
use std::marker::PhantomPinned;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net as unix;
use std::pin::Pin;
use std::process::{ChildStdin, ChildStdout};
use std::rc::Rc;
use std::sync::MutexGuard;
use std::task::{Context, Poll};
use std::time::Duration;
use support::watched;
use waken::io::{AsyncFd, Interest, Ready};
use waken::net::{
    AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, AsyncUnixDatagram, AsyncUnixListener,
    AsyncUnixStream, Incoming, OwnedReadHalf, OwnedWriteHalf, TcpSocket, UCred, UnixIncoming,
};
use waken::runtime::{
    Builder, EnterGuard, Metrics, Next, PanicPolicy, Remote, RemoteError, RemoteJoinHandle, Workers,
};
use waken::task::{
    self, AbortHandle, AbortOnDrop, JoinError, JoinHandle, JoinSet, TaskInfo, YieldNow,
};
use waken::time::{self, Elapsed, Interval, MissedTickBehavior, Sleep, Timeout};
use waken::{Runtime, spawn};

/// `Send`, but not `Sync`.
type Sending = Cell<u8>;
/// `Sync`, but not `Send`.
type Sharing = MutexGuard<'static, u8>;
/// Neither.
type Staying = Rc<u8>;

macro_rules! is {
    ($($bound:ident)|+: $($type:ty),+ $(,)?) => {
        const _: fn() = || {
            fn check<T: $($bound+)+>() {}
            $(check::<$type>();)+
        };
    };
}

macro_rules! is_not {
    ($bound:ident: $($type:ty),+ $(,)?) => {
        $(const _: fn() = || {
            trait Ambiguous<A> {
                fn check() {}
            }
            struct Has;
            impl<T> Ambiguous<()> for T {}
            impl<T: $bound> Ambiguous<Has> for T {}
            let _ = <$type as Ambiguous<_>>::check;
        };)+
    };
}

is!(Send | Sync | Unpin | Debug: AsyncTcpListener, AsyncTcpStream, TcpSocket, OwnedReadHalf, OwnedWriteHalf);
is!(Send | Sync | Unpin | Debug: Incoming<'static>, Interest, Ready);
is!(Send | Sync | Unpin | Debug: AsyncUdpSocket, AsyncUnixListener, AsyncUnixStream, AsyncUnixDatagram);
is!(Send | Sync | Unpin | Debug: OwnedReadHalf<AsyncUnixStream>, OwnedWriteHalf<AsyncUnixStream>);
is!(Send | Sync | Unpin | Debug: UnixIncoming<'static>, UCred);
is!(AsyncRead | AsyncWrite: AsyncUnixStream, &'static AsyncUnixStream);
is!(AsyncRead: OwnedReadHalf<AsyncUnixStream>);
is!(AsyncWrite: OwnedWriteHalf<AsyncUnixStream>);
is!(Clone: UCred);
is_not!(Clone: AsyncUdpSocket, AsyncUnixListener, AsyncUnixStream, AsyncUnixDatagram);

/// A descriptor with something else beside it.
struct With<T>(OwnedFd, #[allow(dead_code)] T);

impl<T> AsFd for With<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// Any descriptor is as its value is, which is never pinned, and reads and writes where that does.
is!(Send | Sync | Unpin | Debug: AsyncFd<OwnedFd>, AsyncFd<&'static OwnedFd>, AsyncFd<BorrowedFd<'static>>);
is!(Unpin | Debug: AsyncFd<With<PhantomPinned>>, AsyncFd<With<Staying>>);
is!(Send: AsyncFd<With<Sending>>);
is!(Sync: AsyncFd<With<Sharing>>);
is_not!(Sync: AsyncFd<With<Sending>>, AsyncFd<With<Staying>>);
is_not!(Send: AsyncFd<With<Sharing>>, AsyncFd<With<Staying>>);
is_not!(Clone: AsyncFd<BorrowedFd<'static>>);
is!(AsyncRead | AsyncWrite: AsyncFd<File>, &'static AsyncFd<File>, AsyncFd<&'static File>);
is!(AsyncRead: AsyncFd<ChildStdout>);
is!(AsyncWrite: AsyncFd<ChildStdin>);
is_not!(AsyncWrite: AsyncFd<ChildStdout>, AsyncFd<OwnedFd>);
is_not!(AsyncRead: AsyncFd<ChildStdin>, AsyncFd<OwnedFd>);
is!(Send | Sync | Unpin | Debug: Sleep, Interval, Elapsed, MissedTickBehavior);
is!(Send | Sync | Unpin | Debug: Builder, Metrics, Next, PanicPolicy, Remote, RemoteError, Workers);
is!(Send | Sync | Unpin | Debug: task::Builder, task::Id, task::State, task::Wait, task::WaitOn);
is!(Send | Sync | Unpin | Debug: TaskInfo, AbortHandle, JoinError, YieldNow);
is!(Clone: Builder, Metrics, Remote, AbortHandle, TaskInfo, Workers);
#[cfg(feature = "trace")]
is!(Send | Sync | Unpin | Clone | Debug: waken::trace::Report, waken::trace::Finding);
#[cfg(feature = "signal")]
is!(Send | Sync | Unpin | Debug: waken::signal::Signals);

// The wrappers for hyper are as what they wrap.
#[cfg(feature = "hyper")]
mod hyper {
    use super::{AsyncTcpStream, Debug, PhantomPinned, Sending, Staying};
    use waken::hyper::{FuturesIo, HyperExecutor, HyperIo, HyperTimer};

    is!(Send | Sync | Unpin | Debug: HyperIo<AsyncTcpStream>, FuturesIo<AsyncTcpStream>, HyperExecutor, HyperTimer);
    is!(Send: HyperIo<Sending>, FuturesIo<Sending>);
    is_not!(Sync: HyperIo<Sending>, FuturesIo<Sending>);
    is_not!(Send: HyperIo<Staying>, FuturesIo<Staying>);
    is_not!(Unpin: HyperIo<PhantomPinned>, FuturesIo<PhantomPinned>);
}

// Handles are as their output is, and no output is ever pinned.
is!(Send | Sync | Unpin | Debug: JoinHandle<u8>, AbortOnDrop<u8>, JoinSet<u8>, RemoteJoinHandle<u8>);
is!(Send: JoinHandle<Sending>, AbortOnDrop<Sending>, JoinSet<Sending>);
is!(Sync: JoinHandle<Sharing>, AbortOnDrop<Sharing>, JoinSet<Sharing>);
is_not!(Sync: JoinHandle<Sending>, AbortOnDrop<Sending>, JoinSet<Sending>);
is_not!(Send: JoinHandle<Sharing>, AbortOnDrop<Sharing>, JoinSet<Sharing>);
is_not!(Send: JoinHandle<Staying>, AbortOnDrop<Staying>, JoinSet<Staying>, RemoteJoinHandle<Staying>);
is_not!(Sync: JoinHandle<Staying>, AbortOnDrop<Staying>, JoinSet<Staying>, RemoteJoinHandle<Staying>);
is!(Send | Sync: RemoteJoinHandle<Sending>);
is!(Unpin: JoinHandle<PhantomPinned>, JoinSet<PhantomPinned>);
is!(Unpin: AbortOnDrop<PhantomPinned>, RemoteJoinHandle<PhantomPinned>);

// A timeout is as its future is.
is!(Send | Sync | Unpin: Timeout<Pending<u8>>);
is_not!(Send: Timeout<Staying>);
is_not!(Unpin: Timeout<PhantomPinned>);

// The runtime stays on its thread, and so does being inside it.
is_not!(Send: Runtime, EnterGuard<'static>);
is_not!(Sync: Runtime, EnterGuard<'static>);
is_not!(Clone: Runtime, JoinHandle<u8>, JoinSet<u8>);
is!(Debug: Runtime, EnterGuard<'static>);

/// U04, N08: every public type, so that one that is new gets its line as well.
#[test]
fn every_public_type_says_here_whether_it_crosses_threads() {
    // In private modules, and named by no signature that anybody can write down.
    const UNREACHABLE: [&str; 1] = ["Addresses"];
    let mut types = Vec::new();
    for source in sources("runtime") {
        for line in source.lines() {
            let rest = ["pub struct ", "pub enum "].iter().find_map(|it| line.strip_prefix(it));
            let name = rest.map(|it| it.split(|c: char| !c.is_alphanumeric()).next().unwrap());
            types.extend(name.map(str::to_owned));
        }
    }
    assert!(types.len() > 40, "{types:?}");
    let said: String = include_str!("bounds.rs")
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("is!(Send") || line.starts_with("is_not!(Send"))
        .collect();
    let said: Vec<&str> = said.split(|c: char| !c.is_alphanumeric()).collect();
    let silent =
        |name: &&String| !said.contains(&name.as_str()) && !UNREACHABLE.contains(&name.as_str());
    let silent: Vec<&String> = types.iter().filter(silent).collect();
    assert!(silent.is_empty(), "whether these are `Send` and `Sync` stands nowhere: {silent:?}");
}

fn crosses<T: Send + Sync>(_: &T) {}

/// Neither in the types of the functions above nor in their docs: what the methods return.
#[test]
fn the_futures_of_sockets_may_cross_threads() {
    watched(10, || {
        waken::block_on(async {
            let bind = AsyncTcpListener::bind("127.0.0.1:0");
            crosses(&bind);
            let listener = bind.await.unwrap();
            let address: SocketAddr = listener.local_addr().unwrap();
            let by_text = AsyncTcpStream::connect(format!("127.0.0.1:{}", address.port()));
            crosses(&by_text);
            let by_host = AsyncTcpStream::connect(("localhost", address.port()));
            crosses(&by_host);
            let addresses = [address];
            let by_addresses = AsyncTcpStream::connect(&addresses[..]);
            crosses(&by_addresses);
            let socket = TcpSocket::new_v4().unwrap().connect(address);
            crosses(&socket);
            let stream = by_addresses.await.unwrap();

            let accept = listener.accept();
            crosses(&accept);
            crosses(&listener.incoming());
            let (peer, _) = accept.await.unwrap();

            let (mut one, mut other, mut some) = ([0; 4], [0; 4], [0; 4]);
            crosses(&stream.read(&mut one));
            crosses(&stream.read_exact(&mut one));
            crosses(&stream.peek(&mut one));
            let mut slices =
                [std::io::IoSliceMut::new(&mut other), std::io::IoSliceMut::new(&mut some)];
            crosses(&stream.read_vectored(&mut slices));
            crosses(&stream.write(b"x"));
            crosses(&stream.write_all(b"x"));
            crosses(&stream.write_vectored(&[std::io::IoSlice::new(b"x")]));
            crosses(&stream.readable());
            crosses(&stream.writable());
            crosses(&stream.ready(Interest::READABLE | Interest::WRITABLE));
            crosses(&stream.async_io(Interest::READABLE, |_| Ok(0)));
            let round = async {
                stream.write_all(b"ping").await?;
                peer.read_exact(&mut one).await
            };
            crosses(&round);
            round.await.unwrap();
        });
    });
}

#[test]
fn the_futures_of_the_other_sockets_may_cross_threads() {
    watched(10, || {
        waken::block_on(async {
            let mut buf = [0; 4];
            let bind = AsyncUdpSocket::bind("127.0.0.1:0");
            crosses(&bind);
            let udp = bind.await.unwrap();
            let to = udp.local_addr().unwrap();
            crosses(&udp.connect(to));
            crosses(&udp.send(b"x"));
            crosses(&udp.send_to(b"x", "localhost:9"));
            crosses(&udp.recv(&mut buf));
            crosses(&udp.recv_from(&mut buf));
            crosses(&udp.peek_from(&mut buf));
            crosses(&udp.readable());
            crosses(&udp.async_io(Interest::READABLE, |_| Ok(0)));

            let (one, other) = AsyncUnixDatagram::pair().unwrap();
            let address = one.local_addr().unwrap();
            crosses(&one.send(b"x"));
            crosses(&one.send_to(b"x", "path"));
            crosses(&one.send_to_addr(b"x", &address));
            crosses(&other.recv(&mut buf));
            crosses(&other.recv_from(&mut buf));
            crosses(&other.writable());

            crosses(&AsyncUnixStream::connect("path"));
            // It borrows nothing.
            let connect = |address: unix::SocketAddr| AsyncUnixStream::connect_addr(&address);
            crosses(&connect(address));
            let (stream, _peer) = AsyncUnixStream::pair().unwrap();
            crosses(&stream.read(&mut buf));
            crosses(&stream.read_exact(&mut buf));
            crosses(&stream.peek(&mut buf));
            crosses(&stream.write_all(b"x"));
            crosses(&stream.ready(Interest::READABLE));
            crosses(&stream.async_io(Interest::READABLE, |_| Ok(0)));

            let any = AsyncFd::new(stream.into_std()).unwrap();
            crosses(&any.readable());
            crosses(&any.ready(Interest::WRITABLE));
            crosses(&any.async_io(Interest::READABLE, |_| Ok(0)));
        });
    });
}

#[test]
fn the_futures_of_time_and_tasks_may_cross_threads() {
    watched(10, || {
        waken::block_on(async {
            crosses(&time::sleep(Duration::ZERO));
            crosses(&time::timeout(Duration::ZERO, async { 1 }));
            crosses(&time::timeout_at(time::now(), std::future::ready(1)));
            crosses(&time::interval(Duration::from_millis(1)).tick());
            crosses(&task::yield_now());
            crosses(&task::consume_budget());
            let mut set = JoinSet::new();
            set.spawn(async { 1 });
            crosses(&set.join_next());
            crosses(&set.shutdown());
            // The task's own future needs none of it, only the output does.
            let handle = spawn(async {
                let local = Rc::new(5);
                task::yield_now().await;
                *local
            });
            crosses(&handle);
            assert_eq!(handle.await.unwrap(), 5);
        });
    });
}

/// `T: 'static` is asked where a task is spawned, and nowhere else.
#[test]
fn a_handle_is_a_future_for_every_output() {
    fn generic<T>(handle: &mut JoinHandle<T>, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        handle.abort_handle().is_finished();
        Pin::new(handle).poll(cx)
    }
    async fn guarded<T>(handle: JoinHandle<T>) -> Result<T, JoinError> {
        handle.abort_on_drop().await
    }
    /// Shorter than `'static`, so that this would not compile if it were asked for.
    async fn shorter<'a>(handle: JoinHandle<&'a str>, _: &'a str) -> Result<&'a str, JoinError> {
        guarded(handle).await
    }
    watched(10, || {
        waken::block_on(async {
            let mut handle = spawn(async { 1 });
            assert_eq!(std::future::poll_fn(|cx| generic(&mut handle, cx)).await.unwrap(), 1);
            let local = String::from("local");
            assert_eq!(shorter(spawn(async { "output" }), &local).await.unwrap(), "output");
        });
    });
}

/// `block_on` borrows for the call only. U02.
#[test]
fn block_on_takes_futures_that_borrow() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let mut count = 0;
        let text = String::from("borrowed");
        let length = runtime.block_on(async {
            count += 1;
            task::yield_now().await;
            text.len()
        });
        count += waken::block_on(async { count });
        assert_eq!((count, length), (2, 8));
    });
}

/// Everything that may cross does, and works as before when it is back.
#[test]
fn what_may_cross_threads_comes_back_whole() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let parts = runtime.block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut sleep = Box::pin(time::sleep(Duration::from_millis(5)));
            // Registered with a timer, a waiter and a joiner before the journey.
            assert!(futures_lite::future::poll_once(&mut sleep).await.is_none());
            (listener, stream, sleep, spawn(async { 3 }))
        });
        let journey = std::thread::spawn(move || {
            let text = format!("{parts:?}");
            (parts, text)
        });
        let ((listener, stream, sleep, handle), text) = journey.join().unwrap();
        assert!(text.contains("JoinHandle"), "{text}");
        runtime.block_on(async {
            let (peer, _) = listener.accept().await.unwrap();
            peer.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            sleep.await;
            assert_eq!(handle.await.unwrap(), 3);
        });
    });
}

/// K09: there is nothing to write to before it is connected.
#[test]
fn a_socket_that_is_not_connected_cannot_be_read_or_written() {
    is_not!(AsyncRead: TcpSocket, AsyncTcpListener);
    is_not!(AsyncWrite: TcpSocket, AsyncTcpListener);
    watched(10, || {
        waken::block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let connecting = TcpSocket::new_v4().unwrap().connect(listener.local_addr().unwrap());
            // The stream comes out of the future, when it is connected.
            let stream: AsyncTcpStream = connecting.await.unwrap();
            stream.write_all(b"x").await.unwrap();
        });
    });
}

/// P04: what must not leave its thread is not sent by any channel of std's, nor by a letter to another runtime.
#[test]
fn what_must_stay_cannot_be_sent() {
    is_not!(Send: Runtime, EnterGuard<'static>, std::sync::mpsc::SendError<Runtime>);
    is_not!(Send: std::sync::mpsc::Sender<Runtime>, std::sync::mpsc::Receiver<EnterGuard<'static>>);
    is_not!(Send: std::sync::Mutex<Runtime>, std::sync::Arc<Runtime>, JoinHandle<Staying>);
    is_not!(Send: RemoteJoinHandle<Staying>, AbortOnDrop<Sharing>, AsyncFd<With<Staying>>);
    watched(10, || {
        // What is made there may be of any kind: only what goes there and what comes back must be sent.
        let runtime = Runtime::new().unwrap();
        let remote = runtime.remote();
        let length = std::thread::spawn(move || {
            remote.spawn(|| async {
                let staying = Rc::new([1, 2, 3]);
                task::yield_now().await;
                staying.len()
            })
        });
        let length = length.join().unwrap().unwrap();
        assert_eq!(runtime.block_on(length).unwrap(), 3);
    });
}

/// F08: a socket that is registered is lent as `&`, so no other one can be put into its place. (Of an `AsyncFd` that can be
/// done; its documentation says what it brings about.)
#[test]
fn no_socket_lends_what_it_has_registered_to_be_changed() {
    use std::borrow::BorrowMut;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::ops::DerefMut;
    is_not!(DerefMut: AsyncTcpStream, AsyncTcpListener, AsyncUdpSocket, OwnedReadHalf, OwnedWriteHalf);
    is_not!(DerefMut: AsyncUnixStream, AsyncUnixListener, AsyncUnixDatagram);
    macro_rules! lends_no {
        ($($type:ty: $inner:ty),+ $(,)?) => {
            $(const _: fn() = || {
                trait Ambiguous<A> {
                    fn check() {}
                }
                struct ByAsMut;
                struct ByBorrow;
                impl<T> Ambiguous<()> for T {}
                impl<T: AsMut<$inner>> Ambiguous<ByAsMut> for T {}
                impl<T: BorrowMut<$inner>> Ambiguous<ByBorrow> for T {}
                let _ = <$type as Ambiguous<_>>::check;
            };)+
        };
    }
    lends_no!(
        AsyncTcpStream: TcpStream,
        AsyncTcpListener: TcpListener,
        AsyncUdpSocket: UdpSocket,
        AsyncUnixStream: unix::UnixStream,
        AsyncUnixListener: unix::UnixListener,
        AsyncUnixDatagram: unix::UnixDatagram,
    );
    watched(10, || {
        waken::block_on(async {
            let socket = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
            let lent: &UdpSocket = socket.get_ref();
            assert_eq!(lent.local_addr().unwrap(), socket.local_addr().unwrap());
        });
    });
}
