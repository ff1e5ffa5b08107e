//! Sockets.

use super::{on_a_runtime, pattern};
use crate::harness::{TRIES, attempt, attempt_async, done, expect, told};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as std_unix;
use std::rc::Rc;
use std::time::Duration;
use waken::net::{AsyncUdpSocket, AsyncUnixDatagram, AsyncUnixListener, AsyncUnixStream};
use waken::time::{interval, sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, spawn};

const CLIENTS: usize = 3;
const ROUNDS: usize = 3;
const MESSAGE: usize = 3000;

/// An error, and of which call.
type Named<R> = Result<R, (&'static str, io::Error)>;

fn of<R>(api: &'static str, result: io::Result<R>) -> Named<R> {
    result.map_err(|error| (api, error))
}

/// `client(i)` again and again, until what it asked for has come back whole.
async fn served(mut client: impl AsyncFnMut() -> Named<bool>) {
    for _ in 0..TRIES {
        match client().await {
            Ok(true) => return done(),
            Ok(false) => panic!("other bytes have come back"),
            Err((api, error)) => told(api, &error),
        }
    }
}

/// An echo server with several clients, in one process, over the inherent operations.
pub fn tcp() {
    on_a_runtime(async || {
        expect(CLIENTS);
        let listener =
            attempt_async("bind", async || AsyncTcpListener::bind("127.0.0.1:0").await).await;
        let addr = attempt("local_addr", || listener.local_addr());
        let server = spawn(async move {
            let mut tasks = JoinSet::new();
            for i in 0.. {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tasks.spawn(async move {
                        if let Err((api, error)) = tcp_echo(stream, i % 2 == 1).await {
                            told(api, &error);
                        }
                    })),
                    // As the documentation has it: the next accept waits, if that makes sense.
                    Err(error) => told("accept", &error),
                }
            }
        });
        let clients = (0..CLIENTS).map(|i| spawn(served(async move || tcp_client(addr, i).await)));
        for client in Vec::from_iter(clients) {
            client.await.unwrap();
        }
        // Give the last connection the time to end by itself.
        sleep(Duration::from_millis(2)).await;
        server.abort();
        let _aborted = server.await;
    });
}

async fn tcp_echo(stream: AsyncTcpStream, vectored: bool) -> Named<()> {
    let (mut one, mut two) = ([0; 700], [0; 700]);
    loop {
        if vectored {
            let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            let n = of("read", stream.read_vectored(&mut bufs).await)?;
            if n == 0 {
                return Ok(());
            }
            let first = n.min(700);
            let mut bufs = &mut [IoSlice::new(&one[..first]), IoSlice::new(&two[..n - first])][..];
            while bufs.iter().any(|buf| !buf.is_empty()) {
                let n = of("write", stream.write_vectored(bufs).await)?;
                IoSlice::advance_slices(&mut bufs, n);
            }
        } else {
            match of("read", stream.read(&mut one).await)? {
                0 => return Ok(()),
                n => of("write", stream.write_all(&one[..n]).await)?,
            }
        }
    }
}

async fn tcp_client(addr: SocketAddr, i: usize) -> Named<bool> {
    let stream = of("connect", AsyncTcpStream::connect(addr).await)?;
    let mut whole = true;
    for round in 0..ROUNDS {
        let (sent, mut back) = (pattern(i * ROUNDS + round, MESSAGE), vec![0; MESSAGE]);
        of("write", stream.write_all(&sent).await)?;
        of("read", stream.read_exact(&mut back).await)?;
        whole &= sent == back;
    }
    of("shutdown", stream.shutdown(Shutdown::Write))?;
    let rest = of("read", stream.read(&mut [0; 1]).await)?;
    Ok(whole && rest == 0)
}

/// Bytes and clients that come late: whoever is told `EAGAIN` has an edge to wait for.
pub fn late() {
    on_a_runtime(async || {
        expect(2);
        let listener = attempt_async("bind", async || AsyncTcpListener::bind("127.0.0.1:0").await);
        let listener = listener.await;
        let addr = attempt("local_addr", || listener.local_addr());
        let server = spawn(async move {
            let (stream, _) = attempt_async("accept", async || listener.accept().await).await;
            let mut byte = [0; 1];
            attempt_async("read", async || stream.read_exact(&mut byte).await).await;
            attempt_async("write", async || stream.write_all(&byte).await).await;
            done();
        });
        sleep(Duration::from_millis(5)).await;
        let stream = attempt_async("connect", async || AsyncTcpStream::connect(addr).await).await;
        let mut back = [0; 1];
        let client = async {
            attempt_async("read", async || stream.read_exact(&mut back).await).await;
            done();
        };
        let sends = async {
            sleep(Duration::from_millis(5)).await;
            attempt_async("write", async || stream.write_all(b"x").await).await;
        };
        futures_lite::future::zip(client, sends).await;
        server.await.unwrap();
        drop(stream);
    });
}

/// A naive loop accepts while there may be no descriptors for long: it is told now and then, and the others are served.
pub fn exhausted() {
    on_a_runtime(async || {
        expect(1);
        let listener = attempt_async("bind", async || AsyncTcpListener::bind("127.0.0.1:0").await);
        let listener = listener.await;
        let addr = attempt("local_addr", || listener.local_addr());
        let client = attempt_async("connect", async || AsyncTcpStream::connect(addr).await).await;
        let server = spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(stream),
                    Err(error) => told("accept", &error),
                }
            }
        });
        let mut ticks = interval(Duration::from_millis(5));
        for _ in 0..60 {
            ticks.tick().await;
        }
        done();
        server.abort();
        let _aborted = server.await;
        drop(client);
    });
}

/// A `connect` that a signal has interrupted goes on by itself. Here it does not, since it was not made: so it is waited
/// for, and neither is an error told nor is the thread kept busy.
pub fn interrupted() {
    on_a_runtime(async || {
        expect(3);
        let listener = attempt_async("bind", async || AsyncTcpListener::bind("127.0.0.1:0").await);
        let listener = listener.await;
        let addr = attempt("local_addr", || listener.local_addr());
        for _ in 0..3 {
            // Given up three times, then it is as good.
            let mut tries = 0;
            let connect = async || {
                tries += 1;
                match timeout(Duration::from_millis(400), AsyncTcpStream::connect(addr)).await {
                    Err(_) if tries > 3 => Ok(None),
                    Err(elapsed) => Err(elapsed.into()),
                    Ok(connected) => connected.map(Some),
                }
            };
            drop(attempt_async("connect", connect).await);
            done();
        }
    });
}

pub fn udp() {
    on_a_runtime(async || {
        expect(2 * ROUNDS);
        let server = attempt_async("bind", async || AsyncUdpSocket::bind("127.0.0.1:0").await);
        let server = server.await;
        let addr = attempt("local_addr", || server.local_addr());
        let echo = spawn(async move {
            let mut buf = vec![0; 4000];
            loop {
                let received = attempt_async("recv", async || server.recv_from(&mut buf).await);
                let (n, from) = received.await;
                attempt_async("send", async || server.send_to(&buf[..n], from).await).await;
            }
        });
        let client = attempt_async("bind", async || AsyncUdpSocket::bind("127.0.0.1:0").await);
        let client = client.await;
        let mut back = vec![0; 4000];
        for round in 0..ROUNDS {
            let sent = pattern(round, MESSAGE);
            attempt_async("send", async || client.send_to(&sent, addr).await).await;
            let received = attempt_async("recv", async || client.recv_from(&mut back).await).await;
            assert_eq!(received, (MESSAGE, addr));
            assert!(back[..MESSAGE] == sent, "other bytes have come back");
            done();
        }
        attempt_async("connect", async || client.connect(addr).await).await;
        for round in 0..ROUNDS {
            let sent = pattern(round, MESSAGE);
            attempt_async("send", async || client.send(&sent).await).await;
            let n = attempt_async("recv", async || client.recv(&mut back).await).await;
            assert!(back[..n] == sent, "other bytes have come back");
            done();
        }
        echo.abort();
        let _aborted = echo.await;
    });
}

fn name(what: &str) -> std_unix::SocketAddr {
    let name = format!("waken-errnos-{what}-{}", std::process::id());
    std_unix::SocketAddr::from_abstract_name(name).unwrap()
}

/// The same over Unix streams, through the traits of futures-io.
pub fn unix() {
    on_a_runtime(async || {
        expect(CLIENTS + 1);
        let addr = name("unix");
        let listener = attempt("bind", || AsyncUnixListener::bind_addr(&addr));
        let server = spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tasks.spawn(async move {
                        if let Err((api, error)) = echo(stream).await {
                            told(api, &error);
                        }
                    })),
                    Err(error) => told("accept", &error),
                }
            }
        });
        for i in 0..CLIENTS {
            served(async || {
                let stream = of("connect", AsyncUnixStream::connect_addr(&addr).await)?;
                attempt("peer_cred", || stream.peer_cred());
                client(stream, i).await
            })
            .await;
        }
        served(async || {
            let (one, other) = of("pair", AsyncUnixStream::pair())?;
            let task = spawn(echo(other));
            let result = client(one, CLIENTS).await;
            if let Err((api, error)) = task.await.unwrap() {
                told(api, &error);
            }
            result
        })
        .await;
        sleep(Duration::from_millis(2)).await;
        server.abort();
        let _aborted = server.await;
    });
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Named<()> {
    let mut buf = [0; 1000];
    loop {
        match of("read", stream.read(&mut buf).await)? {
            0 => return Ok(()),
            n => of("write", stream.write_all(&buf[..n]).await)?,
        }
    }
}

async fn client(mut stream: impl AsyncRead + AsyncWrite + Unpin, i: usize) -> Named<bool> {
    let mut whole = true;
    for round in 0..ROUNDS {
        let (sent, mut back) = (pattern(i * ROUNDS + round, MESSAGE), vec![0; MESSAGE]);
        of("write", stream.write_all(&sent).await)?;
        of("read", stream.read_exact(&mut back).await)?;
        whole &= sent == back;
    }
    of("close", stream.close().await)?;
    let rest = of("read", stream.read(&mut [0; 1]).await)?;
    Ok(whole && rest == 0)
}

pub fn datagrams() {
    on_a_runtime(async || {
        expect(2 * ROUNDS);
        let (one, other) = attempt("pair", AsyncUnixDatagram::pair);
        let (one, other) = (Rc::new(one), Rc::new(other));
        let mut back = vec![0; 4000];
        for round in 0..ROUNDS {
            let sent = pattern(round, MESSAGE);
            let theirs = one.clone();
            let send = async || theirs.send(&sent).await;
            let send = async {
                sleep(Duration::from_millis(1)).await;
                attempt_async("send", send).await
            };
            let recv = attempt_async("recv", async || other.recv(&mut back).await);
            let (n, _) = futures_lite::future::zip(recv, send).await;
            assert!(back[..n] == sent, "other bytes have come");
            done();
        }
        let addr = name("datagrams");
        let bound = attempt("bind", || AsyncUnixDatagram::bind_addr(&addr));
        for round in 0..ROUNDS {
            let sent = pattern(round, MESSAGE);
            attempt_async("send", async || one.send_to_addr(&sent, &addr).await).await;
            let received = attempt_async("recv", async || bound.recv_from(&mut back).await);
            let (n, _) = received.await;
            assert!(back[..n] == sent, "other bytes have come");
            done();
        }
    });
}
