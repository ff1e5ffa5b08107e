//! Any descriptor comes into a runtime and out of it again as it went in, is refused with a reason, and is as fair as
//! a socket.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::future::zip;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use kernel::{is_blocking, pipe};
use peer::{millis, run};
use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use support::{Random, cpu, fds, wait_of, watched};
use waken::io::{AsyncFd, Interest};
use waken::task::WaitOn;
use waken::time::{sleep, timeout};
use waken::{Runtime, spawn};

const READ: Interest = Interest::READABLE;
const WRITE: Interest = Interest::WRITABLE;

/// E20, k23.
#[test]
fn files_and_directories_are_refused_with_advice_and_nothing_is_left() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let before = fds();
            for path in ["Cargo.toml", "tests", "/dev/null"] {
                let file = File::open(path).unwrap();
                let error = AsyncFd::new(&file).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{path}");
                assert!(is_blocking(&file), "what is refused stays as it was");
                drop(file);
                let advice = error.to_string();
                assert!(advice.contains("on a thread"), "{advice}");
                assert_eq!((fds(), runtime.metrics().sources_alive), (before.clone(), 0));
            }
        });
    });
}

#[test]
fn a_descriptor_is_registered_once_at_a_time() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (reader, mut writer) = pipe();
            let first = AsyncFd::new(&reader).unwrap();
            let error = AsyncFd::new(&reader).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert_eq!(runtime.metrics().sources_alive, 1);
            // The first has lost nothing by that.
            writer.write_all(b"x").unwrap();
            first.async_io(READ, |&(mut io)| io.read_exact(&mut [0])).await.unwrap();
            drop(first);
            // A duplicate is another descriptor.
            let duplicate = reader.try_clone().unwrap();
            let both = (AsyncFd::new(&reader).unwrap(), AsyncFd::new(&duplicate).unwrap());
            assert_eq!(runtime.metrics().sources_alive, 2);
            drop(both);
            assert_eq!(runtime.metrics().sources_alive, 0);
        });
    });
}

/// F12.
#[test]
fn a_blocking_descriptor_is_made_non_blocking() {
    run(async {
        let (reader, writer) = pipe();
        assert!(is_blocking(&reader) && is_blocking(&writer));
        let reader = AsyncFd::new(reader).unwrap();
        let writer = AsyncFd::with_interest(writer, WRITE).unwrap();
        assert!(!is_blocking(&reader) && !is_blocking(&writer));
        assert!(
            timeout(millis(2), reader.async_io(READ, |mut io| io.read(&mut [0]))).await.is_err()
        );
        assert!(!is_blocking(&writer.into_inner()));
    });
}

#[test]
fn a_descriptor_that_was_taken_out_can_be_registered_again() {
    watched(10, || {
        let (one, two) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let (mut reader, mut writer) = pipe();
        for runtime in [&one, &two, &one, &one] {
            reader = runtime.block_on(async {
                let reader = AsyncFd::new(reader).unwrap();
                let mut waiting = Box::pin(reader.async_io(READ, |mut io| io.read(&mut [0; 8])));
                assert!(timeout(millis(2), &mut waiting).await.is_err());
                writer.write_all(b"again").unwrap();
                assert_eq!(timeout(millis(2000), waiting).await.expect("stalls").unwrap(), 5);
                reader.into_inner()
            });
            assert_eq!(runtime.metrics().sources_alive, 0);
            // Nobody hears of it any more.
            let events = runtime.metrics().epoll_events;
            writer.write_all(b"!").unwrap();
            runtime.block_on(sleep(millis(2)));
            assert_eq!(runtime.metrics().epoll_events, events);
            reader.read_exact(&mut [0]).unwrap();
        }
    });
}

#[test]
fn its_value_can_be_reached_and_changed() {
    run(async {
        struct Named(File, &'static str);
        impl AsFd for Named {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
        let (reader, _writer) = pipe();
        let fd = reader.as_raw_fd();
        let mut named = AsyncFd::new(Named(reader, "before")).unwrap();
        named.get_mut().1 = "after";
        assert_eq!((named.get_ref().1, named.as_raw_fd()), ("after", fd));
        assert_eq!(format!("{named:?}"), format!("AsyncFd {{ fd: {fd}, .. }}"));
        assert_eq!(named.into_inner().1, "after");
    });
}

// ---- elsewhere --------------------------------------------------------------------------------

#[test]
fn outside_of_a_runtime_nothing_is_registered() {
    watched(10, || {
        let before = fds();
        let error = AsyncFd::new(pipe().0).unwrap_err();
        assert!(error.to_string().contains("block_on"), "{error}");
        assert_eq!(fds(), before);
    });
}

fn every_use_is_an_error<T: AsFd>(of: &AsyncFd<T>, that_says: &str) {
    let mut results = vec![of.try_io(READ, |_| panic!("it is called"))];
    futures_lite::future::block_on(async {
        results.push(of.async_io(READ, |_| panic!("it is called")).await);
        results.push(of.readable().await);
        results.push(of.writable().await);
        results.push(of.ready(READ | WRITE).await.map(drop));
        let polled = poll_fn(|cx| of.poll_io(cx, READ, |_| panic!("it is called")));
        results.push(polled.await);
    });
    for result in results {
        let error = result.unwrap_err();
        assert!(error.to_string().contains(that_says), "{error}");
    }
}

#[test]
fn on_another_thread_every_use_is_an_error_and_a_drop_closes() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let before = fds();
        runtime.block_on(async {
            let (reader, mut writer) = pipe();
            let reader = AsyncFd::new(reader).unwrap();
            let reader = thread::spawn(move || {
                every_use_is_an_error(&reader, "another thread");
                reader
            });
            let reader = reader.join().unwrap();
            // Home again it works.
            writer.write_all(b"x").unwrap();
            reader.async_io(READ, |mut io| io.read_exact(&mut [0])).await.unwrap();
            thread::spawn(move || drop(reader)).join().unwrap();
            assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
            sleep(millis(1)).await;
            assert_eq!(runtime.metrics().sources_alive, 0);
        });
        assert_eq!(fds(), before);
    });
}

#[test]
fn after_the_end_of_the_runtime_every_use_is_an_error_and_a_drop_closes() {
    watched(10, || {
        let before = fds();
        let (reader, writer) = pipe();
        let runtime = Runtime::new().unwrap();
        let ended = runtime.block_on(async { AsyncFd::new(reader) }).unwrap();
        drop(runtime);
        every_use_is_an_error(&ended, "has ended");
        // What was taken out is as good as new.
        let reader = ended.into_inner();
        waken::block_on(async {
            let again = AsyncFd::new(&reader).unwrap();
            assert!(
                timeout(millis(2), again.async_io(READ, |&(mut io)| io.read(&mut [0])))
                    .await
                    .is_err()
            );
        });
        drop((reader, writer));
        assert_eq!(fds(), before);
    });
}

// ---- reading and writing through the traits ---------------------------------------------------

/// Eight mebibytes each way, at the same time.
async fn both_ways(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut peer: UnixStream,
) {
    let mut random = Random(23);
    let block: Vec<u8> = (0..65_521).map(|_| random.below(256) as u8).collect();
    let sent: Vec<u8> = block.into_iter().cycle().take(8 << 20).collect();
    let echo = thread::spawn(move || {
        let from = peer.try_clone().unwrap();
        io::copy(&mut from.take(8 << 20), &mut peer).unwrap();
        let mut more = [0; 4];
        peer.read_exact(&mut more).unwrap();
        more
    });
    let mut received = vec![0; sent.len()];
    let going = zip(writer.write_all(&sent), reader.read_exact(&mut received));
    let (written, read) = timeout(Duration::from_secs(8), going).await.expect("stalls");
    written.and(read).unwrap();
    assert!(received == sent);
    // It flushes, and leaves the descriptor alone.
    writer.close().await.unwrap();
    writer.write_all(b"more").await.unwrap();
    assert_eq!(&echo.join().unwrap(), b"more");
}

#[test]
fn megabytes_go_both_ways_through_references() {
    run(async {
        let (ours, peer) = UnixStream::pair().unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        both_ways(&ours, &ours, peer).await;
    });
}

#[test]
fn megabytes_go_both_ways_through_two_values() {
    run(async {
        let (ours, peer) = UnixStream::pair().unwrap();
        let reader = AsyncFd::with_interest(ours.try_clone().unwrap(), READ).unwrap();
        let writer = AsyncFd::with_interest(ours, WRITE).unwrap();
        both_ways(reader, writer, peer).await;
    });
}

#[test]
fn several_buffers_are_one_call() {
    run(async {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, other) = (AsyncFd::new(one).unwrap(), AsyncFd::new(other).unwrap());
        let slices = [IoSlice::new(b"hel"), IoSlice::new(b""), IoSlice::new(b"lo, you")];
        assert_eq!(one.write_vectored(&slices).await.unwrap(), 10);
        assert_eq!((&one).write_vectored(&slices[..1]).await.unwrap(), 3);
        let (mut first, mut second) = ([0; 4], [0; 9]);
        let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!((&other).read_vectored(&mut slices).await.unwrap(), 13);
        assert_eq!((&first, &second), (b"hell", b"o, youhel"));
    });
}

/// What holds nothing back has nothing to wait for, also when there is no room for more.
#[test]
fn flushing_and_closing_do_not_wait_for_room() {
    run(async {
        let (_reader, writer) = pipe();
        let mut writer = AsyncFd::new(writer).unwrap();
        let writing = timeout(millis(5), writer.write_all(&vec![0; 1 << 20])).await;
        assert!(writing.is_err(), "it has room for a mebibyte");
        let ends = async {
            writer.flush().await.unwrap();
            writer.close().await.unwrap();
        };
        timeout(millis(1000), ends).await.expect("waits for room");
        timeout(millis(1000), (&writer).flush()).await.expect("waits for room").unwrap();
    });
}

/// What does hold something back waits for room, and for no longer.
#[test]
fn flushing_waits_until_all_that_was_held_back_is_written() {
    struct Holding(File, Vec<u8>);
    impl AsFd for Holding {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl Write for Holding {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            while !self.1.is_empty() {
                let written = self.0.write(&self.1)?;
                self.1.drain(..written);
            }
            Ok(())
        }
    }
    run(async {
        let (mut reader, writer) = pipe();
        let mut writer = AsyncFd::new(Holding(writer, Vec::new())).unwrap();
        writer.write_all(&vec![7; 1 << 20]).await.unwrap();
        assert!(timeout(millis(5), writer.flush()).await.is_err());
        let drain = thread::spawn(move || io::copy(&mut reader, &mut io::sink()).unwrap());
        timeout(millis(5000), writer.flush()).await.expect("stalls").unwrap();
        drop(writer);
        assert_eq!(drain.join().unwrap(), 1 << 20);
    });
}

// ---- among others -----------------------------------------------------------------------------

#[test]
fn the_wait_graph_names_the_descriptor_and_the_line() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (reader, _writer) = pipe();
            let reader = Rc::new(AsyncFd::new(reader).unwrap());
            let (fd, ours) = (reader.as_raw_fd(), reader.clone());
            let by_operation = spawn(async move {
                let _ = ours.async_io(READ, |mut io| io.read(&mut [0; 8])).await;
            });
            let operation = line!() - 2;
            let ours = reader.clone();
            let by_readiness = spawn(async move {
                let mut _not_ready = ours.try_io(READ, |mut io| io.read(&mut [0; 8]));
                let _ = ours.readable().await;
            });
            let readiness = line!() - 2;
            sleep(millis(5)).await;
            for (task, line) in [(by_operation, operation), (by_readiness, readiness)] {
                let (on, at) = wait_of(task.id()).await;
                assert_eq!((on, at.file(), at.line()), (WaitOn::Readable(fd), file!(), line));
            }
        });
    });
}

#[test]
fn a_descriptor_that_is_always_ready_starves_nobody() {
    run(async {
        let (zeros, mut writer) = pipe();
        writer.write_all(b"x").unwrap();
        let busy = Rc::new(AsyncFd::new(zeros).unwrap());
        let rounds = Rc::new(Cell::new(0u64));
        for way in 0..4 {
            let (busy, rounds) = (busy.clone(), rounds.clone());
            drop(spawn(async move {
                loop {
                    match way {
                        0 => busy.readable().await.unwrap(),
                        1 => busy.async_io(READ, |_| Ok(())).await.unwrap(),
                        2 => poll_fn(|cx| busy.poll_io(cx, READ, |_| Ok(()))).await.unwrap(),
                        // Errors are operations as well.
                        _ => drop(
                            busy.async_io(READ, |_| Err::<(), _>(ErrorKind::Other.into())).await,
                        ),
                    }
                    rounds.set(rounds.get() + 1);
                }
            }));
        }
        for _ in 0..20 {
            sleep(millis(1)).await;
        }
        assert!(rounds.get() > 1000, "{} rounds", rounds.get());
    });
}

#[test]
fn one_that_waits_uses_no_time() {
    run(async {
        // The other end of one has gone: `HUP` is there all the time.
        let ((idle, _writer), (ended, gone)) = (pipe(), pipe());
        drop(gone);
        let (idle, ended) = (AsyncFd::new(idle).unwrap(), AsyncFd::new(ended).unwrap());
        assert_eq!(ended.async_io(READ, |mut io| io.read(&mut [0])).await.unwrap(), 0);
        let before = cpu();
        let waiting = idle.async_io(READ, |mut io| io.read(&mut [0]));
        assert!(timeout(millis(300), waiting).await.is_err());
        assert!(cpu() - before < millis(60), "{:?}", cpu() - before);
    });
}
