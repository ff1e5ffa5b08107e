//! Timers that change hands: polled by another task, runtime or thread, dropped and reset from elsewhere, or
//! while others expire; and signals that interrupt the wait for them.
#![allow(unsafe_code)] // A signal handler, and a signal for one thread.
mod support;

use futures_lite::future::poll_once;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{Random, guard, watched};
use waken::task::yield_now;
use waken::time::{Sleep, now, sleep, sleep_until, timeout};
use waken::{Runtime, block_on, spawn};

const HOUR: Duration = Duration::from_secs(3600);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A sleep that is registered with the runtime whose `block_on` this is in.
async fn waiting(duration: Duration) -> Sleep {
    let mut sleep = sleep(duration);
    assert!(poll_once(&mut sleep).await.is_none());
    sleep
}

// ---- tasks ------------------------------------------------------------------------------------

/// M13, W04.
#[test]
fn the_task_that_polled_a_sleep_last_is_woken_and_the_other_is_not() {
    watched(10, || {
        block_on(async {
            let sleep = Rc::new(RefCell::new(sleep(ms(20))));
            let spawn_poller = |polls: Rc<Cell<u32>>| {
                let sleep = sleep.clone();
                spawn(poll_fn(move |cx| {
                    polls.set(polls.get() + 1);
                    Pin::new(&mut *sleep.borrow_mut()).poll(cx)
                }))
            };
            let (first, second) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (one, two) = (spawn_poller(first.clone()), spawn_poller(second.clone()));
            two.await.unwrap();
            waken::time::sleep(ms(5)).await;
            assert_eq!((first.get(), second.get()), (1, 2));
            assert!(!one.is_finished());
        });
    });
}

/// A waker of somebody else: it runs a piece of code when it is woken, and counts that.
struct Then<F>(Mutex<F>, AtomicUsize);

impl<F: FnMut() + Send> Wake for Then<F> {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Relaxed);
        self.0.lock().unwrap()();
    }
}

fn then<F: FnMut() + Send + 'static>(f: F) -> Arc<Then<F>> {
    Arc::new(Then(Mutex::new(f), AtomicUsize::new(0)))
}

/// M06, R01.
#[test]
fn wakers_may_drop_reset_and_make_timers_while_others_expire() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let deadline = now() + ms(10);
            let others: Arc<Mutex<Vec<Option<Sleep>>>> = Arc::default();
            // A panic in a waker would not come out of the loop.
            let done = Arc::new(AtomicU32::new(0));
            let mut woken = Vec::new();
            for n in 0..30 {
                let (list, done) = (others.clone(), done.clone());
                // All are due at once; each does something to its neighbours, before and behind it.
                let waker = then(move || {
                    let mut list = list.lock().unwrap();
                    for other in [(n + 29) % 30, (n + 1) % 30] {
                        match n % 3 {
                            0 => drop(list[other].take()),
                            1 => {
                                if let Some(sleep) = &mut list[other] {
                                    sleep.reset(Instant::now() + ms(1));
                                }
                            }
                            _ => {
                                let mut new = sleep(ms(1));
                                let mut cx = Context::from_waker(Waker::noop());
                                assert!(Pin::new(&mut new).poll(&mut cx).is_pending());
                                list.push(Some(new));
                            }
                        }
                    }
                    done.fetch_add(1, Relaxed);
                });
                let mut sleep = sleep_until(deadline);
                let foreign = Waker::from(waker.clone());
                assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&foreign)).is_pending());
                others.lock().unwrap().push(Some(sleep));
                woken.push(waker);
            }
            assert_eq!(runtime.metrics().timers_alive, 30);
            sleep_until(deadline + ms(20)).await;
            assert!(
                woken.iter().all(|waker| waker.1.load(Relaxed) == 1),
                "each once: all were due"
            );
            assert_eq!(done.load(Relaxed), 30);
            assert_eq!(runtime.metrics().timers_alive, 0);
        });
    });
}

/// M06.
#[test]
fn random_tasks_that_drop_reset_and_make_timers_neither_hang_nor_leak() {
    watched(30, || {
        for seed in 1..=20 {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                let sleeps: Rc<RefCell<Vec<Sleep>>> = Rc::default();
                let tasks: Vec<_> = (0..50)
                    .map(|n| {
                        let (sleeps, mut random) = (sleeps.clone(), Random(seed * 100 + n));
                        spawn(async move {
                            for _ in 0..10 {
                                sleep(Duration::from_micros(random.below(1000))).await;
                                let next = sleep(Duration::from_micros(random.below(2000)));
                                let mut list = sleeps.borrow_mut();
                                let pick = random.below(list.len() as u64 + 1) as usize;
                                match random.below(3) {
                                    0 => list.push(next),
                                    1 if pick < list.len() => drop(list.swap_remove(pick)),
                                    _ => list.iter_mut().for_each(|s| s.reset(now() + ms(1))),
                                }
                                let mut cx = Context::from_waker(Waker::noop());
                                for sleep in list.iter_mut() {
                                    let _ready = Pin::new(sleep).poll(&mut cx);
                                }
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
                sleeps.borrow_mut().clear();
            });
            assert_eq!(runtime.metrics().timers_alive, 0, "seed {seed}");
        }
    });
}

/// M09.
#[test]
fn a_million_sleeps_and_timeouts_that_are_given_up_leave_no_timer() {
    guard(60).cpu_ms(5_000).run(|| {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            for _ in 0..500_000 {
                assert!(poll_once(sleep(HOUR)).await.is_none());
                assert_eq!(timeout(HOUR, yield_once()).await, Ok(()));
            }
            assert_eq!(runtime.metrics().timers_alive, 0);
        });
        assert_eq!(runtime.metrics().timers_fired, 0);
    });
}

/// Pending at its first poll, and ready at the next: the `timeout` around it is registered.
async fn yield_once() {
    let mut first = true;
    poll_fn(|cx| match std::mem::take(&mut first) {
        true => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
}

// ---- runtimes and threads ---------------------------------------------------------------------

/// M13, N08.
#[test]
fn a_sleep_that_is_polled_under_another_runtime_registers_there_and_leaves_the_first() {
    watched(10, || {
        let (a, b) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let start = now();
        let mut sleep = a.block_on(waiting(ms(30)));
        assert_eq!((a.metrics().timers_alive, b.metrics().timers_alive), (1, 0));
        assert!(b.block_on(poll_once(&mut sleep)).is_none());
        assert_eq!((a.metrics().timers_alive, b.metrics().timers_alive), (0, 1));
        b.block_on(&mut sleep);
        assert!(start.elapsed() >= ms(30));
        assert_eq!((a.metrics().timers_fired, b.metrics().timers_fired), (0, 1));

        // Its runtime has ended: it registers where it is polled next.
        sleep.reset(now() + ms(20));
        assert!(b.block_on(poll_once(&mut sleep)).is_none());
        drop(b);
        sleep.reset(now() + ms(5));
        a.block_on(sleep);
        assert_eq!((a.metrics().timers_alive, a.metrics().timers_fired), (0, 1));
    });
}

/// M13, R03, N08.
#[test]
fn a_sleep_that_is_polled_on_another_thread_registers_there_and_leaves_home() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let sleep = waiting(ms(30)).await;
            assert_eq!(runtime.metrics().timers_alive, 1);
            thread::spawn(move || block_on(sleep)).join().unwrap();
            yield_now().await;
            assert_eq!(runtime.metrics().timers_alive, 0);
        });
        assert_eq!(runtime.metrics().timers_fired, 0);
    });
}

/// M09, T01.
#[test]
fn a_sleep_that_is_dropped_on_another_thread_is_cancelled_at_home() {
    watched(10, || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let sleep = waiting(HOUR).await;
            thread::spawn(move || drop(sleep)).join().unwrap();
            yield_now().await;
            assert_eq!(runtime.metrics().timers_alive, 0);
            // Also while the loop is asleep; and after the runtime's end, where nothing is left to do.
            let sleep = waiting(HOUR).await;
            thread::spawn(move || {
                thread::sleep(ms(5));
                drop(sleep);
            });
            waken::time::sleep(ms(50)).await;
            assert_eq!(runtime.metrics().timers_alive, 0);
        });
        let sleep = runtime.block_on(waiting(HOUR));
        drop(runtime);
        drop(sleep);
    });
}

/// M07.
#[test]
fn a_sleep_that_is_reset_on_another_thread_keeps_its_waiter_at_home() {
    watched(20, || {
        block_on(async {
            let sleep = Arc::new(Mutex::new(sleep(HOUR)));
            let shared = sleep.clone();
            let task = spawn(poll_fn(move |cx| Pin::new(&mut *shared.lock().unwrap()).poll(cx)));
            yield_now().await;
            let start = now();
            thread::spawn(move || sleep.lock().unwrap().reset(start + ms(20))).join().unwrap();
            task.await.unwrap();
            assert!((ms(20)..ms(2000)).contains(&start.elapsed()), "{:?}", start.elapsed());
        });
    });
}

/// M07.
#[test]
fn the_last_reset_counts_also_when_the_one_before_was_made_on_another_thread() {
    watched(20, || {
        block_on(async {
            let mut sleep = waiting(HOUR).await;
            let back = thread::spawn(move || {
                sleep.reset(now() + ms(3000));
                sleep
            });
            let mut sleep = back.join().unwrap();
            let start = now();
            sleep.reset(start + ms(10));
            sleep.await;
            assert!((ms(10)..ms(1000)).contains(&start.elapsed()), "{:?}", start.elapsed());
        });
    });
}

// ---- signals ----------------------------------------------------------------------------------

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Relaxed);
}

/// E15, M14.
#[test]
fn a_storm_of_signals_ends_a_sleep_neither_early_nor_late() {
    watched(20, || {
        // SAFETY: all zeroes is a valid `sigaction`: no flags, so without SA_RESTART, and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = count_signal as *const () as libc::sighandler_t;
        // SAFETY: the handler does nothing but add to an atomic.
        let result =
            unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0);
        // SAFETY: it has no preconditions.
        let sleeper = unsafe { libc::pthread_self() };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    // SAFETY: the scope joins this thread before the sleeper can end.
                    let result = unsafe { libc::pthread_kill(sleeper, libc::SIGALRM) };
                    assert_eq!(result, 0);
                    thread::sleep(ms(1));
                }
            });
            let start = now();
            block_on(sleep(ms(300)));
            let took = start.elapsed();
            over.store(true, Relaxed);
            assert!((ms(300)..ms(400)).contains(&took), "{took:?}");
        });
        assert!(SIGNALS.load(Relaxed) > 20, "{SIGNALS:?} signals came");
    });
}
