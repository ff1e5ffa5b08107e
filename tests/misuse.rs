//! Misuse is met by a sentence that says what to write instead, and harms nobody else.
mod support;

use std::error::Error;
use std::future::pending;
use std::io;
use std::net;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{guard, panic_message, watched};
use waken::io::Interest;
use waken::net::{AsyncUnixDatagram, AsyncUnixListener, TcpSocket};
use waken::task::{self, yield_now};
use waken::time::{interval, interval_at, sleep, sleep_until, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Runtime, block_on, spawn};

/// Runs `misuse`, which is to panic, and returns what it says.
fn sentence<R>(misuse: impl FnOnce() -> R) -> String {
    panic_message(catch_unwind(AssertUnwindSafe(misuse)).map(drop).unwrap_err())
}

/// Checks that `text` has all of `words`.
fn says(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} expected of: {text}");
}

fn refused<T>(result: io::Result<T>, words: &[&str]) {
    match result {
        Ok(_) => panic!("it was allowed; {words:?} expected"),
        Err(error) => says(&error.to_string(), words),
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn pair() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Every operation of a stream, polled once, is an error with `words`.
fn every_operation_is_refused(stream: &AsyncTcpStream, words: &[&str]) {
    fn at_once<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        match poll_once(future) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits, and nobody would ever wake it"),
        }
    }
    let mut buf = [0; 4];
    refused(at_once(stream.read(&mut buf)), words);
    refused(at_once(stream.read_exact(&mut buf)), words);
    refused(at_once(stream.peek(&mut buf)), words);
    refused(at_once(stream.write(b"x")), words);
    refused(at_once(stream.write_all(b"x")), words);
    refused(at_once(stream.readable()), words);
    refused(at_once(stream.writable()), words);
    refused(at_once(stream.ready(Interest::READABLE)), words);
    refused(at_once(stream.async_io(Interest::READABLE, |_| Ok(()))), words);
    refused(stream.try_read(&mut buf), words);
    refused(stream.try_write(b"x"), words);
    refused(stream.try_io(Interest::WRITABLE, |_| Ok(())), words);
    refused(at_once(futures_lite::AsyncReadExt::read(&mut &*stream, &mut buf)), words);
    refused(at_once(futures_lite::AsyncWriteExt::write(&mut &*stream, b"x")), words);
}

/// R02.
#[test]
fn block_on_inside_block_on_panics_and_the_outer_one_goes_on() {
    guard(10).panics().run(|| {
        let (runtime, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        runtime.block_on(async {
            let words = ["`block_on` inside `block_on`", ".await", "std::thread::spawn"];
            for _ in 0..2 {
                says(&sentence(|| block_on(async {})), &words);
                says(&sentence(|| other.block_on(async {})), &words);
                says(&sentence(|| runtime.block_on(async {})), &words);
            }
            let error = spawn(async { block_on(async {}) }).await.unwrap_err();
            says(&panic_message(error.into_panic()), &words);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
            let (one, two) = pair().await;
            one.write_all(b"x").await.unwrap();
            two.read_exact(&mut [0]).await.unwrap();
        });
        assert_eq!(other.block_on(async { 2 }) + runtime.block_on(async { 3 }), 5);
    });
}

/// R06.
#[test]
fn a_block_on_that_panics_leaves_the_thread_and_the_runtime_usable() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let task = runtime.spawn(async {
            sleep(Duration::from_millis(1)).await;
            1
        });
        assert_eq!(sentence(|| runtime.block_on(async { panic!("the root") })), "the root");
        assert_eq!(sentence(|| block_on(async { panic!("another") })), "another");
        assert_eq!(task::try_id(), None);
        says(&sentence(|| spawn(async {})), &["outside of a runtime"]);
        assert_eq!(runtime.block_on(task).unwrap(), 1);
    });
}

/// N09.
#[test]
fn spawning_outside_of_a_runtime_panics_with_a_sentence() {
    guard(10).panics().run(|| {
        let words = ["outside of a runtime", "block_on", "Runtime::enter"];
        says(&sentence(|| spawn(async {})), &words);
        says(&sentence(|| task::Builder::new().name("x").spawn(async {})), &words);
        let mut set = JoinSet::new();
        says(&sentence(|| set.spawn(async {})), &words);
        assert!(set.is_empty());
        says(&sentence(task::id), &["outside of a task", "spawn"]);
        says(&sentence(|| block_on(async { task::id() })), &["outside of a task"]);
    });
}

/// N09.
#[test]
fn a_timer_that_has_to_wait_panics_outside_of_a_runtime() {
    guard(10).panics().run(|| {
        let hour = Duration::from_secs(3600);
        let words = ["no runtime", "block_on"];
        let foreign = || futures_lite::future::block_on(sleep(hour));
        says(&sentence(foreign), &words);
        says(&sentence(|| futures_lite::future::block_on(timeout(hour, pending::<()>()))), &words);
        block_on(sleep(Duration::ZERO));
        says(&sentence(|| futures_lite::future::block_on(sleep(hour))), &words);
    });
}

/// N09: guards that are dropped in disorder leave a runtime current that has ended.
#[test]
fn a_timer_that_has_to_wait_panics_under_a_runtime_that_has_ended() {
    guard(10).panics().run(|| {
        let (ended, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let (first, second) = (ended.enter(), other.enter());
        says(&sentence(|| drop(first)), &["reverse order"]);
        drop(ended);
        let third = other.enter();
        drop(second);
        let wait = || futures_lite::future::block_on(sleep(Duration::from_secs(3600)));
        says(&sentence(wait), &["no runtime", "block_on"]);
        says(&sentence(|| drop(third)), &["reverse order"]);
    });
}

/// N09: there is nothing to wait for, and so no runtime is needed. On a thread that never had one.
#[test]
fn a_timer_that_is_due_is_ready_at_its_first_poll_without_a_runtime() {
    watched(10, || {
        let first_poll = || {
            assert!(
                poll_once(sleep_until(Instant::now())).is_ready(),
                "a deadline that has passed"
            );
            assert!(poll_once(sleep(Duration::ZERO)).is_ready(), "zero");
            assert!(poll_once(timeout(Duration::ZERO, pending::<()>())).is_ready(), "a timeout");
        };
        thread::spawn(first_poll).join().unwrap();
        block_on(async {});
        thread::spawn(move || (block_on(async {}), first_poll())).join().unwrap();
    });
}

/// Nothing gives a new budget there, so none may be used up.
#[test]
fn under_enter_there_is_no_end_of_budget() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let _current = runtime.enter();
        for n in 0..1000 {
            assert!(poll_once(sleep(Duration::ZERO)).is_ready(), "number {n}");
        }
    });
}

#[test]
fn an_interval_of_zero_panics_with_a_sentence() {
    guard(10).panics().run(|| {
        says(&sentence(|| interval(Duration::ZERO)), &["interval of zero", "yield_now"]);
        says(&sentence(|| interval_at(Instant::now(), Duration::ZERO)), &["interval of zero"]);
    });
}

/// N09.
#[test]
fn sockets_made_outside_of_a_runtime_are_an_error_that_names_block_on() {
    watched(10, || {
        let words = ["no runtime", "waken::block_on", "Runtime::enter"];
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text = format!("127.0.0.1:{}", address.port());
        use futures_lite::future::block_on as elsewhere;
        refused(elsewhere(AsyncTcpListener::bind("127.0.0.1:0")), &words);
        refused(elsewhere(AsyncTcpStream::connect(text)), &words);
        refused(elsewhere(AsyncTcpStream::connect(("localhost", address.port()))), &words);
        let socket = || TcpSocket::new_v4().unwrap();
        refused(elsewhere(socket().connect(address)), &words);
        socket().bind("127.0.0.1:0".parse().unwrap()).unwrap();
        refused(socket().listen(1), &words);
        refused(AsyncTcpStream::try_from(net::TcpStream::connect(address).unwrap()), &words);
        refused(AsyncTcpListener::try_from(listener), &words);
    });
}

/// A retry inside must not find the path taken.
#[test]
fn unix_sockets_that_are_bound_outside_of_a_runtime_leave_no_path() {
    watched(10, || {
        let path = std::env::temp_dir().join(format!("waken-outside-{}", std::process::id()));
        refused(AsyncUnixListener::bind(&path), &["block_on"]);
        refused(AsyncUnixDatagram::bind(&path), &["block_on"]);
        assert!(!path.exists());
        block_on(async { drop(AsyncUnixListener::bind(&path).unwrap()) });
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn sockets_used_outside_of_their_block_on_are_refused_and_work_again_inside() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        let (one, two) = runtime.block_on(pair());
        every_operation_is_refused(&one, &["no runtime", "block_on"]);
        runtime.block_on(async {
            one.write_all(b"x").await.unwrap();
            two.read_exact(&mut [0]).await.unwrap();
        });
    });
}

/// D02, N09.
#[test]
fn sockets_whose_runtime_has_ended_are_refused_everywhere_and_can_be_taken_out() {
    watched(10, || {
        let (one, two) = block_on(pair());
        let words = ["runtime of this socket has ended", "into_std"];
        every_operation_is_refused(&one, &words);
        block_on(async { every_operation_is_refused(&one, &words) });
        let listener = block_on(AsyncTcpListener::bind("127.0.0.1:0")).unwrap();
        refused(listener.try_accept().map(drop), &words);
        block_on(async { refused(listener.accept().await.map(drop), &words) });
        let (one, two) = (one.into_std(), two.into_std());
        block_on(async move {
            let one = AsyncTcpStream::try_from(one).unwrap();
            let two = AsyncTcpStream::try_from(two).unwrap();
            one.write_all(b"x").await.unwrap();
            two.read_exact(&mut [0]).await.unwrap();
        });
    });
}

/// N08.
#[test]
fn sockets_on_another_thread_are_refused_and_may_be_dropped_there() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (one, two) = pair().await;
            let elsewhere = thread::spawn(move || {
                let words = ["runtime on another thread", "into_std"];
                every_operation_is_refused(&one, &words);
                block_on(async { every_operation_is_refused(&one, &words) });
            });
            elsewhere.join().unwrap();
            assert_eq!(two.read(&mut [0]).await.unwrap(), 0, "closed by the drop over there");
            drop(two);
        });
        runtime.block_on(async { (yield_now().await, yield_now().await) });
        assert_eq!(runtime.metrics().sources_alive, 0, "and deregistered at home");
    });
}

/// N08.
#[test]
fn sockets_under_another_runtime_of_the_thread_are_refused() {
    watched(10, || {
        let (runtime, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        runtime.block_on(async {
            let (one, two) = pair().await;
            {
                let _other = other.enter();
                every_operation_is_refused(&one, &["another runtime of this thread", "block_on"]);
            }
            one.write_all(b"x").await.unwrap();
            two.read_exact(&mut [0]).await.unwrap();
        });
    });
}

/// D03, N08.
#[test]
fn a_join_under_another_runtime_panics_while_its_own_lives_and_is_cancelled_after() {
    guard(10).panics().run(|| {
        let (runtime, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let words = ["`JoinHandle`", "under another runtime", "block_on"];
        let mut task = runtime.spawn(async { 1 });
        says(&sentence(|| other.block_on(&mut task)), &words);
        says(&sentence(|| block_on(&mut task)), &words);
        says(&sentence(|| futures_lite::future::block_on(&mut task)), &words);
        let mut task = thread::spawn(move || {
            says(&sentence(|| block_on(&mut task)), &words);
            says(&sentence(|| task.is_finished()), &["is_finished", "another thread"]);
            task
        })
        .join()
        .unwrap();
        assert_eq!(runtime.block_on(&mut task).unwrap(), 1, "it is still whole");

        let (waits, outside) = (runtime.spawn(pending::<()>()), runtime.spawn(pending::<()>()));
        drop(runtime);
        assert!(other.block_on(waits).unwrap_err().is_cancelled());
        let mut outside = outside;
        match Pin::new(&mut outside).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => assert!(result.unwrap_err().is_cancelled()),
            Poll::Pending => panic!("its runtime has ended: nobody will ever wake this"),
        }
    });
}

#[test]
fn entering_a_runtime_allows_tasks_and_sockets_and_runs_nothing() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        let (task, listener, stream) = {
            let _current = runtime.enter();
            let plain = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = net::TcpStream::connect(plain.local_addr().unwrap()).unwrap();
            let task = spawn(async { task::id() });
            assert_eq!(task::try_id(), None);
            (
                task,
                AsyncTcpListener::try_from(plain).unwrap(),
                AsyncTcpStream::try_from(stream).unwrap(),
            )
        };
        says(&sentence(|| spawn(async {})), &["outside of a runtime"]);
        assert_eq!(runtime.metrics().polls, 0);
        runtime.block_on(async {
            let id = task.id();
            assert_eq!(task.await.unwrap(), id);
            let (peer, _) = listener.accept().await.unwrap();
            peer.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
        });
    });
}

#[test]
fn guards_nest_and_give_back_what_was_current() {
    watched(10, || {
        let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let outer = first.enter();
        {
            let _inner = second.enter();
            drop(spawn(pending::<()>()));
        }
        drop(spawn(pending::<()>()));
        drop(spawn(pending::<()>()));
        drop(outer);
        assert_eq!((first.metrics().tasks_alive, second.metrics().tasks_alive), (2, 1));
    });
}

/// What the error types say, plainly and to the programmer, and as `io::Error`.
#[test]
fn errors_speak_in_sentences() {
    guard(10).panics().run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let aborted = spawn(pending::<()>());
            aborted.abort();
            let cancelled = aborted.await.unwrap_err();
            assert_eq!(cancelled.to_string(), "task 1 was cancelled");
            says(&format!("{cancelled:?}"), &["JoinError::Cancelled", "1"]);
            says(&sentence(|| cancelled.into_panic()), &["task 1 was cancelled", "is_panic"]);

            let panicked = spawn(async { panic!("out of {}", "tea") }).await.unwrap_err();
            assert_eq!(panicked.to_string(), "task 2 panicked: out of tea");
            says(&format!("{panicked:?}"), &["JoinError::Panic", "out of tea"]);
            let error = io::Error::from(panicked);
            assert_eq!(error.kind(), io::ErrorKind::Other);
            assert_eq!(error.to_string(), "task 2 panicked: out of tea");
            assert!(error.get_ref().unwrap().is::<waken::JoinError>());

            let odd = spawn(async { std::panic::panic_any(5) }).await.unwrap_err();
            assert_eq!(odd.to_string(), "task 3 panicked");
            assert_eq!(*odd.try_into_panic().unwrap().downcast::<i32>().unwrap(), 5);

            let elapsed = timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
            says(&elapsed.to_string(), &["time was up"]);
            assert_eq!(format!("{elapsed:?}"), "Elapsed(())");
            let error = io::Error::from(elapsed);
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            says(&error.to_string(), &["time was up"]);
        });
        let remote = runtime.remote();
        drop(runtime);
        let gone = remote.spawn(|| async {}).map(drop).unwrap_err();
        says(&gone.to_string(), &["the runtime has ended"]);
        says(&format!("{gone:?}"), &["RemoteError"]);
        fn is_an_error<E: Error + Send + Sync + 'static>(_: &E) {}
        is_an_error(&gone);
    });
}
