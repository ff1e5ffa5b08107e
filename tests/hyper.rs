//! Under hyper: our streams, timers and tasks do what its traits ask, and nobody else's mistake reaches memory. Whole servers
//! are tried in `interop/`.
#![cfg(feature = "hyper")]
mod support;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use hyper::rt::{Executor, Read, ReadBuf, ReadBufCursor, Sleep, Timer, Write};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use support::{guard, watched};
use waken::hyper::{FuturesIo, HyperExecutor, HyperIo, HyperTimer};
use waken::net::AsyncUnixStream;
use waken::task::yield_now;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on};

async fn tcp_pair() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// What one read of hyper's gives, with room for `room` bytes that were never written.
async fn read(stream: &mut (impl Read + Unpin), room: usize) -> io::Result<Vec<u8>> {
    let mut uninit = vec![MaybeUninit::uninit(); room];
    let mut buf = ReadBuf::uninit(&mut uninit);
    poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buf.unfilled())).await?;
    Ok(buf.filled().to_vec())
}

/// S14: what hyper sees of its buffer is what the kernel has written, however much room there is.
#[test]
fn a_read_fills_what_it_says_and_nothing_else() {
    watched(10, || {
        block_on(async {
            let (mut client, mut server) = tcp_pair().await;
            client.write_all(b"hello").await.unwrap();
            assert_eq!(read(&mut server, 3).await.unwrap(), b"hel");
            assert_eq!(read(&mut server, 0).await.unwrap(), b"");
            assert_eq!(read(&mut server, 4096).await.unwrap(), b"lo");
            let later = waken::spawn(async move {
                yield_now().await;
                client.write_all(b"later").await.unwrap();
                poll_fn(|cx| Write::poll_shutdown(Pin::new(&mut client), cx)).await.unwrap();
                poll_fn(|cx| Write::poll_shutdown(Pin::new(&mut client), cx)).await.unwrap();
                client
            });
            // These wait, and are woken.
            assert_eq!(read(&mut server, 4096).await.unwrap(), b"later");
            assert_eq!(read(&mut server, 4096).await.unwrap(), b"");
            later.await.unwrap();
        });
    });
}

/// E01, E04: the short read that saves a call saves it on TCP only, and not when something is behind the bytes.
#[test]
fn a_short_read_of_hypers_is_the_end_of_readiness_on_tcp_alone() {
    watched(10, || {
        block_on(async {
            let (client, mut server) = tcp_pair().await;
            client.write_all(b"abc").await.unwrap();
            server.readable().await.unwrap();
            yield_now().await;
            assert_eq!(read(&mut server, 16).await.unwrap(), b"abc");
            let mut cx = Context::from_waker(Waker::noop());
            assert!(pin(server.readable()).as_mut().poll(&mut cx).is_pending());

            let (client, mut server) = AsyncUnixStream::pair().unwrap();
            client.write_all(b"abc").await.unwrap();
            assert_eq!(read(&mut server, 16).await.unwrap(), b"abc");
            assert!(pin(server.readable()).as_mut().poll(&mut cx).is_ready());
        });
    });
}

fn pin<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

#[test]
fn many_slices_are_one_write() {
    watched(10, || {
        block_on(async {
            let (mut client, mut server) = tcp_pair().await;
            assert!(client.is_write_vectored());
            let slices = [b"one ", b"and ", b"two "].map(|slice| IoSlice::new(slice));
            let written =
                poll_fn(|cx| Write::poll_write_vectored(Pin::new(&mut client), cx, &slices)).await;
            assert_eq!(written.unwrap(), 12);
            assert_eq!(read(&mut server, 64).await.unwrap(), b"one and two ");
            assert!(!HyperIo::new(client).is_write_vectored(), "of others it is not known");
        });
    });
}

/// Says that it has read more than there was room for.
struct Liar;

impl futures_io::AsyncRead for Liar {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len() + 1))
    }
}

/// S14, U07: bytes that nobody wrote are not shown to anybody.
#[test]
fn a_reader_that_lies_about_its_count_is_a_panic_that_says_so() {
    guard(10).panics().run(|| {
        block_on(async {
            let task = waken::spawn(async { read(&mut HyperIo::new(Liar), 100).await });
            let panic = task.await.unwrap_err().into_panic();
            let message = support::panic_message(panic);
            assert!(message.contains("101 bytes into a buffer of 100"), "{message}");
        });
    });
}

#[test]
fn a_stream_of_futures_io_goes_to_hyper_and_back() {
    watched(10, || {
        block_on(async {
            let (client, server) = AsyncUnixStream::pair().unwrap();
            let mut there_and_back = FuturesIo::new(HyperIo::new(&server));
            let echo = async {
                let mut buf = vec![0; 40_000];
                there_and_back.read_exact(&mut buf).await.unwrap();
                there_and_back.write_all(&buf).await.unwrap();
                there_and_back.close().await.unwrap();
            };
            let ask = async {
                let sent: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
                client.write_all(&sent).await.unwrap();
                let mut got = Vec::new();
                (&mut &client).read_to_end(&mut got).await.unwrap();
                assert_eq!(got, sent);
            };
            futures_lite::future::zip(echo, ask).await;
        });
    });
}

/// M07: in place, which is what hyper does with the timer of its headers at each request.
#[test]
fn a_timer_of_hypers_is_moved_in_place_both_ways() {
    watched(10, || {
        block_on(async {
            let start = Instant::now();
            let mut sleep = HyperTimer.sleep(Duration::from_secs(3600));
            let place = &raw const *sleep as *const ();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(sleep.as_mut().poll(&mut cx).is_pending());
            HyperTimer.reset(&mut sleep, start + Duration::from_secs(7200));
            HyperTimer.reset(&mut sleep, start + Duration::from_millis(20));
            assert_eq!(&raw const *sleep as *const (), place);
            sleep.await;
            let late = start.elapsed();
            assert!(late >= Duration::from_millis(20) && late < Duration::from_secs(8), "{late:?}");
        });
    });
}

/// Another timer's sleep: not to be moved by ours.
struct Strange;

impl Future for Strange {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Strange {}

#[test]
fn a_sleep_of_another_timer_is_replaced() {
    watched(10, || {
        block_on(async {
            let mut sleep: Pin<Box<dyn Sleep>> = Box::pin(Strange);
            HyperTimer.reset(&mut sleep, Instant::now());
            sleep.await;
        });
    });
}

#[test]
fn what_hyper_spawns_needs_no_send_and_has_a_name() {
    watched(10, || {
        block_on(async {
            let ran = Rc::new(Cell::new(false));
            let runs = ran.clone();
            HyperExecutor.execute(async move {
                runs.set(true);
                pending::<()>().await
            });
            yield_now().await;
            assert!(ran.get());
            let tasks = waken::runtime::tasks();
            assert_eq!(
                tasks.iter().map(|task| task.name.as_deref()).collect::<Vec<_>>(),
                [Some("hyper")]
            );
        });
    });
}

/// The poll of a cursor, as hyper does it.
fn _is_object_safe(stream: Pin<&mut dyn Read>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) {
    let _ = stream.poll_read(cx, buf);
}
