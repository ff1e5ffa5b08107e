//! How two ends may talk: each of them an echo, with everything that a stream can be asked to do. All bytes are compared.

use crate::chance::Chance;
use futures_lite::future::{poll_fn, zip};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use hyper::rt::{Read, ReadBuf, Write};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use waken::hyper::HyperIo;
use waken::io::{AsyncFd, Interest};
use waken::net::{AsyncUdpSocket, AsyncUnixListener, AsyncUnixStream};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, spawn};

type Talk = fn(usize, Chance) -> Pin<Box<dyn Future<Output = ()>>>;

pub const ALL: &[(&str, Talk)] = &[
    ("tcp", |bytes, chance| Box::pin(tcp(bytes, chance))),
    ("halves", |bytes, chance| Box::pin(halves(bytes, chance))),
    ("vectored", |bytes, chance| Box::pin(vectored(bytes, chance))),
    ("impatient", |bytes, chance| Box::pin(impatient(bytes, chance))),
    ("ready", |bytes, chance| Box::pin(ready(bytes, chance))),
    ("hyper", |bytes, chance| Box::pin(hyper(bytes, chance))),
    ("unix", |bytes, chance| Box::pin(unix(bytes, chance))),
    ("pipe", |bytes, chance| Box::pin(pipe(bytes, chance))),
    ("udp", |bytes, chance| Box::pin(udp(bytes, chance))),
    ("churn", |bytes, chance| Box::pin(churn(bytes, chance))),
];

static OPERATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// One call of the API has come to its end.
fn operation() {
    OPERATIONS.fetch_add(1, Relaxed);
}

pub fn operations() -> usize {
    OPERATIONS.load(Relaxed)
}

/// How many have come back.
pub fn bytes() -> usize {
    BYTES.load(Relaxed)
}

/// The bytes that are sent, one after the other: no two places in 64 KiB look alike.
#[derive(Clone)]
struct Text(u64);

impl Text {
    fn new(chance: &mut Chance) -> Text {
        Text(chance.below(u64::MAX))
    }

    fn next(&mut self) -> u8 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn fill(&mut self, buf: &mut [u8]) {
        buf.fill_with(|| self.next());
    }

    #[track_caller]
    fn check(&mut self, buf: &[u8]) {
        let whole = buf.iter().all(|byte| *byte == self.next());
        assert!(whole, "other bytes have come back, after {}", bytes());
        BYTES.fetch_add(buf.len(), Relaxed);
    }
}

/// Sends so many bytes of `text`, a buffer at a time.
async fn send_all(
    mut left: usize,
    mut text: Text,
    buf: &mut [u8],
    mut send: impl AsyncFnMut(&[u8]),
) {
    while left > 0 {
        let part = buf.len().min(left);
        text.fill(&mut buf[..part]);
        send(&buf[..part]).await;
        left -= part;
    }
}

/// Takes so many bytes of `text`, however many come at a time, and then the end.
async fn receive_all(
    mut left: usize,
    mut text: Text,
    back: &mut [u8],
    mut receive: impl AsyncFnMut(&mut [u8]) -> usize,
) {
    while left > 0 {
        let n = receive(back).await;
        assert_ne!(n, 0, "the end came too early");
        assert!(n <= left, "more has come back than was sent");
        text.check(&back[..n]);
        left -= n;
    }
    assert_eq!(receive(back).await, 0, "more has come back than was sent");
}

fn buffer(chance: &mut Chance) -> Vec<u8> {
    vec![0; 4096 << chance.below(4)]
}

async fn tcp_pair() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (ours, theirs) = zip(AsyncTcpStream::connect(addr), listener.accept()).await;
    operation();
    operation();
    (at_once(ours.unwrap()), at_once(theirs.unwrap().0))
}

/// What is cut into pieces would wait for the acknowledgement of each (Nagle).
fn at_once(stream: AsyncTcpStream) -> AsyncTcpStream {
    stream.set_nodelay(true).unwrap();
    stream
}

async fn echo(stream: AsyncTcpStream, mut buf: Vec<u8>) {
    loop {
        let n = stream.read(&mut buf).await.unwrap();
        operation();
        if n == 0 {
            return stream.shutdown(Shutdown::Write).unwrap();
        }
        stream.write_all(&buf[..n]).await.unwrap();
        operation();
    }
}

/// The inherent operations, by two futures of one task.
async fn tcp(bytes: usize, mut chance: Chance) {
    let (ours, theirs) = tcp_pair().await;
    let server = spawn(echo(theirs, buffer(&mut chance)));
    let text = Text::new(&mut chance);
    let (mut buf, mut back) = (buffer(&mut chance), buffer(&mut chance));
    let sends = async {
        send_all(bytes, text.clone(), &mut buf, async |part| {
            ours.write_all(part).await.unwrap();
            operation();
        })
        .await;
        ours.shutdown(Shutdown::Write).unwrap();
    };
    let mut left = bytes;
    let receives = receive_all(bytes, text.clone(), &mut back, async |back| {
        // Both ways to read.
        let n = match chance.below(2) {
            1 if left > 0 => {
                let n = left.min(1 + chance.below(100) as usize);
                ours.read_exact(&mut back[..n]).await.map(|()| n)
            }
            _ => ours.read(back).await,
        };
        operation();
        let n = n.unwrap();
        left = left.saturating_sub(n);
        n
    });
    zip(sends, receives).await;
    server.await.unwrap();
}

/// The two halves in two tasks, through the traits of futures-io.
async fn halves(bytes: usize, mut chance: Chance) {
    let (ours, theirs) = tcp_pair().await;
    let server = spawn(echo(theirs, buffer(&mut chance)));
    let text = Text::new(&mut chance);
    let (mut reads, mut writes) = ours.into_split();
    let (copy, mut buf, mut back) = (text.clone(), buffer(&mut chance), buffer(&mut chance));
    let sender = spawn(async move {
        send_all(bytes, copy, &mut buf, async |part| {
            writes.write_all(part).await.unwrap();
            operation();
        })
        .await;
        writes.close().await.unwrap();
    });
    receive_all(bytes, text, &mut back, async |back| {
        let n = reads.read(back).await.unwrap();
        operation();
        n
    })
    .await;
    sender.await.unwrap();
    server.await.unwrap();
}

/// Several buffers a call, on both sides.
async fn vectored(bytes: usize, mut chance: Chance) {
    let (ours, theirs) = tcp_pair().await;
    let mut parts = [(); 3].map(|()| vec![0; 1 + chance.below(8000) as usize]);
    let server = spawn(async move {
        loop {
            let lengths = [parts[0].len(), parts[1].len()];
            let mut bufs: Vec<_> = parts.iter_mut().map(|it| IoSliceMut::new(it)).collect();
            let n = theirs.read_vectored(&mut bufs).await.unwrap();
            operation();
            if n == 0 {
                return theirs.shutdown(Shutdown::Write).unwrap();
            }
            let (one, two) = (n.min(lengths[0]), n.saturating_sub(lengths[0]).min(lengths[1]));
            let filled = [&parts[0][..one], &parts[1][..two], &parts[2][..n - one - two]];
            write_all_vectored(&theirs, &mut filled.map(IoSlice::new)).await;
        }
    });
    let text = Text::new(&mut chance);
    let (mut buf, mut back) = (buffer(&mut chance), buffer(&mut chance));
    let sends = async {
        send_all(bytes, text.clone(), &mut buf, async |part| {
            let (one, two) = part.split_at(part.len() / 3);
            write_all_vectored(&ours, &mut [one, &[], two].map(IoSlice::new)).await;
        })
        .await;
        ours.shutdown(Shutdown::Write).unwrap();
    };
    let receives = receive_all(bytes, text.clone(), &mut back, async |back| {
        let n = ours.read(back).await.unwrap();
        operation();
        n
    });
    zip(sends, receives).await;
    server.await.unwrap();
}

async fn write_all_vectored(stream: &AsyncTcpStream, mut bufs: &mut [IoSlice<'_>]) {
    while bufs.iter().any(|buf| !buf.is_empty()) {
        let n = stream.write_vectored(bufs).await.unwrap();
        operation();
        IoSlice::advance_slices(&mut bufs, n);
    }
}

/// Reads that are given up again and again, after no time at all or a little, and writes likewise.
async fn impatient(bytes: usize, mut chance: Chance) {
    let (ours, theirs) = tcp_pair().await;
    let server = spawn(echo(theirs, buffer(&mut chance)));
    let text = Text::new(&mut chance);
    let (mut buf, mut back) = (buffer(&mut chance), buffer(&mut chance));
    let mut chances = chance.fork();
    let patience = |chance: &mut Chance| Duration::from_micros(chance.below(3) * 100);
    let sends = async {
        send_all(bytes, text.clone(), &mut buf, async |mut rest| {
            while !rest.is_empty() {
                operation();
                if let Ok(written) = timeout(patience(&mut chances), ours.write(rest)).await {
                    rest = &rest[written.unwrap()..];
                }
            }
        })
        .await;
        ours.shutdown(Shutdown::Write).unwrap();
    };
    let receives = receive_all(bytes, text.clone(), &mut back, async |back| {
        loop {
            operation();
            if let Ok(read) = timeout(patience(&mut chance), ours.read(back)).await {
                return read.unwrap();
            }
        }
    });
    zip(sends, receives).await;
    server.await.unwrap();
}

/// Waits for readiness and then tries; looks before it takes; brings calls of its own.
async fn ready(bytes: usize, mut chance: Chance) {
    let (ours, theirs) = tcp_pair().await;
    let server = spawn(echo(theirs, buffer(&mut chance)));
    let text = Text::new(&mut chance);
    let (mut buf, mut back) = (buffer(&mut chance), buffer(&mut chance));
    let sends = async {
        send_all(bytes, text.clone(), &mut buf, async |mut rest| {
            while !rest.is_empty() {
                operation();
                ours.writable().await.unwrap();
                match ours.try_write(rest) {
                    Ok(n) => rest = &rest[n..],
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        })
        .await;
        ours.shutdown(Shutdown::Write).unwrap();
    };
    let receives = receive_all(bytes, text.clone(), &mut back, async |back| {
        loop {
            operation();
            let read = match chance.below(3) {
                0 => {
                    ours.readable().await.unwrap();
                    ours.try_read(back)
                }
                1 => {
                    let n = ours.peek(back).await.unwrap();
                    ours.read_exact(&mut back[..n]).await.map(|()| n)
                }
                _ => {
                    let read =
                        |mut socket: &std::net::TcpStream| std::io::Read::read(&mut socket, back);
                    ours.async_io(Interest::READABLE, read).await
                }
            };
            match read {
                Ok(n) => return n,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    });
    zip(sends, receives).await;
    server.await.unwrap();
}

/// Through the traits of hyper, with buffers as it has them: not zeroed, and partly filled already. One end is a stream as it is,
/// and the other one wrapped twice, by way of futures-io.
async fn hyper(bytes: usize, mut chance: Chance) {
    let (mut ours, theirs) = tcp_pair().await;
    let mut theirs = HyperIo::new(theirs);
    let (mut room, mut chances) = (vec![MaybeUninit::uninit(); 4096], chance.fork());
    let server = spawn(async move {
        loop {
            let part = 1 + chances.below(4095) as usize;
            let got = fill(&mut theirs, ReadBuf::uninit(&mut room[..part])).await;
            if got.is_empty() {
                return poll_fn(|cx| Pin::new(&mut theirs).poll_shutdown(cx)).await.unwrap();
            }
            put_all(&mut theirs, &[&got]).await;
        }
    });
    let mut text = Text::new(&mut chance);
    let (mut copy, mut buf) = (text.clone(), buffer(&mut chance));
    let mut room = vec![MaybeUninit::uninit(); 1 << 14];
    let (mut left, mut came) = (bytes, 0);
    let mut is_shut = false;
    loop {
        // No more than fits between the two, since the one task does both.
        if left > 0 {
            let part = left.min(1 + chance.below(buf.len() as u64 - 1) as usize);
            copy.fill(&mut buf[..part]);
            let (one, two) = buf[..part].split_at(part / 3);
            put_all(&mut ours, &[one, &[], two]).await;
            left -= part;
        } else if !is_shut {
            poll_fn(|cx| Pin::new(&mut ours).poll_shutdown(cx)).await.unwrap();
            is_shut = true;
        }
        loop {
            let part = 1 + chance.below(room.len() as u64 - 1) as usize;
            let mut partly = ReadBuf::uninit(&mut room[..part]);
            let before = vec![b'#'; chance.below(4).min(part as u64 - 1) as usize];
            partly.unfilled().put_slice(&before);
            let got = fill(&mut ours, partly).await;
            assert!(got.starts_with(&before), "what was there before is not any more");
            let got = &got[before.len()..];
            text.check(got);
            came += got.len();
            if got.is_empty() || !is_shut && came + left == bytes {
                break;
            }
        }
        if is_shut {
            break;
        }
    }
    assert_eq!(came, bytes, "the end came too early");
    server.await.unwrap();
}

/// One read, and all that is in the buffer then.
async fn fill(stream: &mut (impl Read + Unpin), mut buf: ReadBuf<'_>) -> Vec<u8> {
    let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buf.unfilled())).await;
    operation();
    read.unwrap();
    buf.filled().to_vec()
}

async fn put_all(stream: &mut (impl Write + Unpin), slices: &[&[u8]]) {
    let mut owned: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut bufs = &mut owned[..];
    while bufs.iter().any(|buf| !buf.is_empty()) {
        let mut stream = Pin::new(&mut *stream);
        let n = match stream.is_write_vectored() {
            true => poll_fn(|cx| stream.as_mut().poll_write_vectored(cx, bufs)).await,
            false => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).expect("seen just now");
                poll_fn(|cx| stream.as_mut().poll_write(cx, first)).await
            }
        };
        operation();
        IoSlice::advance_slices(&mut bufs, n.unwrap());
    }
    poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await.unwrap();
}

/// Unix streams, where a short read proves nothing.
async fn unix(bytes: usize, mut chance: Chance) {
    let name = format!("waken-chaos-{}-{}", std::process::id(), chance.below(u64::MAX));
    let name = SocketAddr::from_abstract_name(name).unwrap();
    let listener = AsyncUnixListener::bind_addr(&name).unwrap();
    let (ours, theirs) = zip(AsyncUnixStream::connect_addr(&name), listener.accept()).await;
    let (ours, mut theirs) = (ours.unwrap(), theirs.unwrap().0);
    let mut buf = buffer(&mut chance);
    let server = spawn(async move {
        loop {
            let n = AsyncReadExt::read(&mut theirs, &mut buf).await.unwrap();
            operation();
            if n == 0 {
                return theirs.close().await.unwrap();
            }
            AsyncWriteExt::write_all(&mut theirs, &buf[..n]).await.unwrap();
            operation();
        }
    });
    let text = Text::new(&mut chance);
    let (mut buf, mut back) = (buffer(&mut chance), buffer(&mut chance));
    let sends = async {
        send_all(bytes, text.clone(), &mut buf, async |part| {
            ours.write_all(part).await.unwrap();
            operation();
        })
        .await;
        ours.shutdown(Shutdown::Write).unwrap();
    };
    let receives = receive_all(bytes, text.clone(), &mut back, async |back| {
        let n = ours.read(back).await.unwrap();
        operation();
        n
    });
    zip(sends, receives).await;
    server.await.unwrap();
}

/// A pipe, through `AsyncFd`: one way only.
async fn pipe(bytes: usize, mut chance: Chance) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut reader = AsyncFd::with_interest(reader, Interest::READABLE).unwrap();
    let mut writer = AsyncFd::new(writer).unwrap();
    let text = Text::new(&mut chance);
    let (copy, mut buf, mut back) = (text.clone(), buffer(&mut chance), buffer(&mut chance));
    let sender = spawn(async move {
        send_all(bytes, copy, &mut buf, async |part| {
            writer.write_all(part).await.unwrap();
            operation();
        })
        .await;
    });
    receive_all(bytes, text, &mut back, async |back| {
        let n = reader.read(back).await.unwrap();
        operation();
        n
    })
    .await;
    sender.await.unwrap();
}

/// Messages: none is lost on the loopback while there is room, so one is on the way at a time.
async fn udp(bytes: usize, mut chance: Chance) {
    let server = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let echo = spawn(async move {
        let mut buf = vec![0; 4096];
        loop {
            let (n, from) = server.recv_from(&mut buf).await.unwrap();
            operation();
            server.send_to(&buf[..n], from).await.unwrap();
            operation();
        }
    });
    let client = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(addr).await.unwrap();
    let mut text = Text::new(&mut chance);
    let (mut copy, mut buf, mut back) = (text.clone(), vec![0; 4096], vec![0; 4096]);
    let mut left = bytes.min(200_000);
    while left > 0 {
        let part = left.min(1 + chance.below(1000) as usize);
        copy.fill(&mut buf[..part]);
        assert_eq!(client.send(&buf[..part]).await.unwrap(), part);
        operation();
        let n = client.recv(&mut back).await.unwrap();
        operation();
        assert_eq!(n, part);
        text.check(&back[..n]);
        left -= n;
    }
    echo.abort();
    let _aborted = echo.await;
}

/// Short connections, so that descriptor numbers are used again and again; some are given up in the middle.
async fn churn(bytes: usize, mut chance: Chance) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = spawn(async move {
        loop {
            let stream = at_once(listener.accept().await.unwrap().0);
            operation();
            drop(spawn(async move {
                let mut buf = [0; 512];
                // A client that has given up is no error.
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    operation();
                    if stream.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            }));
        }
    });
    let mut left = bytes.min(60_000);
    while left > 0 {
        let part = left.min(1 + chance.below(400) as usize);
        let mut text = Text::new(&mut chance);
        let (mut sent, mut back) = (vec![0; part], vec![0; part]);
        text.clone().fill(&mut sent);
        let stream = at_once(AsyncTcpStream::connect(addr).await.unwrap());
        operation();
        let talk = async {
            stream.write_all(&sent).await.unwrap();
            operation();
            stream.read_exact(&mut back).await.unwrap();
        };
        if chance.below(4) == 0 {
            if timeout(Duration::from_micros(chance.below(200)), talk).await.is_err() {
                left -= part.min(left);
                continue;
            }
        } else {
            talk.await;
        }
        operation();
        text.check(&back);
        left -= part;
    }
    // Those that are left see their end.
    sleep(Duration::from_millis(1)).await;
    server.abort();
    let _aborted = server.await;
}
