//! What the runtime costs in memory: nothing per round trip, little per task and connection, and nothing that stays.
mod support;

use futures_lite::future::poll_once;
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::net::TcpStream;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use support::heap::{Heap, allocations, live};
use support::{guard, watched};
use waken::task::yield_now;
use waken::time::{sleep, timeout, timeout_at};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinHandle, Runtime, block_on, spawn};

// ---- steps that allocate nothing --------------------------------------------------------------

async fn connected() -> (AsyncTcpStream, AsyncTcpStream) {
    let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn echo(stream: AsyncTcpStream) {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => return,
            n => stream.write_all(&buf[..n]).await.unwrap(),
        }
    }
}

#[test]
fn a_round_trip_allocates_nothing() {
    watched(60, || {
        block_on(async {
            let (client, server) = connected().await;
            spawn(echo(server));
            let client = spawn(async move {
                let mut before = 0;
                for round in 0..1_100 {
                    if round == 100 {
                        before = allocations();
                    }
                    client.write_all(b"ping").await.unwrap();
                    client.read_exact(&mut [0; 4]).await.unwrap();
                }
                allocations() - before
            });
            assert_eq!(client.await.unwrap(), 0, "in 1,000 round trips");
        });
    });
}

/// X07: where memory may be out, nothing asks for any.
#[test]
fn waking_yielding_and_dropping_a_stream_allocate_nothing() {
    watched(60, || {
        block_on(async {
            let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
            let theirs = waker.clone();
            spawn(poll_fn(move |cx| {
                *theirs.borrow_mut() = Some(cx.waker().clone());
                Poll::<()>::Pending
            }));
            let (client, server) = connected().await;
            // The list of a turn has to be there.
            for _ in 0..3 {
                if let Some(waker) = &*waker.borrow() {
                    waker.wake_by_ref();
                }
                yield_now().await;
            }
            let before = allocations();
            for _ in 0..1_000 {
                waker.borrow().as_ref().unwrap().wake_by_ref();
                yield_now().await;
            }
            assert_eq!(allocations() - before, 0, "1,000 wakes and yields");
            drop((client, server));
            assert_eq!(allocations() - before, 0, "dropping two streams");
        });
    });
}

#[test]
fn who_wakes_ten_thousand_tasks_again_and_again_allocates_for_the_first_times_only() {
    guard(60).cpu_ms(2_000).run(|| {
        block_on(async {
            let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
            for _ in 0..10_000 {
                let mut wakers = Some(wakers.clone());
                drop(spawn(poll_fn(move |cx| {
                    if let Some(wakers) = wakers.take() {
                        wakers.borrow_mut().push(cx.waker().clone());
                    }
                    Poll::<()>::Pending
                })));
            }
            let mut before = 0;
            for round in 0..100 {
                if round == 3 {
                    before = allocations();
                }
                wakers.borrow().iter().for_each(Waker::wake_by_ref);
                yield_now().await;
            }
            assert_eq!(wakers.borrow().len(), 10_000);
            assert_eq!(allocations() - before, 0, "97 rounds");
        });
    });
}

#[test]
fn a_million_sleeps_and_timeouts_that_are_given_up_allocate_nothing() {
    guard(60).cpu_ms(3_000).run(|| {
        block_on(async {
            let hour = Duration::from_secs(3600);
            let mut before = 0;
            for round in 0..500_100 {
                if round == 100 {
                    before = allocations();
                }
                assert!(poll_once(sleep(hour)).await.is_none());
                assert!(poll_once(timeout(hour, pending::<()>())).await.is_none());
            }
            assert_eq!(allocations() - before, 0, "a million timers");
        });
    });
}

/// Each is earlier than the one before it, or much later, so each is entered anew, and the entries are swept from time to time.
#[test]
fn timeouts_of_several_lengths_that_are_given_up_in_turn_allocate_nothing() {
    guard(60).cpu_ms(3_000).run(|| {
        block_on(async {
            let (mut before, at) = (0, Instant::now() + Duration::from_secs(1800));
            for round in 0..100_100 {
                if round == 100 {
                    before = allocations();
                }
                for seconds in [3600, 60, 1] {
                    let length = Duration::from_secs(seconds);
                    assert!(poll_once(timeout(length, pending::<()>())).await.is_none());
                }
                assert!(poll_once(timeout_at(at, pending::<()>())).await.is_none());
            }
            assert_eq!(allocations() - before, 0, "400,000 timers");
        });
    });
}

/// N10. And each has its own output, and drops its own future.
#[test]
fn of_tasks_of_one_type_that_are_awaited_one_after_the_other_only_the_first_allocates() {
    watched(60, || {
        block_on(async {
            let (held, mut before) = (Rc::new(()), 0);
            for round in 0..1_010u64 {
                if round == 10 {
                    before = allocations();
                }
                let mine = held.clone();
                let task =
                    spawn(async move { (yield_now().await, round, Rc::strong_count(&mine)).1 });
                assert_eq!((task.await.unwrap(), Rc::strong_count(&held)), (round, 1));
            }
            assert_eq!(allocations() - before, 0, "for 1,000 tasks");
        });
    });
}

/// X01, N10: what is larger is given back, be it the future that is large or its output.
#[test]
fn what_a_task_was_in_is_kept_when_it_is_awaited_up_to_512_bytes() {
    watched(60, || {
        block_on(async {
            spawn(async {}).await.unwrap();
            let before = live();
            let large = [1u8; 600];
            assert_eq!(spawn(async move { (yield_now().await, large[9]).1 }).await.unwrap(), 1);
            assert_eq!(spawn(async { [2u8; 600] }).await.unwrap()[9], 2);
            assert_eq!(live(), before, "of large ones nothing stays");
            assert_eq!(spawn(async { [3u8; 400] }).await.unwrap()[9], 3);
            assert!((390..=512).contains(&(live() - before)), "{} bytes stay", live() - before);
        });
    });
}

/// T05, T06: it panics, is aborted, and is dropped with its runtime like any other.
#[test]
fn a_task_in_the_memory_of_another_ends_as_that_might_have() {
    async fn act(act: u8, held: Rc<()>) -> usize {
        match act {
            0 => Rc::strong_count(&held),
            1 => panic!("as it should"),
            _ => pending().await,
        }
    }
    guard(60).panics().run(|| {
        let held = Rc::new(());
        block_on(async {
            for _ in 0..3 {
                assert_eq!(spawn(act(0, held.clone())).await.unwrap(), 2);
                assert!(spawn(act(1, held.clone())).await.unwrap_err().is_panic());
                assert_eq!(spawn(act(0, held.clone())).await.unwrap(), 2);
                let aborted = spawn(act(2, held.clone()));
                aborted.abort();
                assert!(aborted.await.unwrap_err().is_cancelled());
                assert_eq!(Rc::strong_count(&held), 1);
            }
            assert_eq!(spawn(act(0, held.clone())).await.unwrap(), 2);
            drop(spawn(act(2, held.clone())));
        });
        assert_eq!(Rc::strong_count(&held), 1);
    });
}

/// N10.
#[test]
fn of_tasks_of_two_types_that_are_awaited_in_turn_each_allocates_once() {
    watched(60, || {
        block_on(async {
            let mut before = 0;
            for round in 0..1_010u64 {
                if round == 10 {
                    before = allocations();
                }
                assert_eq!(spawn(async move { round }).await.unwrap(), round);
                // Nor does one that would abort ask for more when it is dropped, and was joined.
                let mut task = spawn(async move { round }).abort_on_drop();
                assert_eq!((&mut task).await.unwrap(), round);
            }
            assert_eq!(allocations() - before, 2_000, "for 2,000 tasks");
        });
    });
}

// ---- what there is costs little ---------------------------------------------------------------

/// Nor where the queue is as full as can be.
#[test]
fn a_wake_that_changes_nothing_allocates_nothing() {
    watched(60, || {
        block_on(async {
            let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
            let keeps = |_| {
                let wakers = wakers.clone();
                drop(spawn(poll_fn(move |cx| {
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::<()>::Pending
                })));
            };
            let ended = spawn(poll_fn(|cx| Poll::Ready(cx.waker().clone()))).await.unwrap();
            // Few at a time, so that the queue has room for few of them.
            for _ in 0..10 {
                (0..30).for_each(keeps);
                yield_now().await;
            }
            for waker in wakers.take() {
                waker.wake_by_ref();
                let before = allocations();
                waker.wake_by_ref();
                ended.wake_by_ref();
                assert_eq!(allocations(), before);
            }
        });
    });
}

/// N10: each is still in the queue when it ends, and is there no more when that has come to it.
#[test]
fn of_tasks_that_wake_themselves_and_end_a_hundred_thousand_take_the_places_of_a_few() {
    guard(60).run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let ends = || {
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Ready(())
                })
            };
            let mut before = 0;
            for round in 0..10_100 {
                if round == 100 {
                    before = live();
                }
                (0..9).for_each(|_| drop(spawn(ends())));
                spawn(ends()).await.unwrap();
            }
            assert_eq!(live() - before, 0, "bytes stay of 100,000 tasks");
        });
    });
}

#[test]
fn a_pending_task_costs_at_most_100_bytes() {
    watched(60, || {
        const TASKS: i64 = 100_000;
        let runtime = Runtime::new().unwrap();
        let before = live();
        for _ in 0..TASKS {
            drop(runtime.spawn(pending::<()>()));
        }
        runtime.block_on(yield_now());
        let each = (live() - before) / TASKS;
        assert_eq!(runtime.metrics().polls, TASKS as u64);
        println!("a pending task: {each} bytes");
        assert!(each <= 100, "a pending task costs {each} bytes");
    });
}

/// N10: the figures that stand in `runtime/lib.rs`. As many as fill tables whose room doubles.
#[test]
fn a_task_costs_what_the_documentation_says() {
    const TASKS: i64 = 1 << 16;
    let each = |spawn: fn(&Runtime)| {
        let runtime = Runtime::new().unwrap();
        drop(runtime.spawn(pending::<()>())); // It lives on.
        let before = live();
        for _ in 1..TASKS {
            spawn(&runtime);
        }
        runtime.block_on(async { (yield_now().await, yield_now().await) });
        ((live() - before).unsigned_abs().div_ceil(TASKS as u64), runtime.metrics().tasks_alive)
    };
    guard(60).cpu_ms(1_000).run(|| {
        // A future of no size, and the byte that says whether it has ended.
        assert_eq!(each(|runtime| drop(runtime.spawn(pending::<()>()))), (64 + 1, TASKS as u64));
        assert_eq!(each(|runtime| drop(runtime.spawn(yield_now()))), (64, 1), "after a burst");
    });
}

/// N10, X03: also where the tables have just grown, and have much room to spare.
#[test]
fn an_idle_connection_costs_at_most_300_bytes_beyond_its_buffer() {
    guard(60).cpu_ms(1_000).run(|| {
        for (connections, most) in [(1_000, 300), (5_000, 400)] {
            let each = cost_of_an_idle_connection(connections);
            println!("one of {connections} idle connections: 4096 + {each} bytes");
            assert!(each <= most, "one of {connections} costs {each} bytes beyond its buffer");
        }
    });
}

fn cost_of_an_idle_connection(connections: i64) -> i64 {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::with_capacity(connections as usize);
        let before = live();
        for _ in 0..connections {
            clients.push(TcpStream::connect(address).unwrap());
            drop(spawn(echo(listener.accept().await.unwrap().0)));
        }
        sleep(Duration::from_millis(10)).await;
        assert_eq!(runtime.metrics().tasks_alive, connections as u64);
        (live() - before) / connections - 4096
    })
}

// ---- and nothing stays ------------------------------------------------------------------------

/// Runs `burst` on a runtime, lets it be idle for a moment, and says how much more it holds than before.
fn left_after<F: Future>(burst: impl Fn() -> F) -> i64 {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async { drop(spawn(sleep(Duration::from_millis(1))).await) });
    let before = live();
    runtime.block_on(async {
        burst().await;
        sleep(Duration::from_millis(5)).await;
        sleep(Duration::from_millis(5)).await;
    });
    let metrics = runtime.metrics();
    assert_eq!((metrics.tasks_alive, metrics.timers_alive, metrics.sources_alive), (0, 0, 0));
    live() - before
}

const KEPT: i64 = 64 * 1024;

/// X01.
#[test]
fn fifty_thousand_tasks_leave_nothing_when_they_have_ended() {
    watched(60, || {
        let left = left_after(|| async {
            for _ in 0..50_000 {
                drop(spawn(yield_now()));
            }
            sleep(Duration::from_millis(1)).await;
        });
        assert!(left <= KEPT, "{left} bytes stay");
    });
}

/// X01.
/// In a foreign loop there may be no turn after the one in which the last of them ends.
#[test]
fn of_fifty_thousand_tasks_that_end_while_they_are_woken_an_idle_runtime_keeps_no_place() {
    guard(60).run(|| {
        let runtime = Runtime::new().unwrap();
        let before = live();
        for _ in 0..50_000 {
            drop(runtime.spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            })));
        }
        let next = runtime.turn(Some(Duration::ZERO)).unwrap();
        assert!(matches!(next, waken::runtime::Next::Idle), "{next:?}");
        // But what the queue has, 8 bytes for each, until the next turn.
        assert!(live() - before < 50_000 * 24, "{} bytes", live() - before);
    });
}

#[test]
fn fifty_thousand_timers_leave_nothing_when_they_have_fired() {
    watched(60, || {
        let left = left_after(|| async {
            let tasks: Vec<_> =
                (0..50_000).map(|_| spawn(sleep(Duration::from_millis(500)))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert!(left <= KEPT, "{left} bytes stay");
    });
}

/// X01.
#[test]
fn fifty_thousand_timers_leave_nothing_when_they_were_cancelled() {
    watched(60, || {
        let left = left_after(|| async {
            let mut sleeps = Vec::new();
            for _ in 0..50_000 {
                let mut sleep = sleep(Duration::from_secs(3600));
                assert!(poll_once(&mut sleep).await.is_none());
                sleeps.push(sleep);
            }
        });
        assert!(left <= KEPT, "{left} bytes stay");
    });
}

/// X01.
#[test]
fn a_thousand_connections_leave_nothing_when_they_are_closed() {
    watched(60, || {
        let left = left_after(|| async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut clients = Vec::new();
            for _ in 0..1_000 {
                clients.push(TcpStream::connect(address).unwrap());
                drop(spawn(echo(listener.accept().await.unwrap().0)));
            }
            drop(clients);
            sleep(Duration::from_millis(100)).await;
        });
        assert!(left <= KEPT, "{left} bytes stay");
    });
}

/// X01: the documented cost of the highest water.
#[test]
fn beside_a_task_that_lives_on_the_room_of_a_burst_is_kept_once() {
    watched(60, || {
        const TASKS: i64 = 50_000;
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            // As an accept loop does: it is there before, during and after the burst.
            drop(spawn(pending::<()>()));
            sleep(Duration::from_millis(1)).await;
            let before = live();
            let mut left = [0; 3];
            for left in &mut left {
                for _ in 0..TASKS {
                    drop(spawn(yield_now()));
                }
                sleep(Duration::from_millis(5)).await;
                sleep(Duration::from_millis(5)).await;
                *left = live() - before;
            }
            assert_eq!(runtime.metrics().tasks_alive, 1);
            println!("kept after bursts of {TASKS} beside a living task: {left:?} bytes");
            assert!(left[0] / TASKS <= 90, "{left:?} bytes");
            assert!(left[2] <= left[0], "{left:?} bytes");
        });
    });
}

/// Its queue is never empty.
#[test]
fn beside_a_task_that_yields_for_ever_the_queue_gives_back_the_room_of_a_burst() {
    guard(60).cpu_ms(4_000).run(|| {
        const TASKS: i64 = 50_000;
        block_on(async {
            drop(spawn(async {
                loop {
                    yield_now().await;
                }
            }));
            let before = live();
            for _ in 0..TASKS {
                drop(spawn(yield_now()));
            }
            for _ in 0..1_000 {
                yield_now().await;
            }
            let left = (live() - before) / TASKS;
            println!("kept after a burst of {TASKS} beside a task that yields: {left} bytes each");
            assert!(left <= 90, "{left} bytes each");
        });
    });
}

/// T14.
#[test]
fn a_leaked_waker_keeps_nothing_of_a_task_that_has_ended() {
    watched(60, || {
        let runtime = Runtime::new().unwrap();
        let mut wakers = Vec::with_capacity(1_000);
        let before = live();
        runtime.block_on(async {
            for _ in 0..1_000 {
                let heavy = [1u8; 1024];
                wakers.push(
                    spawn(async move {
                        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                        yield_now().await;
                        assert_eq!(heavy.len(), 1024);
                        waker
                    })
                    .await
                    .unwrap(),
                );
            }
        });
        let held = live() - before;
        assert!(held < 16 * 1024, "{held} bytes for 1,000 wakers");
        runtime.block_on(async { wakers.iter().for_each(Waker::wake_by_ref) });
        drop(runtime);
        wakers.iter().for_each(Waker::wake_by_ref);
    });
}

/// T14, N10: 100,000 tasks at once, each with a future of a kilobyte, and a waker of each that is leaked.
#[test]
fn of_tasks_that_have_ended_nothing_stays_though_each_has_leaked_a_waker() {
    guard(60).cpu_ms(1_000).run(|| {
        const TASKS: i64 = 100_000;
        let runtime = Runtime::new().unwrap();
        let spawn_all = |handles: &mut Vec<JoinHandle<u64>>| {
            for n in 0..TASKS as u64 {
                let heavy = [1u8; 1024];
                handles.push(runtime.spawn(async move {
                    std::mem::forget(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
                    n + heavy.len() as u64
                }));
            }
        };
        let mut handles = Vec::with_capacity(TASKS as usize);
        let before = live();
        spawn_all(&mut handles);
        let during = (live() - before) / TASKS;
        assert!(during > 1024, "{during} bytes while the futures are there");
        runtime.block_on(yield_now());
        assert!(handles.iter().all(JoinHandle::is_finished));
        // Until it is joined, an output lies where the future was: that room, and no more.
        let unjoined = (live() - before) / TASKS;
        assert!(unjoined <= during, "{unjoined} bytes of each are kept for an output");
        handles.clear();
        let left = live() - before;
        println!(
            "a task: {during} bytes, {unjoined} when it has ended; when the handles are dropped, {left} of all"
        );
        assert!(left <= KEPT, "{left} bytes stay of {TASKS} tasks");
    });
}

/// D04.
#[test]
fn five_thousand_runtimes_one_after_the_other_leave_nothing() {
    watched(60, || {
        let cycle = || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                drop(spawn(pending::<()>()));
                drop(spawn(sleep(Duration::from_secs(60))));
                let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
                drop(spawn(async move { listener.accept().await.map(drop) }));
                yield_now().await;
            });
        };
        (0..10).for_each(|_| cycle());
        let before = live();
        (0..5_000).for_each(|_| cycle());
        let left = live() - before;
        assert!(left <= 4096, "{left} bytes stay");
    });
}

/// D04, R05: a thread's room for those who stand aside has no destructor, so the last runtime has to empty it.
#[test]
fn a_thread_that_waited_to_write_leaves_nothing_when_its_runtime_has_ended() {
    watched(10, || {
        std::thread::spawn(|| {
            block_on(async {}); // What a thread gets once, and keeps.
            let before = live();
            // Whoever connects waits until the socket can be written to.
            block_on(async { drop(connected().await) });
            assert_eq!(live() - before, 0, "bytes are kept");
        })
        .join()
        .unwrap();
    });
}

/// X05: what other threads want of a runtime that does not run is kept once a task, however often they want it.
#[test]
fn a_million_wakes_of_ten_tasks_from_elsewhere_cost_the_room_of_ten() {
    guard(60).cpu_ms(1_000).run(|| {
        let runtime = Runtime::new().unwrap();
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        for _ in 0..10 {
            let wakers = wakers.clone();
            drop(runtime.spawn(poll_fn(move |cx| {
                wakers.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            })));
        }
        runtime.block_on(yield_now());
        let wakers = wakers.take();
        assert_eq!(wakers.len(), 10);
        let polls = runtime.metrics().polls;
        // The letters are written, and paid for, on the thread that wakes.
        let held = std::thread::spawn(move || {
            let before = live();
            for _ in 0..100_000 {
                wakers.iter().for_each(Waker::wake_by_ref);
            }
            live() - before
        });
        let held = held.join().unwrap();
        assert!(held <= 4096, "{held} bytes for a million wakes of ten tasks");
        runtime.block_on(async {
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(runtime.metrics().polls - polls, 10);
    });
}

/// D04: what a thread has got for its first runtime goes with the thread, and not only with the next runtime.
#[test]
fn threads_that_have_had_a_runtime_leave_nothing() {
    watched(60, || {
        let on_a_thread = || {
            let one = || block_on(async { drop(connected().await) });
            std::thread::spawn(one).join().unwrap();
        };
        on_a_thread();
        let before = Heap::now();
        (0..20).for_each(|_| on_a_thread());
        let after = Heap::now();
        assert_eq!(after.bytes, before.bytes, "{}", after.more_than(&before));
    });
}
