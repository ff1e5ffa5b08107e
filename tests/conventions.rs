//! What somebody takes for granted who knows std and other runtimes: how things print, what the compiler says of a result that
//! is dropped, and that the names one knows lead to ours.
#[path = "support/sources.rs"]
mod sources;
mod support;

use sources::sources;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use support::watched;
use waken::io::{AsyncFd, Interest};
use waken::net::{
    AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, AsyncUnixDatagram, AsyncUnixListener,
    AsyncUnixStream,
};
use waken::runtime::PanicPolicy;
use waken::time::MissedTickBehavior;

/// Prints one of ours, then takes std's out of it and prints that.
fn prints_as_std<T: Debug, S: Debug>(ours: T, into_std: impl FnOnce(T) -> S) {
    let (line, block) = (format!("{ours:?}"), format!("{ours:#?}"));
    let std = into_std(ours);
    assert_eq!(line, format!("Async{std:?}"));
    assert_eq!(block, format!("Async{std:#?}"));
    assert!(line.contains("fd: "), "{line}");
}

#[test]
fn sockets_print_as_those_of_std_do() {
    watched(10, || {
        let folder = std::env::temp_dir().join(format!("waken-shown-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        waken::block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            prints_as_std(client, AsyncTcpStream::into_std);
            prints_as_std(listener, AsyncTcpListener::into_std);

            let udp = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
            prints_as_std(udp, AsyncUdpSocket::into_std);

            let listener = AsyncUnixListener::bind(folder.join("stream")).unwrap();
            let client = AsyncUnixStream::connect(folder.join("stream")).await.unwrap();
            prints_as_std(client, AsyncUnixStream::into_std);
            prints_as_std(AsyncUnixStream::pair().unwrap().0, AsyncUnixStream::into_std);
            prints_as_std(listener, AsyncUnixListener::into_std);
            let datagram = AsyncUnixDatagram::bind(folder.join("datagram")).unwrap();
            prints_as_std(datagram, AsyncUnixDatagram::into_std);
        });
        fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn the_rest_prints_what_it_is() {
    watched(10, || {
        let runtime = waken::Runtime::new().unwrap();
        let shown = |value: &dyn Debug| format!("{value:?}");
        runtime.block_on(async {
            let task = waken::spawn(std::future::pending::<()>());
            assert_eq!(shown(&task), format!("JoinHandle {{ id: {:?}, .. }}", task.id()));
            assert_eq!(shown(&task.abort_handle()), shown(&task).replace("Join", "Abort"));
            task.abort();
            let error = task.await.unwrap_err();
            assert_eq!(shown(&error), format!("JoinError::Cancelled({:?})", error.id()));

            let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
            let fd = AsyncFd::with_interest(OwnedFd::from(one), Interest::READABLE).unwrap();
            assert_eq!(shown(&fd), format!("AsyncFd {{ fd: {}, .. }}", fd.as_raw_fd()));
        });
        assert!(shown(&runtime).starts_with("Runtime { id: "), "{runtime:?}");
        assert!(shown(&runtime).contains("tasks: 0"), "{runtime:?}");
        let deadline = Instant::now() + Duration::from_secs(5);
        let sleep = waken::time::sleep_until(deadline);
        assert_eq!(shown(&sleep), format!("Sleep {{ deadline: Some({deadline:?}), .. }}"));
        assert_eq!(shown(&MissedTickBehavior::Skip), "Skip");
        assert_eq!(shown(&PanicPolicy::Isolate), "Isolate");
    });
}

/// The name behind `what`, if the line begins with that.
fn name<'a>(line: &'a str, what: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(what)?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The attributes above a line.
fn attributes<'a>(lines: &[&'a str], at: usize) -> Vec<&'a str> {
    let above = lines[..at].iter().rev().copied();
    above.take_while(|line| line.starts_with("#[") || line.starts_with("///")).collect()
}

/// Futures, streams, guards and builders, and what takes a socket out of the runtime. Of a future that a function returns
/// without a name the compiler says so itself.
#[test]
fn what_is_dropped_by_mistake_is_warned_of() {
    // To drop these is to let the task run on.
    const MEANT: [&str; 2] = ["JoinHandle", "RemoteJoinHandle"];
    let sources = sources("runtime");
    let waits = |line: &str| {
        let (before, ours) = line.split_once(" for ")?;
        let is = before.starts_with("impl")
            && ["Future", "Stream"].iter().any(|it| before.ends_with(it));
        if is { name(ours, "").map(str::to_owned) } else { None }
    };
    let waiting: Vec<String> =
        sources.iter().flat_map(|source| source.lines()).filter_map(waits).collect();
    let (mut silent, mut warned) = (Vec::new(), 0);
    for source in &sources {
        let lines = source.lines();
        for (at, line) in lines.iter().enumerate() {
            let of_type = name(line, "pub struct ").filter(|name| {
                let others = ["Builder", "EnterGuard", "Workers"];
                others.contains(name) || waiting.iter().any(|it| it == name)
            });
            let of_function = name(line, "pub fn ")
                .filter(|name| ["into_std", "into_inner", "into_split"].contains(name));
            // The wrappers for hyper give back what they were given, and close nothing.
            let of_function = of_function.filter(|_| source.name() != "runtime/hyper.rs");
            let Some(name) = of_type.or(of_function).filter(|name| !MEANT.contains(name)) else {
                continue;
            };
            warned += 1;
            if !attributes(&lines, at).iter().any(|it| it.starts_with("#[must_use")) {
                silent.push(format!("{}: {name}", source.name()));
            }
        }
    }
    assert!(silent.is_empty(), "not `must_use`:\n{}", silent.join("\n"));
    assert!(warned >= 20, "{warned} types and functions");
}

/// What rustdoc's search finds for who knows tokio, smol, std or C.
#[test]
fn the_names_one_knows_lead_to_ours() {
    const KNOWN: &[(&str, &str)] = &[
        ("TcpListener", "AsyncTcpListener"),
        ("TcpStream", "AsyncTcpStream"),
        ("UdpSocket", "AsyncUdpSocket"),
        ("UnixDatagram", "AsyncUnixDatagram"),
        ("UnixListener", "AsyncUnixListener"),
        ("UnixStream", "AsyncUnixStream"),
        ("Async", "AsyncFd"),
        ("PollEvented", "AsyncFd"),
        ("LocalSet", "Runtime"),
        ("LocalExecutor", "Runtime"),
        ("epoll_wait", "turn"),
        ("Handle", "Remote"),
        ("Task", "JoinHandle"),
        ("TaskTracker", "JoinSet"),
        ("cancel", "abort"),
        ("Timer", "sleep"),
        ("Command", "wait"),
        ("new_multi_thread", "Workers"),
        ("spawn_local", "spawn"),
        ("spawn_blocking", "blocking"),
        ("select", "coming_from"),
        ("mpsc", "coming_from"),
        ("accept4", "accept"),
        ("SO_REUSEPORT", "set_reuseport"),
        ("TCP_NODELAY", "set_nodelay"),
    ];
    let mut leads: BTreeMap<(String, String), usize> = BTreeMap::new();
    for source in sources("runtime") {
        // Private, and documented for who reads the source.
        if source.name().starts_with("runtime/sys") {
            continue;
        }
        let lines = source.lines();
        for (at, line) in lines.iter().enumerate() {
            let kinds = ["pub fn ", "pub async fn ", "pub struct ", "pub enum ", "pub mod "];
            let Some(ours) = kinds.iter().find_map(|kind| name(line, kind)) else { continue };
            for attribute in attributes(&lines, at) {
                if let Some(known) = attribute.strip_prefix("#[doc(alias = \"") {
                    let known = known.split('"').next().unwrap().to_owned();
                    *leads.entry((known, ours.to_owned())).or_default() += 1;
                }
            }
        }
    }
    for (known, ours) in KNOWN {
        let lead = (known.to_string(), ours.to_string());
        assert!(leads.contains_key(&lead), "`{known}` does not lead to `{ours}`");
    }
    assert!(leads.len() > 50, "{} names", leads.len());
}
