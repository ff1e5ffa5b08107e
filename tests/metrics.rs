//! The metrics: each counts what its sentence says, and what is alive falls at once.
mod support;

use futures_lite::future::poll_once;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::mem::{replace, take};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use support::watched;
use waken::runtime::{Metrics, metrics};
use waken::task::{AbortHandle, consume_budget, yield_now};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, AsyncTcpStream, Builder, JoinSet, Runtime, spawn};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `test` as the root of `runtime`, which it can ask meanwhile.
fn on<F: Future>(runtime: &Runtime, test: F) -> F::Output {
    runtime.block_on(test)
}

#[test]
fn a_new_runtime_has_done_nothing_but_register_its_eventfd_and_its_alarm() {
    watched(20, || {
        let Metrics { epoll_ctls, polls, turns, epoll_waits, .. } =
            Runtime::new().unwrap().metrics();
        assert_eq!((epoll_ctls, polls, turns, epoll_waits), (2, 0, 0, 0));
    });
}

#[test]
fn tasks_are_counted_when_they_are_spawned_end_panic_and_are_aborted() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let counts = || {
            let Metrics { tasks_alive, tasks_spawned, tasks_panicked, .. } = runtime.metrics();
            [tasks_alive, tasks_spawned, tasks_panicked]
        };
        on(&runtime, async {
            assert_eq!(counts(), [0, 0, 0], "the root is no task");
            let unjoined = spawn(async {});
            let aborted = spawn(pending::<()>());
            drop(spawn(pending::<()>()));
            let panicked = spawn(async { resume_unwind(Box::new("a panic that prints nothing")) });
            assert_eq!(counts(), [4, 4, 0]);
            yield_now().await;
            assert_eq!(counts(), [2, 4, 1], "one that was not joined has ended all the same");
            aborted.abort();
            assert_eq!(counts(), [2, 4, 1], "its turn is yet to come");
            yield_now().await;
            assert_eq!(counts(), [1, 4, 1]);
            let _: (Result<(), _>, Result<(), _>) = (unjoined.await, panicked.await);
            let mut set = JoinSet::new();
            for _ in 0..10 {
                set.spawn(pending::<()>());
            }
            assert_eq!(counts(), [11, 14, 1]);
            drop(set);
            yield_now().await;
            assert_eq!(counts(), [1, 14, 1]);
        });
    });
}

#[test]
fn polls_are_those_of_tasks_and_wakes_those_that_made_one_ready() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let (waker, counts) = (Rc::new(RefCell::new(None::<Waker>)), || {
            let Metrics { polls, wakes, remote_wakes, .. } = runtime.metrics();
            [polls, wakes, remote_wakes]
        });
        on(&runtime, async {
            yield_now().await;
            assert_eq!(counts(), [0, 0, 0], "the root's do not count");
            let theirs = waker.clone();
            spawn(poll_fn(move |cx| {
                *theirs.borrow_mut() = Some(cx.waker().clone());
                Poll::<()>::Pending
            }));
            yield_now().await;
            assert_eq!(counts(), [1, 0, 0], "spawning is no wake");
            let waker = waker.take().unwrap();
            (0..3).for_each(|_| waker.wake_by_ref());
            assert_eq!(counts(), [1, 1, 0], "it was ready already");
            yield_now().await;
            assert_eq!(counts(), [2, 1, 0]);
            let theirs = waker.clone();
            thread::spawn(move || (0..3).for_each(|_| theirs.wake_by_ref())).join().unwrap();
            yield_now().await;
            yield_now().await;
            assert_eq!(counts(), [3, 2, 1], "one letter");
            let task = spawn(async {});
            task.await.unwrap();
            let after = counts();
            waker.wake();
            assert_eq!(counts(), [after[0], after[1] + 1, after[2]]);
        });
    });
}

#[test]
fn budget_yields_are_the_times_a_task_had_to_let_others_go_first() {
    watched(20, || {
        let runtime = Builder::new().budget(10).build().unwrap();
        on(&runtime, async {
            spawn(async {
                for _ in 0..35 {
                    consume_budget().await;
                }
            })
            .await
            .unwrap();
            assert_eq!((runtime.metrics().budget_yields, runtime.metrics().polls), (3, 4));
            spawn(yield_now()).await.unwrap();
            assert_eq!(
                runtime.metrics().budget_yields,
                3,
                "to yield of one's own will is another thing"
            );
        });
    });
}

#[test]
fn turns_are_counted_and_ask_the_kernel_only_when_it_could_answer() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let before = runtime.metrics();
            for _ in 0..10 {
                yield_now().await;
            }
            let after = runtime.metrics();
            assert_eq!(after.turns - before.turns, 10);
            assert_eq!(after.epoll_waits - before.epoll_waits, 0, "there is no socket");
            let _listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let before = runtime.metrics();
            for _ in 0..10 {
                yield_now().await;
            }
            let after = runtime.metrics();
            assert_eq!(after.turns - before.turns, 10);
            assert_eq!(after.epoll_waits - before.epoll_waits, 10, "once a turn");
        });
    });
}

#[test]
fn a_source_is_one_call_of_epoll_ctl_when_it_comes_and_one_when_it_goes() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let counts = || (runtime.metrics().sources_alive, runtime.metrics().epoll_ctls);
        on(&runtime, async {
            assert_eq!(counts(), (0, 2));
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            assert_eq!(counts(), (1, 3));
            let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            assert_eq!(counts(), (3, 5));
            for _ in 0..10 {
                client.write_all(b"ping").await.unwrap();
                server.read_exact(&mut [0; 4]).await.unwrap();
                server.write_all(b"pong").await.unwrap();
                client.read_exact(&mut [0; 4]).await.unwrap();
            }
            assert_eq!(counts(), (3, 5), "waiting changes no registration");
            drop(client);
            assert_eq!(counts(), (2, 6), "at once");
            let server = server.into_std();
            assert_eq!(counts(), (1, 7));
            drop((listener, server));
            assert_eq!(counts(), (0, 8));

            let elsewhere = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            thread::spawn(move || drop(elsewhere)).join().unwrap();
            yield_now().await;
            assert_eq!(runtime.metrics().sources_alive, 0, "by letter");
        });
    });
}

#[test]
fn events_are_counted_and_those_that_wake_nobody_as_spurious() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        on(&runtime, async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = AsyncTcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            sleep(Duration::from_millis(5)).await;
            let before = runtime.metrics();
            assert!(before.spurious_events <= before.epoll_events);
            client.write_all(b"nobody waits").await.unwrap();
            sleep(Duration::from_millis(5)).await;
            let after = runtime.metrics();
            assert_eq!(after.epoll_events - before.epoll_events, 1);
            assert_eq!(after.spurious_events - before.spurious_events, 1);

            server.read_exact(&mut [0; 12]).await.unwrap();
            // It gives back the stream: the end of that would be one more event.
            let reader = spawn(async move { (server.read(&mut [0; 64]).await.unwrap(), server) });
            sleep(Duration::from_millis(5)).await;
            let before = runtime.metrics();
            client.write_all(b"somebody does").await.unwrap();
            let (read, _server) = reader.await.unwrap();
            assert_eq!(read, 13);
            let after = runtime.metrics();
            assert_eq!(after.epoll_events - before.epoll_events, 1);
            assert_eq!(after.spurious_events - before.spurious_events, 0);
        });
    });
}

#[test]
fn timers_are_counted_while_they_are_set_and_when_they_have_fired() {
    watched(20, || {
        let runtime = Runtime::new().unwrap();
        let counts = || (runtime.metrics().timers_alive, runtime.metrics().timers_fired);
        on(&runtime, async {
            let mut sleeps: Vec<_> = (0..10).map(|_| sleep(HOUR)).collect();
            assert_eq!(counts(), (0, 0), "not before they wait");
            for sleep in &mut sleeps {
                assert!(poll_once(sleep).await.is_none());
            }
            assert_eq!(counts(), (10, 0));
            assert!(poll_once(timeout(HOUR, pending::<()>())).await.is_none());
            drop(sleeps.pop());
            assert_eq!(counts(), (9, 0), "at once");
            sleeps[0].reset(waken::time::now());
            assert_eq!(counts(), (9, 0));
            (&mut sleeps[0]).await;
            assert_eq!(counts(), (8, 1));
            drop(sleeps);
            assert_eq!(counts(), (0, 1));
            sleep(Duration::MAX).reset(waken::time::now());
            assert!(poll_once(sleep(Duration::MAX)).await.is_none());
            assert_eq!(counts(), (0, 1), "never is no timer");
        });
    });
}

/// Tasks that wake, abort and spawn each other at random, and what is to be counted of it.
#[derive(Default)]
struct World {
    random: Cell<u64>,
    polls: Cell<u64>,
    wakes: Cell<u64>,
    tasks: RefCell<Vec<One>>,
}

#[derive(Default)]
struct One {
    /// A wake queues it.
    waits: bool,
    waker: Option<Waker>,
    stop: Option<AbortHandle>,
}

impl World {
    fn random(&self, below: usize) -> usize {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        (random % below as u64) as usize
    }

    fn check(&self) {
        let Metrics { polls, wakes, .. } = metrics();
        assert_eq!((polls, wakes), (self.polls.get(), self.wakes.get()));
    }

    /// Wakes a task, or aborts it, which is a wake for the last time.
    fn disturb(&self, index: usize, abort: bool) {
        let mut tasks = self.tasks.borrow_mut();
        let task = &mut tasks[index];
        match (&task.waker, &task.stop) {
            (_, Some(stop)) if abort => stop.abort(),
            (Some(waker), _) => waker.wake_by_ref(),
            _ => return,
        }
        self.wakes.set(self.wakes.get() + u64::from(take(&mut task.waits)));
        if abort {
            task.waker = None;
        }
    }

    fn spawn(self: &Rc<Self>) {
        let (world, index) = (self.clone(), self.tasks.borrow().len());
        self.tasks.borrow_mut().push(One::default());
        let task = spawn(poll_fn(move |cx| world.poll(index, cx)));
        self.tasks.borrow_mut()[index].stop = Some(task.abort_handle());
    }

    fn poll(self: &Rc<Self>, index: usize, cx: &Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        let here = One { waits: true, waker: Some(cx.waker().clone()), stop: None };
        let One { stop, .. } = replace(&mut self.tasks.borrow_mut()[index], here);
        self.tasks.borrow_mut()[index].stop = stop;
        self.check();
        let all = self.tasks.borrow().len();
        match self.random(20) {
            0..6 => self.disturb(index, false),
            6..11 => self.disturb(self.random(all), false),
            11 => self.disturb(self.random(all), true),
            12 => self.disturb(index, true),
            13..16 if all < 20_000 => (0..self.random(4)).for_each(|_| self.spawn()),
            _ => {}
        }
        self.check();
        let ends = self.random(9);
        if ends < 2 {
            self.tasks.borrow_mut()[index] = One::default();
        }
        match ends {
            0 => Poll::Ready(()),
            1 => resume_unwind(Box::new("a panic that prints nothing")),
            _ => Poll::Pending,
        }
    }
}

/// They are not counted one by one, but told from the ready queue.
#[test]
fn polls_and_wakes_are_told_right_whatever_happens_to_the_tasks() {
    watched(60, || {
        for seed in 1..9 {
            let world = Rc::new(World { random: Cell::new(seed), ..World::default() });
            let most = [1, 7, 200, 1 << 32, usize::MAX][seed as usize % 5];
            let runtime = Builder::new().polls_per_turn(most).build().unwrap();
            runtime.block_on(async {
                for round in 0..60 {
                    (0..if round % 30 == 1 { 5_000 } else { 20 }).for_each(|_| world.spawn());
                    yield_now().await;
                    world.check();
                    let all = world.tasks.borrow().len();
                    (0..10).for_each(|_| world.disturb(world.random(all), false));
                }
            });
        }
    });
}
