//! Whatever epoll can wait for can be awaited, and nothing is inferred about it from the length of a read.
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/peer.rs"]
mod peer;
mod support;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use kernel::{Folder, epoll, epoll_events, inotify, narrow, pidfd, pipe};
use kernel::{semaphore, terminal, timer};
use peer::{Foreign, millis, recv_urgent, run, send_urgent, std_pair};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll};
use support::{Random, guard, watched};
use waken::io::{AsyncFd, Interest};
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{Builder, Runtime, spawn};

const READ: Interest = Interest::READABLE;
const WRITE: Interest = Interest::WRITABLE;

/// Long enough for every event of the past to have been dispatched.
async fn settled() {
    sleep(millis(5)).await;
}

/// One read into a buffer of `size`, which must not wait for ever.
async fn read<T: AsFd>(from: &AsyncFd<T>, size: usize) -> io::Result<Vec<u8>>
where
    for<'a> &'a T: Read,
{
    let mut buf = vec![0; size];
    let reading = from.async_io(READ, |mut io| io.read(&mut buf));
    let n = timeout(millis(2000), reading).await.expect("stalls")?;
    buf.truncate(n);
    Ok(buf)
}

async fn nothing_is_left<T: AsFd>(of: &AsyncFd<T>)
where
    for<'a> &'a T: Read,
{
    let more = of.async_io(READ, |mut io| io.read(&mut [0; 64]));
    assert!(timeout(millis(2), more).await.is_err());
}

// ---- every kind of descriptor -----------------------------------------------------------------

#[test]
fn a_pipe_carries_megabytes_and_its_end() {
    guard(10).cpu_ms(3_000).block_on(async {
        let (reader, writer) = pipe();
        narrow(&writer);
        let (mut reader, mut writer) =
            (AsyncFd::new(reader).unwrap(), AsyncFd::new(writer).unwrap());
        let mut random = Random(5);
        let sent: Vec<u8> = (0..2 << 20).map(|_| random.below(256) as u8).collect();
        let expected = sent.clone();
        drop(spawn(async move { writer.write_all(&sent).await.unwrap() }));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
    });
}

/// E06, k18: the event of it is `HUP` without `IN`.
#[test]
fn the_end_of_a_pipe_is_seen_by_a_reader_that_waits() {
    run(async {
        let (reader, writer) = pipe();
        let reader = AsyncFd::new(reader).unwrap();
        let waiting = spawn(async move { read(&reader, 8).await });
        settled().await;
        assert!(!waiting.is_finished());
        drop(writer);
        assert_eq!(waiting.await.unwrap().unwrap(), b"");
    });
}

/// E06, k18: the event of it is `OUT | ERR`.
#[test]
fn a_writer_that_waits_learns_that_the_reader_has_gone() {
    run(async {
        let (reader, writer) = pipe();
        let size = narrow(&writer);
        let mut writer = AsyncFd::with_interest(writer, WRITE).unwrap();
        let waiting = spawn(async move { writer.write_all(&vec![0; 2 * size]).await });
        settled().await;
        assert!(!waiting.is_finished());
        drop(reader);
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// E05, k9: a read ends with the line, and no event tells of the next.
#[test]
fn every_line_that_was_typed_ahead_is_received() {
    run(async {
        let (person, program) = terminal();
        let program = AsyncFd::new(program).unwrap();
        settled().await;
        nothing_is_left(&program).await;
        (&person).write_all(b"one\ntwo\nthree\n").unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            settled().await;
            assert_eq!(read(&program, 64).await.unwrap(), line.as_bytes());
        }
        nothing_is_left(&program).await;
        (&person).write_all(b"four\n").unwrap();
        assert_eq!(read(&program, 64).await.unwrap(), b"four\n");
    });
}

/// E05, k9.
#[test]
fn every_count_of_a_semaphore_is_received() {
    run(async {
        let counter = AsyncFd::new(semaphore(3)).unwrap();
        for _ in 0..3 {
            settled().await;
            assert_eq!(read(&counter, 8).await.unwrap(), 1u64.to_ne_bytes());
        }
        nothing_is_left(&counter).await;
        counter.get_ref().write_all(&2u64.to_ne_bytes()).unwrap();
        for _ in 0..2 {
            assert_eq!(read(&counter, 8).await.unwrap(), 1u64.to_ne_bytes());
        }
    });
}

/// E05, k9: also into a buffer with room for more than one.
#[test]
fn every_datagram_that_is_queued_is_received() {
    run(async {
        let (ours, peer) = UnixDatagram::pair().unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        for count in [1u8, 2, 5] {
            let receive = |socket: &UnixDatagram| {
                let mut buf = [0; 64];
                socket.recv(&mut buf).map(|n| (n, buf[0]))
            };
            let more = ours.async_io(READ, receive);
            assert!(timeout(millis(2), more).await.is_err());
            (0..count).for_each(|n| assert_eq!(peer.send(&[n; 3]).unwrap(), 3));
            for n in 0..count {
                settled().await;
                let received = timeout(millis(2000), ours.async_io(READ, receive)).await;
                assert_eq!(received.expect("stalls").unwrap(), (3, n));
            }
        }
    });
}

/// E05: the buffer has room for one event only.
#[test]
fn every_event_of_an_inotify_is_received() {
    run(async {
        let folder = Folder::new();
        let watch = AsyncFd::new(inotify(folder.path())).unwrap();
        let waiting = spawn(async move {
            let mut names = Vec::new();
            for _ in 0..3 {
                // A `struct inotify_event`, and 16 bytes of a name that is filled up with zeros.
                let event = read(&watch, 32).await.unwrap();
                names.push(event[16] as char);
                settled().await;
            }
            names
        });
        settled().await;
        ["a", "b", "c"].iter().for_each(|name| drop(File::create(folder.join(name)).unwrap()));
        assert_eq!(waiting.await.unwrap(), ['a', 'b', 'c']);
    });
}

#[test]
fn a_timerfd_is_received_again_and_again() {
    run(async {
        let timer = AsyncFd::with_interest(timer(millis(3)), READ).unwrap();
        for _ in 0..10 {
            let expired = read(&timer, 8).await.unwrap();
            assert_ne!(expired, [0; 8]);
        }
    });
}

#[test]
fn the_end_of_a_child_is_awaited_through_its_pidfd() {
    run(async {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let ended = AsyncFd::with_interest(pidfd(&child), READ).unwrap();
        let mut try_wait = || child.try_wait()?.ok_or(ErrorKind::WouldBlock.into());
        assert!(ended.try_io(READ, |_| try_wait()).is_err());
        let waiting = ended.async_io(READ, |_| try_wait());
        assert!(timeout(millis(10), waiting).await.is_err());
        drop(child.stdin.take());
        let mut try_wait = || child.try_wait()?.ok_or(ErrorKind::WouldBlock.into());
        let status = timeout(millis(5000), ended.async_io(READ, |_| try_wait())).await;
        assert!(status.expect("stalls").unwrap().success());
    });
}

#[test]
fn another_epoll_instance_is_ready_when_it_has_an_event() {
    run(async {
        let counter = semaphore(0);
        let inner = AsyncFd::with_interest(epoll(&counter), READ).unwrap();
        let waiting = spawn(async move { inner.async_io(READ, epoll_events).await });
        settled().await;
        assert!(!waiting.is_finished());
        (&counter).write_all(&1u64.to_ne_bytes()).unwrap();
        assert_eq!(timeout(millis(2000), waiting).await.expect("stalls").unwrap().unwrap(), 1);
    });
}

// ---- readiness --------------------------------------------------------------------------------

#[test]
fn a_try_that_would_block_is_remembered() {
    run(async {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        // The first event is over, which says that there is room to write.
        settled().await;
        ours.readable().await.unwrap();
        let error = ours.try_io(READ, |mut io| io.read(&mut [0; 8])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(timeout(millis(5), ours.readable()).await.is_err());
        // Of the one direction only.
        timeout(millis(2000), ours.writable()).await.expect("stalls").unwrap();
        assert!(ours.ready(READ | WRITE).await.unwrap().is_writable());
        peer.write_all(b"x").unwrap();
        timeout(millis(2000), ours.readable()).await.expect("stalls").unwrap();
        assert_eq!(ours.try_io(READ, |mut io| io.read(&mut [0; 8])).unwrap(), 1);
        // A success is no reason to wait.
        ours.readable().await.unwrap();
    });
}

#[test]
fn an_operation_may_wait_for_both_directions_at_once() {
    run(async {
        for wakes in [READ, WRITE] {
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = Rc::new(AsyncFd::new(ours).unwrap());
            while ours.try_io(WRITE, |mut io| io.write(&[0; 4096])).is_ok() {}
            let (calls, inside) = (Rc::new(Cell::new(0)), ours.clone());
            let counted = calls.clone();
            let waiting = spawn(async move {
                let operation = |mut io: &UnixStream| {
                    counted.set(counted.get() + 1);
                    let read = io.read(&mut [0; 8]).map(|_| READ);
                    read.or_else(|_| io.write(&[0; 8]).map(|_| WRITE))
                };
                inside.async_io(READ | WRITE, operation).await
            });
            settled().await;
            if wakes == READ {
                peer.write_all(b"x").unwrap();
            } else {
                peer.set_nonblocking(true).unwrap();
                while peer.read(&mut [0; 4096]).is_ok() {}
            }
            let woken = timeout(millis(2000), waiting).await.expect("stalls").unwrap().unwrap();
            assert_eq!(woken, wakes);
            assert!(calls.get() <= 4, "{} calls", calls.get());
        }
    });
}

#[test]
fn a_poll_wakes_the_last_waker_of_each_direction() {
    run(async {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        while ours.try_io(WRITE, |mut io| io.write(&[0; 4096])).is_ok() {}
        let mut wakers: Vec<_> = (0..4).map(|_| Foreign::new()).collect();
        for (n, (_, waker)) in wakers.iter().enumerate() {
            let mut cx = Context::from_waker(waker);
            let polled = match n % 2 {
                0 => ours.poll_io(&mut cx, READ, |mut io| io.read(&mut [0; 8])),
                _ => ours.poll_io(&mut cx, WRITE, |mut io| io.write(&[0; 8])),
            };
            assert!(polled.is_pending());
        }
        let woken = |wakers: &[(std::sync::Arc<Foreign>, _)]| -> Vec<usize> {
            wakers.iter().map(|(foreign, _)| foreign.woken()).collect()
        };
        peer.write_all(b"x").unwrap();
        settled().await;
        assert_eq!(woken(&wakers)[..3], [0, 0, 1]);
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut [0; 4096]).is_ok() {}
        settled().await;
        assert_eq!(woken(&wakers), [0, 0, 1, 1]);
        // And it is the caller that says when to try again.
        let mut cx = Context::from_waker(&wakers[0].1);
        let read = ours.poll_io(&mut cx, READ, |mut io| io.read(&mut [0; 8]));
        assert!(matches!(read, Poll::Ready(Ok(1))));
        wakers.clear();
    });
}

#[test]
fn what_was_not_registered_for_is_refused_and_costs_nothing() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = AsyncFd::with_interest(ours, READ).unwrap();
            let refused = |result: io::Result<()>| {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains("AsyncFd::new"), "{error}");
            };
            refused(ours.writable().await);
            refused(ours.ready(READ | WRITE).await.map(drop));
            refused(ours.ready(Interest::PRIORITY).await.map(drop));
            refused(ours.async_io(WRITE, |_| Ok(())).await);
            refused(ours.try_io(READ | WRITE, |_| Ok(())));
            refused((&ours).write(b"x").await.map(drop));
            ours.readable().await.unwrap();
            // Room to write is an event to those who asked for it, and to nobody else.
            let mut plain = ours.get_ref();
            while plain.write(&[0; 4096]).is_ok() {}
            settled().await;
            let events = runtime.metrics().epoll_events;
            peer.set_nonblocking(true).unwrap();
            while peer.read(&mut [0; 4096]).is_ok() {}
            settled().await;
            assert_eq!(runtime.metrics().epoll_events, events);
            peer.write_all(b"x").unwrap();
            assert_eq!(read(&ours, 8).await.unwrap(), b"x");
        });
    });
}

#[test]
fn urgent_data_is_awaited_and_so_is_that_none_will_come() {
    for all in [true, false] {
        run(async {
            let (ours, mut peer) = std_pair();
            let ours = match all {
                true => AsyncFd::new(ours).unwrap(),
                false => AsyncFd::with_interest(ours, Interest::PRIORITY).unwrap(),
            };
            let take = |socket: &_| match recv_urgent(socket) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    Err(ErrorKind::WouldBlock.into())
                }
                taken => taken,
            };
            for byte in *b"!?" {
                let waiting = ours.async_io(Interest::PRIORITY, take);
                assert!(timeout(millis(5), waiting).await.is_err());
                peer.write_all(b"in line").unwrap();
                assert!(send_urgent(&peer, byte));
                let taken = timeout(millis(2000), ours.async_io(Interest::PRIORITY, take)).await;
                assert_eq!(taken.expect("stalls").unwrap(), byte);
            }
            assert!(timeout(millis(5), ours.async_io(Interest::PRIORITY, take)).await.is_err());
            peer.shutdown(Shutdown::Write).unwrap();
            let over = timeout(millis(2000), ours.ready(Interest::PRIORITY)).await;
            let over = over.expect("stalls").unwrap();
            assert!(over.is_read_closed() && !over.is_priority(), "{over:?}");
        });
    }
}

#[test]
fn a_poll_of_two_directions_leaves_no_waiter_in_the_other_one() {
    run(async {
        for reads in [true, false] {
            let (ours, mut peer) = UnixStream::pair().unwrap();
            let ours = AsyncFd::new(ours).unwrap();
            let mut full = 0;
            while let Ok(n) = ours.try_io(Interest::WRITABLE, |mut io| io.write(&[0; 4096])) {
                full += n;
            }
            let task = spawn(async move {
                let both = Interest::READABLE | Interest::WRITABLE;
                let mut call = |mut io: &UnixStream| match reads {
                    true => io.read(&mut [0]),
                    false => io.write(&[0]),
                };
                poll_fn(|cx| ours.poll_io(cx, both, &mut call)).await.unwrap();
                std::future::pending::<()>().await;
                drop(ours);
            });
            sleep(millis(1)).await;
            match reads {
                true => peer.write_all(b"x").unwrap(),
                false => peer.read_exact(&mut vec![0; full]).unwrap(),
            }
            sleep(millis(5)).await;
            let tasks = waken::runtime::tasks();
            let info = tasks.iter().find(|it| it.id == task.id()).unwrap();
            assert!(!info.to_string().contains("fd "), "{info}");
        }
    });
}

#[test]
fn to_read_or_write_nothing_is_done_at_once() {
    run(async {
        let (ours, _peer) = UnixStream::pair().unwrap();
        let mut ours = AsyncFd::new(ours).unwrap();
        assert!(ours.try_io(Interest::READABLE, |mut io| io.read(&mut [0])).is_err());
        assert_eq!(ours.read(&mut []).await.unwrap(), 0);
        assert_eq!((&ours).read(&mut []).await.unwrap(), 0);
        assert_eq!(ours.write(&[]).await.unwrap(), 0);
        let (nothing, read, write) = (&mut [][..], &mut [][..], IoSlice::new(&[]));
        let (mut one, mut other) = ([IoSliceMut::new(nothing)], [IoSliceMut::new(read)]);
        assert_eq!(ours.read_vectored(&mut []).await.unwrap(), 0);
        assert_eq!(ours.read_vectored(&mut one).await.unwrap(), 0);
        assert_eq!((&ours).read_vectored(&mut other).await.unwrap(), 0);
        assert_eq!(ours.write_vectored(&[write]).await.unwrap(), 0);
        assert_eq!((&ours).write_vectored(&[]).await.unwrap(), 0);
    });
}

/// S14: buffers are `&mut [u8]`, so a reader that says it has filled more than there is can show nothing that was not there:
/// whoever believes it panics, and that is his task's end.
#[test]
fn a_reader_that_lies_about_its_length_harms_nobody_else() {
    struct Liar(UnixStream);
    impl AsFd for Liar {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl Read for Liar {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buf).map(|_| buf.len() + 7)
        }
    }
    guard(10).panics().block_on(async {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let (honest, mut other) = UnixStream::pair().unwrap();
        let mut liar = AsyncFd::new(Liar(ours)).unwrap();
        let honest = AsyncFd::new(honest).unwrap();
        let reader = spawn(async move {
            let mut buf = [0; 4];
            futures_lite::AsyncReadExt::read_exact(&mut liar, &mut buf).await
        });
        let beside = spawn(async move { read(&honest, 8).await });
        settled().await;
        peer.write_all(b"x").unwrap();
        let ended = timeout(millis(2000), reader).await.expect("stalls");
        assert!(ended.unwrap_err().is_panic());
        other.write_all(b"fine").unwrap();
        let read = timeout(millis(2000), beside).await.expect("stalls").unwrap();
        assert_eq!(read.unwrap(), b"fine");
    });
}

/// E17: more is ready than there is room for in one look. The rest comes with the next ones, in order: each is served before
/// any is served a third time.
#[test]
fn five_thousand_ready_descriptors_are_served_64_at_a_time_and_in_order() {
    watched(30, || {
        let runtime = Builder::new().events_per_poll(64).build().unwrap();
        let count = peer::room_for(5_000, 1);
        runtime.block_on(async {
            let served = Rc::new(RefCell::new(vec![0u32; count]));
            let again = Rc::new(RefCell::new(Vec::new()));
            let counters: Vec<_> = (0..count)
                .map(|n| {
                    let counter =
                        Rc::new(AsyncFd::with_interest(semaphore(0), READ).expect("descriptors"));
                    let (ours, served, again) = (counter.clone(), served.clone(), again.clone());
                    drop(spawn(async move {
                        loop {
                            let one = ours.async_io(READ, |mut io| io.read(&mut [0; 8]));
                            assert_eq!(one.await.unwrap(), 8);
                            served.borrow_mut()[n] += 1;
                            again.borrow_mut().push(n);
                        }
                    }));
                    counter
                })
                .collect();
            let write = |n: usize| {
                let mut counter = counters[n].get_ref();
                counter.write_all(&1u64.to_ne_bytes()).unwrap();
            };
            sleep(millis(1)).await;
            let before = runtime.metrics();
            (0..count).for_each(write);
            let mut least = 0;
            while least < 4 {
                yield_now().await;
                let most = *served.borrow().iter().max().unwrap();
                least = *served.borrow().iter().min().unwrap();
                assert!(most <= least + 2, "one is served {most} times, another {least} times");
                // Who was served is ready again, at the end of the kernel's list.
                again.take().into_iter().for_each(write);
            }
            let after = runtime.metrics();
            let (waits, events) =
                (after.epoll_waits - before.epoll_waits, after.epoll_events - before.epoll_events);
            assert!(events >= 4 * count as u64 && events <= 64 * waits, "{events} in {waits}");
        });
    });
}
