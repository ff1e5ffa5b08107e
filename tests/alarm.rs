//! Timers that are far away, beside events: the loop waits for events alone, of which the alarm is one.
#[path = "support/filter.rs"]
mod filter;
mod support;

use filter::{Call, refuse_here};
use futures_lite::future::poll_once;
use std::future::{pending, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{guard, watched};
use waken::runtime::{Next, metrics};
use waken::task::yield_now;
use waken::time::{Sleep, sleep, timeout};
use waken::{AsyncTcpStream, Builder, Runtime, spawn};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// It sleeps at once, so that each answer that is not there yet is one sleep.
fn runtime() -> Runtime {
    Builder::new().spin(Duration::ZERO).build().unwrap()
}

/// Somebody on another thread who answers each byte after so long.
fn peer(after: Duration) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() {
            thread::sleep(after);
            if there.write_all(&byte).is_err() {
                break;
            }
        }
    });
    client
}

async fn ask(stream: &AsyncTcpStream) {
    stream.write_all(b"?").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
}

/// A sleep that is registered, and for which the loop has slept often enough to have set the alarm. (An answer that comes at once is no
/// sleep.)
async fn far(duration: Duration, stream: &AsyncTcpStream) -> Sleep {
    let mut sleep = sleep(duration);
    assert!(poll_once(&mut sleep).await.is_none());
    let before = metrics().epoll_waits;
    while metrics().epoll_waits < before + 4 {
        ask(stream).await;
    }
    sleep
}

/// The filter ends the loop at the next wait that has a timeout.
#[test]
fn who_sleeps_beside_a_timer_for_the_second_time_has_no_timeout_and_the_timer_is_in_time() {
    watched(20, || {
        let runtime = runtime();
        runtime.block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            let begin = Instant::now();
            let sleep = far(ms(400), &stream).await;
            refuse_here(Call(libc::SYS_epoll_pwait2, None), libc::EBADF);
            for _ in 0..50 {
                ask(&stream).await;
            }
            sleep.await;
            let took = begin.elapsed();
            assert!(took >= ms(400) && took < ms(5000), "{took:?}");
        });
    });
}

/// What the kernel says of our timers: proc_pid_fdinfo(5).
fn is_set_or_has_rung() -> bool {
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let infos = infos.filter_map(|info| std::fs::read_to_string(info.unwrap().path()).ok());
    let timers: Vec<String> = infos.filter(|info| info.contains("it_value")).collect();
    assert_eq!(timers.len(), 1, "{timers:?}");
    !timers[0].contains("it_value: (0, 0)") || !timers[0].contains("ticks: 0")
}

/// M04.
#[test]
fn a_timer_that_comes_next_or_soon_costs_one_call_and_not_two() {
    watched(20, || {
        runtime().block_on(async {
            for _ in 0..5 {
                sleep(ms(20)).await;
            }
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            for _ in 0..5 {
                let _soon = far(ms(9), &stream).await;
            }
            assert!(!is_set_or_has_rung());
            let _far = far(ms(2000), &stream).await;
            assert!(is_set_or_has_rung(), "it would have been seen");
        });
    });
}

/// M07.
#[test]
fn a_timer_that_is_nearer_than_the_alarm_is_in_time() {
    watched(20, || {
        runtime().block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            let _far = far(ms(15_000), &stream).await;
            for nearer in [1, 9, 30, 100, 20, 3] {
                let begin = Instant::now();
                let mut sleep = sleep(ms(nearer));
                while begin.elapsed() < ms(nearer) && poll_once(&mut sleep).await.is_none() {
                    ask(&stream).await;
                }
                sleep.await;
                assert!(begin.elapsed() >= ms(nearer) && begin.elapsed() < ms(5000), "{nearer} ms");
            }
        });
    });
}

/// M07.
#[test]
fn a_timer_that_is_moved_before_the_alarm_is_in_time() {
    watched(20, || {
        runtime().block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            let mut sleep = far(ms(15_000), &stream).await;
            let begin = Instant::now();
            sleep.reset(begin + ms(50));
            sleep.await;
            assert!(begin.elapsed() >= ms(50) && begin.elapsed() < ms(5000));
        });
    });
}

/// M12. With a socket the kernel is asked each turn, and without one it is not: then nobody hears the alarm.
#[test]
fn tasks_that_are_always_busy_let_a_far_timer_be_in_time() {
    for with_socket in [true, false] {
        watched(20, || {
            runtime().block_on(async {
                let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
                let begin = Instant::now();
                let sleep = far(ms(300), &stream).await;
                let stream = with_socket.then_some(stream);
                let busy = spawn(async {
                    loop {
                        yield_now().await;
                    }
                });
                sleep.await;
                assert!(begin.elapsed() >= ms(300) && begin.elapsed() < ms(5000), "{with_socket}");
                drop((busy, stream));
            });
        });
    }
}

/// M04. The alarm rings for nothing once for as long as the timeout is.
#[test]
fn an_idle_timeout_that_is_moved_at_each_request_wakes_nobody_and_ends_what_is_idle() {
    watched(30, || {
        let runtime = runtime();
        runtime.block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(2))).unwrap();
            let mut idle = far(ms(600), &stream).await;
            let (before, mut asked) = (runtime.metrics().epoll_waits, 0);
            let begin = Instant::now();
            while begin.elapsed() < ms(1500) {
                idle.reset(Instant::now() + ms(600));
                ask(&stream).await;
                asked += 1;
                assert!(poll_once(&mut idle).await.is_none());
            }
            let waits = runtime.metrics().epoll_waits - before;
            // One for each answer, two for each sleep that the alarm has ended, and two until it is set again.
            assert!(waits <= asked + 4 * 8, "{waits} waits for {asked} answers");
            let silent = Instant::now();
            idle.await;
            assert!(silent.elapsed() < ms(5000));
        });
    });
}

/// M04, M09.
#[test]
fn an_alarm_whose_timer_is_given_up_rings_once_and_never_again() {
    guard(20).cpu_ms(300).run(|| {
        let runtime = runtime();
        let before = runtime.block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            drop(far(ms(200), &stream).await);
            runtime.metrics().epoll_waits
        });
        let (woken, wake) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let waker: Waker = wake.recv().unwrap();
                thread::sleep(ms(600));
                waker.wake();
            });
            let mut polls = 0;
            runtime.block_on(poll_fn(|cx| {
                polls += 1;
                woken.send(cx.waker().clone()).ok();
                if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
            }));
        });
        let waits = runtime.metrics().epoll_waits - before;
        assert!(waits <= 4, "{waits} waits");
    });
}

/// Who talks with another thread alone has nothing to ask the kernel for, but for the alarm.
#[test]
fn who_looks_before_sleeping_hears_the_alarm_without_a_socket() {
    watched(30, || {
        let runtime = Builder::new().spin(ms(500)).build().unwrap();
        let (other, questions) = mpsc::channel::<Question>();
        let answers = thread::spawn(move || {
            for Question { asker, answered, after } in questions {
                if !after.is_zero() {
                    thread::sleep(after);
                }
                answered.store(true, SeqCst);
                asker.wake();
            }
        });
        runtime.block_on(async {
            // So many answers come soon that looking is worth its while.
            for _ in 0..2000 {
                ask_thread(&other, Duration::ZERO).await;
            }
            // On a machine that is busy it may be put off looking, for a while.
            let looked = async || {
                let (looks, begin) = (metrics().looks, Instant::now());
                let talk = async {
                    while begin.elapsed() < ms(50) {
                        ask_thread(&other, ms(1)).await;
                    }
                    pending::<()>().await;
                };
                assert!(timeout(ms(100), talk).await.is_err());
                let took = begin.elapsed();
                assert!(took >= ms(100) && took < ms(350), "{took:?}");
                metrics().looks > looks
            };
            let mut tries = 0;
            while !looked().await {
                tries += 1;
                assert!(tries < 50, "it has never looked");
            }
        });
        drop(other);
        answers.join().unwrap();
    });
}

struct Question {
    asker: Waker,
    answered: Arc<AtomicBool>,
    after: Duration,
}

async fn ask_thread(other: &mpsc::Sender<Question>, after: Duration) {
    let answered = Arc::new(AtomicBool::new(false));
    let mut asked = false;
    poll_fn(|cx| {
        if answered.load(SeqCst) {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut asked, true) {
            let (asker, answered) = (cx.waker().clone(), answered.clone());
            other.send(Question { asker, answered, after }).unwrap();
        }
        Poll::Pending
    })
    .await;
}

/// The edge of the alarm comes behind those that are waiting already: E17.
#[test]
fn a_due_timer_does_not_wait_for_all_that_is_ready_when_each_wait_is_full() {
    watched(40, || {
        let runtime = Builder::new().spin(Duration::ZERO).events_per_poll(1).build().unwrap();
        runtime.block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            let mut pairs = Vec::new();
            for _ in 0..200 {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let ours = waken::net::AsyncUnixStream::try_from(ours).unwrap();
                pairs.push(theirs);
                drop(spawn(async move {
                    while ours.read(&mut [0]).await.unwrap() > 0 {
                        thread::sleep(ms(5));
                    }
                }));
            }
            let begin = Instant::now();
            let sleep = far(ms(100), &stream).await;
            pairs.iter_mut().for_each(|pair| pair.write_all(b"!").unwrap());
            sleep.await;
            assert!(
                begin.elapsed() >= ms(100) && begin.elapsed() < ms(500),
                "{:?}",
                begin.elapsed()
            );
        });
    });
}

/// Who waits for the descriptor of a runtime that is not self-waking is not told of timers.
#[test]
fn a_turn_leaves_the_alarm_of_a_plain_runtime_alone() {
    watched(20, || {
        let runtime = runtime();
        let task = runtime.spawn(sleep(ms(300)));
        for _ in 0..5 {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            runtime.turn(Some(ms(5))).unwrap();
        }
        assert!(!is_set_or_has_rung());
        drop(task);
    });
}

/// There the kernel is asked by turns, and each looks at the timers.
#[test]
fn a_far_timer_is_in_time_in_somebody_elses_loop() {
    for self_waking in [true, false] {
        watched(20, || {
            let builder = Builder::new().spin(Duration::ZERO).self_waking_fd(self_waking);
            let runtime = builder.build().unwrap();
            let begin = Instant::now();
            let task = runtime.spawn(async {
                let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
                let talk = async {
                    loop {
                        ask(&stream).await;
                    }
                };
                timeout(ms(300), talk).await.unwrap_err();
                timeout(ms(100), pending::<()>()).await.unwrap_err();
            });
            while runtime.turn(None).unwrap() != Next::Idle {}
            assert!(task.is_finished());
            assert!(begin.elapsed() >= ms(400) && begin.elapsed() < ms(5000), "{self_waking}");
        });
    }
}

/// M03, M06. Some are moved, some given up, and each is for another time.
#[test]
fn many_timers_beside_events_are_never_early_and_none_is_forgotten() {
    watched(40, || {
        runtime().block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            let talk = spawn(async move {
                loop {
                    ask(&stream).await;
                }
            });
            let tasks: Vec<_> = (0..200u64)
                .map(|n| {
                    spawn(async move {
                        let mut due = Instant::now() + ms(n * 7 % 600);
                        let mut sleep = waken::time::sleep_until(due);
                        if n % 3 == 0 {
                            assert!(timeout(ms(n % 40), pending::<()>()).await.is_err());
                        }
                        if n % 4 == 1 && poll_once(&mut sleep).await.is_none() {
                            due = Instant::now() + ms(n * 11 % 500);
                            sleep.reset(due);
                        }
                        sleep.await;
                        assert!(Instant::now() >= due, "{n} is early");
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            talk.abort();
        });
    });
}

/// P07. A sandbox may know no timers that are descriptors.
#[test]
fn without_an_alarm_timers_are_in_time_all_the_same() {
    watched(20, || {
        refuse_here(Call(libc::SYS_timerfd_create, None), libc::EPERM);
        runtime().block_on(async {
            let stream = AsyncTcpStream::try_from(peer(ms(1))).unwrap();
            let begin = Instant::now();
            far(ms(200), &stream).await.await;
            assert!(begin.elapsed() >= ms(200) && begin.elapsed() < ms(5000));
        });
    });
}
