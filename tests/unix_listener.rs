//! Unix sockets find each other, by every kind of address, and wait where there is no room yet.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::StreamExt;
use kernel::{Folder, connect_from, set_backlog};
use peer::{limit_descriptors, millis, run};
use std::cell::Cell;
use std::fs::{self, File};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::{cpu, fds, wait_of, watched};
use waken::net::{AsyncUnixListener, AsyncUnixStream};
use waken::runtime::metrics;
use waken::task::WaitOn;
use waken::time::{sleep, timeout};
use waken::{JoinSet, Runtime, spawn};

/// An abstract name that is nobody else's.
fn name(of: &str) -> SocketAddr {
    let name = format!("waken-{}-{of}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

/// A client, and its connection at the listener.
async fn connected(listener: &AsyncUnixListener, to: &SocketAddr) -> [AsyncUnixStream; 2] {
    let client = AsyncUnixStream::connect_addr(to).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert!(peer.is_unnamed());
    [client, server]
}

async fn talk([client, server]: &[AsyncUnixStream; 2]) {
    client.write_all(b"hello").await.unwrap();
    let mut buf = [0; 5];
    timeout(millis(2000), server.read_exact(&mut buf)).await.expect("stalls").unwrap();
    assert_eq!(&buf, b"hello");
}

// ---- addresses --------------------------------------------------------------------------------

#[test]
fn a_path_is_found_and_stays_when_its_listener_has_gone() {
    run(async {
        let folder = Folder::new();
        let path = folder.join("socket");
        let listener = AsyncUnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        let client = AsyncUnixStream::connect(&path).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
        assert_eq!(server.local_addr().unwrap().as_pathname(), Some(&*path));
        assert!(client.local_addr().unwrap().is_unnamed());
        talk(&[client, server]).await;
        assert_eq!(AsyncUnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        assert!(path.exists());
        assert_eq!(AsyncUnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        AsyncUnixListener::bind(&path).unwrap();
    });
}

#[test]
fn where_nobody_listens_is_an_error() {
    // What is closed here is open for a moment in a process that another test starts.
    watched(10, || {
        waken::block_on(async {
            let folder = Folder::new();
            let missing = AsyncUnixStream::connect(folder.join("missing")).await.unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            let path = folder.join("closed");
            drop(UnixListener::bind(&path).unwrap());
            let closed = AsyncUnixStream::connect(&path).await.unwrap_err();
            assert_eq!(closed.kind(), ErrorKind::ConnectionRefused);
            let nobody = AsyncUnixStream::connect_addr(&name("nobody")).await.unwrap_err();
            assert_eq!(nobody.kind(), ErrorKind::ConnectionRefused);
            File::create(folder.join("file")).unwrap();
            assert!(AsyncUnixStream::connect(folder.join("file")).await.is_err());
            // An address without a name, and a socket of another kind.
            let unnamed = UnixStream::pair().unwrap().0.local_addr().unwrap();
            let error = AsyncUnixStream::connect_addr(&unnamed).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(AsyncUnixStream::connect("").await.is_err());
            let _datagram =
                std::os::unix::net::UnixDatagram::bind(folder.join("datagram")).unwrap();
            assert!(AsyncUnixStream::connect(folder.join("datagram")).await.is_err());
            assert_eq!(metrics().sources_alive, 0);
        });
    });
}

/// L05: `struct sockaddr_un` has room for 107 bytes and a zero.
#[test]
fn a_path_has_107_bytes_and_no_zero() {
    run(async {
        let folder = Folder::new();
        let room = 107 - folder.path().as_os_str().len() - 1;
        let path = folder.join(&"p".repeat(room));
        assert_eq!(path.as_os_str().len(), 107);
        let listener = AsyncUnixListener::bind(&path).unwrap();
        let client = AsyncUnixStream::connect(&path).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
        talk(&[client, server]).await;
        for refused in [folder.join(&"p".repeat(room + 1)), folder.join("a\0b")] {
            let error = AsyncUnixListener::bind(&refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let error = AsyncUnixStream::connect(&refused).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

/// L05.
#[test]
fn abstract_names_may_have_every_byte() {
    run(async {
        let id = std::process::id().to_ne_bytes();
        let odd = [&id[..], b"\0zeros\0\0 and \xff\xfe\n"].concat();
        let longest = [&id[..], &[b'l'; 103]].concat();
        // Bytes behind a name would be part of it: one that begins like another is another.
        for bytes in [&odd[..], &odd[..odd.len() - 1], &longest, &longest[..106]] {
            let name = SocketAddr::from_abstract_name(bytes).unwrap();
            let error = AsyncUnixStream::connect_addr(&name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let listener = AsyncUnixListener::bind_addr(&name).unwrap();
            assert_eq!(listener.local_addr().unwrap().as_abstract_name(), Some(bytes));
            let both = connected(&listener, &name).await;
            assert_eq!(both[0].peer_addr().unwrap().as_abstract_name(), Some(bytes));
            talk(&both).await;
            assert!(AsyncUnixStream::connect(Path::new("waken-no-path")).await.is_err());
        }
    });
}

#[test]
fn whose_process_it_is_can_be_asked() {
    run(async {
        let to = name("cred");
        let listener = AsyncUnixListener::bind_addr(&to).unwrap();
        let me = fs::metadata("/proc/self").unwrap();
        use std::os::unix::fs::MetadataExt;
        for stream in connected(&listener, &to).await {
            let cred = stream.peer_cred().unwrap();
            assert_eq!(cred.pid, std::process::id() as i32);
            assert_eq!((cred.uid, cred.gid), (me.uid(), me.gid()));
        }
    });
}

// ---- a listener without room ------------------------------------------------------------------

/// A listener that is full: so many are connected, and nobody has accepted them.
fn full(to: &SocketAddr) -> (UnixListener, Vec<UnixStream>) {
    let listener = UnixListener::bind_addr(to).unwrap();
    set_backlog(&listener, 1);
    let clients = (0..2).map(|_| UnixStream::connect_addr(to).unwrap()).collect();
    (listener, clients)
}

/// K02, K03, k11: it neither succeeds nor fails nor spins, and goes on when there is room.
#[test]
fn connecting_waits_while_the_listener_is_full() {
    run(async {
        let to = name("full");
        let (listener, _clients) = full(&to);
        let mut waiting = JoinSet::new();
        for n in 0..8u8 {
            let to = to.clone();
            waiting.spawn(async move {
                let stream = AsyncUnixStream::connect_addr(&to).await?;
                stream.write_all(&[n]).await?;
                io::Result::Ok(stream)
            });
        }
        let (before, polls) = (cpu(), metrics().polls);
        sleep(millis(400)).await;
        assert!(waiting.try_join_next().is_none());
        // At 0, 1, 3, 7, 15, 31, 63, 127, 227, 327 ms: each a poll or two.
        let polls = metrics().polls - polls;
        assert!(polls <= 8 * 24, "{polls} polls");
        assert!(cpu() - before < millis(100), "{:?}", cpu() - before);
        let accepting = AsyncUnixListener::try_from(listener).unwrap();
        let mut seen = Vec::new();
        for n in 0..10 {
            let accepted = timeout(millis(2000), accepting.accept()).await;
            let (stream, _) = accepted.expect("stalls").unwrap();
            if n >= 2 {
                let mut buf = [0];
                stream.read_exact(&mut buf).await.unwrap();
                seen.push(buf[0]);
            }
        }
        while let Some(connected) = waiting.join_next().await {
            connected.unwrap().unwrap();
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

/// Its listener may go while it waits.
#[test]
fn a_connection_that_waits_is_refused_when_the_listener_goes() {
    run(async {
        let to = name("goes");
        let (listener, _clients) = full(&to);
        let waiting = spawn(async move { AsyncUnixStream::connect_addr(&to).await });
        sleep(millis(10)).await;
        drop(listener);
        let refused = timeout(millis(2000), waiting).await.expect("stalls").unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_wait_for_room_is_a_timer_at_its_line() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let to = name("line");
            let (_listener, _clients) = full(&to);
            let connected = line!() + 1;
            let waiting = spawn(async move { AsyncUnixStream::connect_addr(&to).await });
            sleep(millis(20)).await;
            let (on, at) = wait_of(waiting.id()).await;
            assert!(matches!(on, WaitOn::Until(_)), "{on:?}");
            assert_eq!((at.file(), at.line()), (file!(), connected));
        });
    });
}

/// K05, N05.
#[test]
fn connections_that_are_given_up_leave_nothing() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let to = name("given up");
        let (_listener, _clients) = full(&to);
        let before = fds();
        runtime.block_on(async {
            for n in 0..200 {
                let given_up = timeout(millis(n % 3), AsyncUnixStream::connect_addr(&to)).await;
                assert!(given_up.is_err());
            }
            let tasks: Vec<_> =
                (0..100).map(|_| spawn(AsyncUnixStream::connect_addr(&to))).collect();
            sleep(millis(5)).await;
            assert!(fds().len() >= before.len() + 100);
            tasks.iter().for_each(|task| task.abort());
            sleep(millis(5)).await;
            // One may fail, and leave as little.
            AsyncUnixStream::connect_addr(&name("nobody")).await.unwrap_err();
        });
        let metrics = runtime.metrics();
        assert_eq!((metrics.sources_alive, metrics.timers_alive, fds()), (0, 0, before));
    });
}

// ---- accepting --------------------------------------------------------------------------------

#[test]
fn those_who_came_before_the_first_accept_are_accepted_in_order() {
    run(async {
        let to = name("queue");
        let listener = UnixListener::bind_addr(&to).unwrap();
        assert!(
            AsyncUnixListener::try_from(UnixListener::bind_addr(&name("other")).unwrap())
                .unwrap()
                .try_accept()
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        );
        let clients: Vec<_> = (0..30u8)
            .map(|n| {
                let mut client = UnixStream::connect_addr(&to).unwrap();
                client.write_all(&[n]).unwrap();
                client
            })
            .collect();
        // A blocking listener: F12.
        let listener = AsyncUnixListener::try_from(listener).unwrap();
        let mut incoming = listener.incoming();
        for n in 0..30 {
            let stream = match n % 4 {
                0 => listener.accept().await.unwrap().0,
                1 => incoming.next().await.unwrap().unwrap(),
                2 => poll_fn(|cx| listener.poll_accept(cx)).await.unwrap().0,
                _ => listener.try_accept().unwrap().0,
            };
            let mut buf = [0];
            stream.read_exact(&mut buf).await.unwrap();
            assert_eq!(buf[0], n);
        }
        assert!(timeout(millis(5), listener.accept()).await.is_err());
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop((incoming, clients));
        // Out of the runtime it still listens.
        let plain = listener.into_std();
        let _client = UnixStream::connect_addr(&to).unwrap();
        plain.accept().unwrap();
    });
}

#[test]
fn a_client_has_a_name_if_it_took_one() {
    run(async {
        let folder = Folder::new();
        let (from, to) = (folder.join("client"), folder.join("listener"));
        let listener = AsyncUnixListener::bind(&to).unwrap();
        let _client = connect_from(&from, &to);
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.as_pathname(), Some(&*from));
        assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*from));
    });
}

/// L01, L02, k15: the error comes now and then, and who has waited is served.
#[test]
fn a_loop_around_accept_out_of_descriptors_neither_spins_nor_stalls() {
    watched(10, || {
        waken::block_on(async {
            let to = name("exhausted");
            let listener = AsyncUnixListener::bind_addr(&to).unwrap();
            let _clients: Vec<_> = (0..8).map(|_| UnixStream::connect_addr(&to).unwrap()).collect();
            limit_descriptors(40);
            let mut files = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                files.push(file);
            }
            let (errors, accepted) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (failed, done) = (errors.clone(), accepted.clone());
            drop(spawn(async move {
                let mut streams = Vec::new();
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            streams.push(stream);
                            done.set(done.get() + 1);
                        }
                        Err(error) => {
                            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                            failed.set(failed.get() + 1);
                        }
                    }
                }
            }));
            let (start, used) = (Instant::now(), cpu());
            sleep(millis(500)).await;
            let cpu = cpu() - used;
            assert!(cpu < millis(100), "{cpu:?} of CPU in {:?}", start.elapsed());
            // At 0, 10, 30, 70, 150 and 310 ms.
            assert!((3..=7).contains(&errors.get()), "{} errors", errors.get());
            assert_eq!(accepted.get(), 0);
            // Nor can one connect.
            let error = AsyncUnixStream::connect_addr(&to).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            drop(files);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(accepted.get(), 8);
        });
    });
}

#[test]
fn outside_of_a_runtime_nothing_is_bound_or_connected() {
    watched(10, || {
        let to = name("outside");
        let plain = UnixListener::bind_addr(&to).unwrap();
        let before = fds();
        for result in [
            futures_lite::future::block_on(AsyncUnixStream::connect_addr(&to)).map(drop),
            AsyncUnixStream::pair().map(drop),
            AsyncUnixListener::bind_addr(&name("outside, too")).map(drop),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("block_on"), "{error}");
        }
        plain.set_nonblocking(true).unwrap();
        assert_eq!(plain.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(fds(), before);
    });
}
