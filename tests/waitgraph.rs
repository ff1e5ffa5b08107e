//! The wait graph: the runtime says of every task what it waits for, and where in the program.
mod support;

use futures_lite::AsyncReadExt;
use futures_lite::future::{or, poll_once};
use std::future::pending;
use std::os::fd::AsRawFd;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;
use support::watched;
use waken::io::Interest;
use waken::net::TcpSocket;
use waken::task::{self, Builder, Id, State, TaskInfo, Wait, WaitOn, yield_now};
use waken::time::{interval, sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Runtime, spawn};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs `test` as the root of `runtime`, which it can ask meanwhile.
fn on<F: Future>(runtime: &Runtime, test: F) -> F::Output {
    runtime.block_on(test)
}

/// Lets every task run until it waits.
async fn settled() {
    sleep(Duration::from_millis(10)).await;
}

async fn connected() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

fn info(runtime: &Runtime, id: Id) -> TaskInfo {
    runtime.tasks().into_iter().find(|task| task.id == id).expect("the task is in the list")
}

/// What a task waits for, without the places.
fn waits(runtime: &Runtime, id: Id) -> Vec<WaitOn> {
    let task = info(runtime, id);
    assert_eq!(task.state, State::Waiting);
    task.waits_for.iter().map(|wait| wait.on).collect()
}

fn line(at: Option<&'static Location<'static>>) -> u32 {
    let at = at.expect("the place is known");
    assert_eq!(at.file(), file!());
    at.line()
}

/// With `#` for every number of seconds.
fn timeless(sentence: &str) -> String {
    let words: Vec<&str> = sentence.split(' ').collect();
    let timeless = (0..words.len()).map(|n| match words.get(n + 1) {
        Some(&"s") if words[n].parse::<f64>().is_ok() => "#",
        _ => words[n],
    });
    timeless.collect::<Vec<_>>().join(" ")
}

// ---- what there is to wait for ----------------------------------------------------------------

#[test]
fn reading_and_accepting_are_a_wait_for_readable_at_their_line() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (client, server) = connected().await;
            let (fd, mut buf) = (client.as_raw_fd(), [0; 8]);
            let (spawned, read) = (line!() + 1, line!() + 2);
            let reader = spawn(async move {
                let _ = client.read(&mut buf).await;
            });
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let (listening, accepted) = (listener.as_raw_fd(), line!() + 2);
            let acceptor = spawn(async move {
                let _ = listener.accept().await;
            });
            settled().await;

            let task = info(&runtime, reader.id());
            assert_eq!((task.spawned_at.file(), task.spawned_at.line()), (file!(), spawned));
            assert!(task.future.contains("waitgraph"), "{}", task.future);
            let [Wait { on, at, .. }] = task.waits_for[..] else { panic!("{task}") };
            assert_eq!((on, line(at)), (WaitOn::Readable(fd), read));
            let sentence = format!(
                "task {} ({}:{spawned}) waits # s for fd {fd} readable ({}:{read})",
                reader.id(),
                file!(),
                file!()
            );
            assert_eq!(timeless(&task.to_string()), sentence);

            let task = info(&runtime, acceptor.id());
            let [Wait { on, at, .. }] = task.waits_for[..] else { panic!("{task}") };
            assert_eq!((on, line(at)), (WaitOn::Readable(listening), accepted));
            drop(server);
        });
    });
}

/// A reader's place keeps one line, and it is the last.
#[test]
fn the_next_wait_for_the_same_descriptor_is_shown_at_its_own_line() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (client, server) = connected().await;
            let fd = client.as_raw_fd();
            let mut buf = [0];
            let (first, second) = (line!() + 2, line!() + 3);
            let reader = spawn(async move {
                let _ = client.read(&mut buf).await;
                let _ = client.read(&mut buf).await;
            });
            for expected in [first, second] {
                settled().await;
                let task = info(&runtime, reader.id());
                let [Wait { on, at, .. }] = task.waits_for[..] else { panic!("{task}") };
                assert_eq!((on, line(at)), (WaitOn::Readable(fd), expected));
                server.write_all(b"x").await.unwrap();
            }
            reader.await.unwrap();
        });
    });
}

#[test]
fn writing_and_connecting_are_a_wait_for_writable_at_their_line() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (client, _server) = connected().await;
            let (fd, wrote) = (client.as_raw_fd(), line!() + 2);
            let writer = spawn(async move {
                let _ = client.write_all(&vec![0; 64 << 20]).await;
            });
            settled().await;
            let task = info(&runtime, writer.id());
            let [Wait { on, at, .. }] = task.waits_for[..] else { panic!("{task}") };
            assert_eq!((on, line(at)), (WaitOn::Writable(fd), wrote));
            assert!(
                timeless(&task.to_string()).contains(&format!("waits # s for fd {fd} writable ("))
            );

            // A listener whose queue is full lets the others wait.
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            let (connecting, connect) = (line!() + 1, move || async move {
                let _stream = AsyncTcpStream::connect(address).await;
                pending::<()>().await
            });
            let ids: Vec<Id> = (0..4).map(|_| spawn(connect()).id()).collect();
            settled().await;
            let task = info(&runtime, ids[3]);
            let [Wait { on: WaitOn::Writable(_), at, .. }] = task.waits_for[..] else {
                panic!("{task}")
            };
            assert_eq!(line(at), connecting);
        });
    });
}

#[test]
fn sleeping_joining_and_the_unknown_are_waits_as_well() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let sleep = sleep(MINUTE);
            let (slept, deadline) = (line!() - 1, sleep.deadline().unwrap());
            let sleeper = spawn(sleep);
            let id = sleeper.id();
            let joiner = spawn(sleeper);
            let other = spawn(pending::<()>());
            settled().await;

            let task = info(&runtime, id);
            let [Wait { on, at, .. }] = task.waits_for[..] else { panic!("{task}") };
            assert_eq!((on, line(at)), (WaitOn::Until(deadline), slept));
            let sentence = timeless(&task.to_string());
            assert!(sentence.ends_with(&format!("for a timer in # s ({}:{slept})", file!())));

            let task = info(&runtime, joiner.id());
            let [Wait { on, at: None, .. }] = task.waits_for[..] else { panic!("{task}") };
            assert_eq!(on, WaitOn::Task(id));
            assert!(task.to_string().ends_with(&format!("s for task {id} to end")), "{task}");

            let task = info(&runtime, other.id());
            let [Wait { on: WaitOn::Other, at: None, .. }] = task.waits_for[..] else {
                panic!("{task}")
            };
            assert!(
                task.to_string().ends_with("s for something outside of this runtime"),
                "{task}"
            );
        });
    });
}

#[test]
fn a_task_that_waits_for_several_things_shows_all_of_them() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (client, _server) = connected().await;
            let (fd, mut buf) = (client.as_raw_fd(), [0; 8]);
            let limited = spawn(async move {
                let _ = timeout(MINUTE, client.read(&mut buf)).await;
            });
            let joined = spawn(pending::<()>());
            let member = joined.id();
            let either = spawn(or(sleep(MINUTE), async { drop(joined.await) }));
            settled().await;
            assert!(
                matches!(waits(&runtime, limited.id())[..], [WaitOn::Readable(on), WaitOn::Until(_)] if on == fd)
            );
            let task = info(&runtime, limited.id());
            assert!(task.waits_for.iter().all(|wait| line(wait.at) == task.spawned_at.line() + 1));
            let place = format!("({}:{})", file!(), task.spawned_at.line() + 1);
            let both = format!("for fd {fd} readable {place} or a timer in # s {place}");
            assert!(timeless(&task.to_string()).ends_with(&both), "{task}");

            let either = waits(&runtime, either.id());
            assert!(either.iter().any(|on| matches!(on, WaitOn::Until(_))), "{either:?}");
            assert!(either.contains(&WaitOn::Task(member)), "{either:?}");
        });
    });
}

#[test]
fn a_task_that_waits_for_a_group_waits_for_its_members() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let mut set = JoinSet::new();
            let members = [(); 2].map(|()| set.spawn(pending::<()>()).id());
            let joiner = spawn(async move { drop(set.join_next().await) });
            settled().await;
            let waits = waits(&runtime, joiner.id());
            let known = waits.iter().all(|on| members.map(WaitOn::Task).contains(on));
            assert!(known && !waits.is_empty(), "{waits:?}, and the members are {members:?}");
        });
    });
}

#[test]
fn two_tasks_may_wait_on_one_stream_in_one_direction_or_in_both() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (client, _server) = connected().await;
            let (fd, client) = (client.as_raw_fd(), Rc::new(client));
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let client = client.clone();
                    spawn(async move { client.read(&mut [0; 8]).await })
                })
                .collect();
            let writer = client.clone();
            let writer = spawn(async move { writer.write_all(&vec![0; 64 << 20]).await });
            settled().await;
            for reader in &readers {
                assert_eq!(waits(&runtime, reader.id()), [WaitOn::Readable(fd)]);
            }
            assert_eq!(waits(&runtime, writer.id()), [WaitOn::Writable(fd)]);

            let ready = client.clone();
            let both = Interest::READABLE | Interest::WRITABLE;
            let both = spawn(async move { ready.ready(both).await });
            settled().await;
            assert_eq!(waits(&runtime, both.id()), [WaitOn::Readable(fd), WaitOn::Writable(fd)]);
        });
    });
}

#[test]
fn a_tick_is_waited_for_where_it_is_asked_for() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let mut ticks = interval(MINUTE);
            ticks.tick().await;
            let (ticked, waiting) = (line!() + 1, async move {
                ticks.tick().await;
            });
            let task = spawn(waiting);
            settled().await;
            let task = info(&runtime, task.id());
            let [Wait { on: WaitOn::Until(_), at, .. }] = task.waits_for[..] else {
                panic!("{task}")
            };
            assert_eq!(line(at), ticked, "{task}");
        });
    });
}

#[test]
fn through_the_poll_traits_the_place_is_not_known() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (mut client, _server) = connected().await;
            let fd = client.as_raw_fd();
            let reader = spawn(async move { AsyncReadExt::read(&mut client, &mut [0; 8]).await });
            settled().await;
            let task = info(&runtime, reader.id());
            let [Wait { on, at: None, .. }] = task.waits_for[..] else { panic!("{task}") };
            assert_eq!(on, WaitOn::Readable(fd));
            assert!(task.to_string().ends_with(&format!("s for fd {fd} readable")), "{task}");
        });
    });
}

// ---- and what is no longer waited for ---------------------------------------------------------

#[test]
fn a_wait_vanishes_with_its_future() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let (client, server) = connected().await;
            let (client, server) = (Rc::new(client), Rc::new(server));
            let (reader, other) = (client.clone(), spawn(pending::<()>()));
            let task = spawn(async move {
                yield_now().await;
                assert!(poll_once(reader.read(&mut [0; 8])).await.is_none());
                assert!(poll_once(reader.readable()).await.is_none());
                assert!(poll_once(sleep(MINUTE)).await.is_none());
                assert!(poll_once(timeout(MINUTE, pending::<()>())).await.is_none());
                assert!(poll_once(reader.ready(Interest::READABLE)).await.is_none());
                let mut other = other;
                assert!(poll_once(&mut other).await.is_none());
                drop(other);
                pending::<()>().await;
            });
            settled().await;
            assert_eq!(waits(&runtime, task.id()), [WaitOn::Other]);

            // What has happened is not waited for either.
            let (reader, before) = (server.clone(), runtime.metrics().timers_alive);
            let task = spawn(async move { drop(timeout(MINUTE, reader.read(&mut [0; 8])).await) });
            settled().await;
            assert_eq!(waits(&runtime, task.id()).len(), 2);
            client.write_all(b"x").await.unwrap();
            let id = task.id();
            task.await.unwrap();
            assert!(runtime.tasks().iter().all(|task| task.id != id));
            assert_eq!(runtime.metrics().timers_alive, before);
        });
    });
}

#[test]
fn a_task_that_has_ended_or_was_aborted_is_not_in_the_list() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let ended = spawn(async {});
            let aborted = spawn(pending::<()>());
            settled().await;
            assert_eq!(runtime.tasks().len(), 1, "the root is none, and one has ended");
            aborted.abort();
            assert_eq!(info(&runtime, aborted.id()).state, State::Runnable);
            yield_now().await;
            assert_eq!(runtime.tasks().len(), 0);
            assert!(ended.is_finished() && aborted.is_finished());
        });
    });
}

// ---- the tasks themselves ---------------------------------------------------------------------

#[test]
fn a_task_is_running_runnable_or_waiting_and_its_sentence_says_so() {
    watched(20, || {
        let runtime = Rc::new(Runtime::new().unwrap());
        let weak = Rc::downgrade(&runtime);
        on(&runtime, async {
            let asking = spawn(async move {
                let runtime = weak.upgrade().unwrap();
                let tasks = runtime.tasks();
                let me = info(&runtime, task::id());
                assert_eq!((me.state, me.waits_for.len()), (State::Running, 0));
                assert!(me.to_string().ends_with(") is running"), "{me}");
                tasks.len()
            });
            let line = line!() + 1;
            let fresh = spawn(pending::<()>());
            let task = info(&runtime, fresh.id());
            assert_eq!((task.state, task.polls, task.waits_for.len()), (State::Runnable, 0, 0));
            let sentence = format!("task {} ({}:{line}) is ready to run", fresh.id(), file!());
            assert_eq!(task.to_string(), sentence);
            assert_eq!(asking.await.unwrap(), 2);
            settled().await;
            assert_eq!(info(&runtime, fresh.id()).state, State::Waiting);
        });
    });
}

#[test]
fn names_polls_and_idle_times_are_told_in_the_order_of_the_ids() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            for n in 0..3 {
                Builder::new().name(format!("worker {n}")).spawn(async move {
                    for _ in 0..n {
                        yield_now().await;
                    }
                    pending::<()>().await
                });
            }
            Builder::new().name("static").spawn(pending::<()>());
            spawn(pending::<()>());
            settled().await;
            std::thread::sleep(Duration::from_millis(100));
            let tasks = runtime.tasks();
            assert!(tasks.is_sorted_by_key(|task| task.id));
            let names: Vec<_> = tasks.iter().map(|task| task.name.as_deref()).collect();
            let expected =
                [Some("worker 0"), Some("worker 1"), Some("worker 2"), Some("static"), None];
            assert_eq!(names, expected);
            assert!(tasks[0].to_string().starts_with("task 1 `worker 0` (tests/waitgraph.rs:"));
            assert!(tasks[4].to_string().starts_with("task 5 (tests/waitgraph.rs:"));
            let polls: Vec<u64> = tasks.iter().map(|task| task.polls).collect();
            assert_eq!(polls, [1, 2, 3, 1, 1]);
            let idle = Duration::from_millis(90)..Duration::from_secs(5);
            assert!(tasks.iter().all(|task| idle.contains(&task.idle)), "{tasks:?}");
        });
    });
}
