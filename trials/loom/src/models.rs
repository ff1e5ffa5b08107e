//! What must hold in every execution. The name says it; the ids are those of the catalogue of hazards. That nothing hangs is
//! part of each: loom ends an execution in which nobody can go on.

use crate::Model;
use crate::home::{self, Parts};
use crate::mailbox::Mailbox;
use crate::number::Number;
use crate::runtime::{Next, Remote, Runtime, Workers};
use crate::sys::{CALLS, Caught, Epoll, Events, Handler};
use crate::task::JoinError;
use crate::tcp::addrs::Addresses;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread::{self, ThreadId};
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::real::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

macro_rules! models {
    ($($bound:expr => $($name:ident)*;)*) => {
        pub(crate) static ALL: &[Model] = &[$($(
            Model { name: stringify!($name), bound: $bound, body: $name },
        )*)*];
    };
}

// Every execution where that takes seconds, else those with three preemptions at most.
models! {
    None =>
        a_letter_is_neither_lost_nor_doubled
        an_unpark_is_seen_with_all_that_was_before_it
        the_eventfd_is_written_once_for_each_park
        a_job_reaches_a_runtime_that_goes_to_sleep
        a_job_reaches_a_runtime_that_looks_before_it_sleeps
        a_loop_that_sleeps_on_the_descriptor_misses_no_job
        a_loop_that_looks_in_between_misses_no_job
        a_wake_that_races_with_the_end_harms_nobody
        a_job_that_races_with_the_end_runs_or_comes_back
        a_thread_that_joins_gets_the_output
        the_last_waker_of_a_join_is_woken
        an_output_that_nobody_takes_is_dropped_once
        the_end_of_the_runtime_ends_a_join
        a_task_that_is_aborted_elsewhere_is_dropped_at_home
        a_handle_dropped_elsewhere_lets_the_task_end
        a_late_wake_harms_nobody
        a_signal_is_seen_after_the_last_time_it_came
        two_signals_are_both_seen
        workers_meet_before_they_begin
        a_worker_that_cannot_begin_ends_the_others
        a_name_is_looked_up_while_the_runtime_sleeps
        a_look_up_that_is_given_up_harms_nobody;
    Some(3) =>
        a_number_is_in_the_box_at_most_once
        the_poll_after_two_wakes_sees_what_was_written_before_both
        jobs_of_two_threads_both_run
        a_self_waking_descriptor_tells_of_jobs_and_of_tasks_left_ready
        a_runtime_that_joins_another_gets_the_output
        an_abort_that_races_with_a_wake_ends_the_task_once;
}

// ---- what they share --------------------------------------------------------------------------

fn runtime() -> Runtime {
    Runtime::builder().spin(Duration::ZERO).build().unwrap()
}

fn parts(runtime: &Runtime) -> Rc<Parts> {
    let _current = runtime.enter();
    home::current_parts().unwrap()
}

/// A mailbox as a runtime has it, whose loop is the model's.
fn mailbox() -> (Arc<Mailbox>, Arc<Epoll>) {
    let epoll = Arc::new(Epoll::new().unwrap());
    let mailbox = Arc::new(Mailbox::new(Arc::downgrade(&epoll)).unwrap());
    epoll.add(mailbox.event_fd(), 0, 0).unwrap();
    (mailbox, epoll)
}

/// As `Parts::sleep`, without a time. Says whether it parked.
fn sleep(mailbox: &Mailbox, epoll: &Epoll) -> bool {
    let parked = mailbox.park();
    let timeout = if parked { None } else { Some(Duration::ZERO) };
    epoll.wait(&mut Events::with_capacity(2), timeout).unwrap();
    parked
}

/// Words that loom may show late to who has not synchronized with the writer.
type Words = Arc<[AtomicUsize; 2]>;

fn words() -> Words {
    Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)])
}

/// Counts its drops, and asserts that they are on the thread that made it.
struct Token(Arc<Count>, Option<ThreadId>);

impl Token {
    fn anywhere(drops: &Arc<Count>) -> Token {
        Token(drops.clone(), None)
    }

    fn here(drops: &Arc<Count>) -> Token {
        Token(drops.clone(), Some(thread::current().id()))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        add(&self.0);
        assert!(self.1.is_none_or(|home| home == thread::current().id()), "dropped elsewhere");
    }
}

/// For what only the runtime's thread touches, or what is read after all threads have ended.
fn count() -> Arc<Count> {
    Arc::new(Count::new(0))
}

fn add(count: &Count) {
    count.fetch_add(1, SeqCst);
}

/// Ends what `serve` serves.
struct Done(Remote, Arc<AtomicUsize>);

impl Drop for Done {
    fn drop(&mut self) {
        self.1.store(1, Relaxed);
        self.0.wake();
    }
}

/// Runs the runtime beside `body`, until that is done.
fn serve(runtime: &Runtime, body: impl FnOnce(&Remote) + 'static) {
    let done = Arc::new(AtomicUsize::new(0));
    let theirs = Done(runtime.remote(), done.clone());
    let thread = thread::spawn(move || body(&theirs.0));
    runtime.block_on(poll_fn(|_| match done.load(Relaxed) {
        0 => Poll::Pending,
        _ => Poll::Ready(()),
    }));
    thread.join().unwrap();
}

fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

// ---- the mailbox ------------------------------------------------------------------------------

/// W10: two letters of two threads; each comes out once, whenever the box is emptied.
fn a_letter_is_neither_lost_nor_doubled() {
    let (mailbox, epoll) = mailbox();
    let runs = [count(), count()];
    for run in &runs {
        let (mailbox, run) = (mailbox.clone(), run.clone());
        thread::spawn(move || {
            let job = Box::new(move || add(&run));
            assert!(mailbox.post(job).is_ok(), "the box is open");
        });
    }
    while runs.iter().any(|run| run.load(SeqCst) == 0) {
        sleep(&mailbox, &epoll);
        let letters = mailbox.take();
        letters.into_iter().flat_map(|it| it.jobs).for_each(|job| job());
    }
    assert!(mailbox.close().jobs.is_empty());
    assert!(runs.iter().all(|run| run.load(SeqCst) == 1));
}

/// The first task of the runtime 1.
const TASK: u64 = 1 << 16 | 1;

/// W17, W09: woken by two threads, a number is in the box once at most, and each wake is heard: what was written before
/// it is seen after the box was emptied.
fn a_number_is_in_the_box_at_most_once() {
    let (mailbox, epoll) = mailbox();
    let (number, words) = (Number::of_task(TASK, 0), words());
    for word in 0..2 {
        let (mailbox, words) = (mailbox.clone(), words.clone());
        thread::spawn(move || {
            words[word].store(1, Relaxed);
            mailbox.wake(number);
        });
    }
    let (mut seen, mut heard) = (0, 0);
    while seen < 2 {
        sleep(&mailbox, &epoll);
        if let Some(letters) = mailbox.take() {
            assert!(letters.wakes.len() <= 1, "twice in the box");
            heard += letters.wakes.len();
            if !letters.wakes.is_empty() {
                seen = words.iter().map(|word| word.load(Relaxed)).sum();
            }
        }
    }
    heard += mailbox.close().wakes.len();
    assert!((1..=2).contains(&heard));
}

/// W10: without a letter, so no lock orders anything.
fn an_unpark_is_seen_with_all_that_was_before_it() {
    let (mailbox, epoll) = mailbox();
    let words = words();
    for word in 0..2 {
        let (mailbox, words) = (mailbox.clone(), words.clone());
        thread::spawn(move || {
            words[word].store(1, Relaxed);
            mailbox.unpark();
        });
    }
    loop {
        sleep(&mailbox, &epoll);
        if mailbox.take().is_some() && words.iter().all(|word| word.load(Relaxed) == 1) {
            break;
        }
    }
}

/// W17: never twice for one sleep, and not at all for a runtime that is awake.
fn the_eventfd_is_written_once_for_each_park() {
    let (mailbox, epoll) = mailbox();
    mailbox.stay_awake();
    let heard = words();
    for word in 0..2 {
        let (mailbox, heard) = (mailbox.clone(), heard.clone());
        thread::spawn(move || {
            mailbox.wake(Number::of_task(TASK, word as u32));
            heard[word].store(1, Relaxed);
        });
    }
    let (mut parks, mut wakes) = (0, 0);
    while wakes < 2 {
        parks += u32::from(sleep(&mailbox, &epoll));
        wakes += mailbox.take().map_or(0, |letters| letters.wakes.len());
    }
    let writes = CALLS.with(|calls| calls.writes.get());
    assert!(writes <= parks, "{writes} writes for {parks} parks");
}

// ---- the loop ---------------------------------------------------------------------------------

fn a_job_reaches(runtime: Runtime) {
    let remote = runtime.remote();
    let ran = count();
    let theirs = ran.clone();
    let make = move || async move { add(&theirs) };
    thread::spawn(move || drop(remote.spawn(make).unwrap()));
    while ran.load(SeqCst) == 0 {
        runtime.turn(None).unwrap();
    }
    assert_eq!(ran.load(SeqCst), 1);
}

/// W10.
fn a_job_reaches_a_runtime_that_goes_to_sleep() {
    a_job_reaches(runtime());
}

/// W10: while it looks it is not parked, and the letter writes no eventfd.
fn a_job_reaches_a_runtime_that_looks_before_it_sleeps() {
    a_job_reaches(Runtime::builder().spin(Duration::from_micros(40)).build().unwrap());
}

/// W09: also when the second wake finds the number in the box already.
fn the_poll_after_two_wakes_sees_what_was_written_before_both() {
    let runtime = runtime();
    let words = words();
    let mut polls = 0;
    let task = runtime.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 1 {
            for word in 0..2 {
                let (words, waker) = (words.clone(), cx.waker().clone());
                thread::spawn(move || {
                    words[word].store(1, Relaxed);
                    waker.wake();
                });
            }
        }
        assert!(polls <= 3, "a poll without a wake");
        match words.iter().map(|word| word.load(Relaxed)).sum() {
            2 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }));
    runtime.block_on(task).unwrap();
}

/// W10.
fn jobs_of_two_threads_both_run() {
    let runtime = runtime();
    let ran = count();
    for _ in 0..2 {
        let (remote, ran) = (runtime.remote(), ran.clone());
        let make = move || async move { add(&ran) };
        thread::spawn(move || drop(remote.spawn(make).unwrap()));
    }
    while ran.load(SeqCst) < 2 {
        runtime.turn(None).unwrap();
    }
}

// ---- in somebody else's loop ------------------------------------------------------------------

fn foreign_loop(runtime: Runtime, between: impl Fn()) {
    let parts = parts(&runtime);
    let (remote, ran) = (runtime.remote(), count());
    let theirs = ran.clone();
    let thread = thread::spawn(move || {
        // While the loop has not begun; and while it sleeps, runs, or is between the two.
        for _ in 0..2 {
            let ran = theirs.clone();
            drop(remote.spawn(move || async move { add(&ran) }).unwrap());
        }
    });
    // It sleeps before the first turn.
    let mut next = Next::Event;
    while ran.load(SeqCst) < 2 {
        between();
        if next != Next::Now {
            parts.reactor.epoll().sleep();
        }
        next = runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    thread.join().unwrap();
    // Invariant 16: readable when a turn would find something, and at no other time.
    while runtime.turn(Some(Duration::ZERO)).unwrap() == Next::Now {}
    assert!(!parts.reactor.epoll().is_readable(), "readable, with nothing to do");
}

fn a_loop_that_sleeps_on_the_descriptor_misses_no_job() {
    foreign_loop(runtime(), || ());
}

/// What looks at the runtime between two turns enters it and leaves it.
fn a_loop_that_looks_in_between_misses_no_job() {
    let runtime = Rc::new(runtime());
    let parts = parts(&runtime);
    let between = move || drop(parts.enter());
    match Rc::try_unwrap(runtime) {
        Ok(runtime) => foreign_loop(runtime, between),
        Err(_) => unreachable!(),
    }
}

/// A loop that asks nobody, and sleeps before every turn.
fn a_self_waking_descriptor_tells_of_jobs_and_of_tasks_left_ready() {
    let runtime = Runtime::builder().spin(Duration::ZERO).self_waking_fd(true).build().unwrap();
    let parts = parts(&runtime);
    let (remote, ran) = (runtime.remote(), count());
    let theirs = ran.clone();
    let thread = thread::spawn(move || {
        for _ in 0..2 {
            let ran = theirs.clone();
            let make = move || async move {
                crate::task::yield_now().await;
                add(&ran);
            };
            drop(remote.spawn(make).unwrap());
        }
    });
    while ran.load(SeqCst) < 2 {
        parts.reactor.epoll().sleep();
        runtime.turn(Some(Duration::ZERO)).unwrap();
    }
    thread.join().unwrap();
    while runtime.turn(Some(Duration::ZERO)).unwrap() == Next::Now {}
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert!(!parts.reactor.epoll().is_readable(), "readable, with nothing to do");
}

// ---- the end of a runtime ---------------------------------------------------------------------

/// W11, W12, R05: through the registry and through a `Remote`, before, while and after a runtime ends; and the next
/// one of the thread hears nothing of it.
fn a_wake_that_races_with_the_end_harms_nobody() {
    let ended = runtime();
    let (waker, remote) = (Number::of_root(parts(&ended).id).waker(), ended.remote());
    let thread = thread::spawn(move || {
        waker.wake();
        remote.wake();
    });
    ended.turn(Some(Duration::ZERO)).unwrap();
    drop(ended);
    let next = runtime();
    next.turn(Some(Duration::ZERO)).unwrap();
    thread.join().unwrap();
    assert_eq!(next.metrics().remote_wakes, 0);
}

/// D03, W11: it runs, or is given back, or is dropped with the runtime: one of them, once.
fn a_job_that_races_with_the_end_runs_or_comes_back() {
    let runtime = runtime();
    let (remote, made, dropped) = (runtime.remote(), count(), count());
    let (theirs, token) = (made.clone(), Token::anywhere(&dropped));
    let thread = thread::spawn(move || {
        let make = move || {
            add(&theirs);
            async move { drop(token) }
        };
        remote.spawn(make).ok().map(|task| task.join().is_ok())
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
    drop(runtime);
    let joined = thread.join().unwrap();
    assert_eq!(dropped.load(SeqCst), 1);
    match joined {
        None => {
            assert_eq!(made.load(SeqCst), 0, "it ran, and its poster was told that it does not")
        }
        Some(finished) => assert!(made.load(SeqCst) == 1 || !finished),
    }
}

// ---- the join of a remote spawn ---------------------------------------------------------------

/// `RemoteJoinHandle::join`: the thread may park before, while or after the promise is kept.
fn a_thread_that_joins_gets_the_output() {
    let runtime = runtime();
    serve(&runtime, |remote| {
        let task = remote.spawn(|| async { 7 }).unwrap();
        assert_eq!(task.join().unwrap(), 7);
    });
}

/// P01: awaited on a second runtime, which is woken by letter.
fn a_runtime_that_joins_another_gets_the_output() {
    let runtime = runtime();
    serve(&runtime, |remote| {
        let task = remote.spawn(|| async { 7 }).unwrap();
        assert_eq!(self::runtime().block_on(task).unwrap(), 7);
    });
}

/// T11, W04: first polled with one waker, then with another, while the promise is kept.
fn the_last_waker_of_a_join_is_woken() {
    let runtime = runtime();
    serve(&runtime, |remote| {
        let mut task = pin!(remote.spawn(|| async { 7 }).unwrap());
        let thread = thread::current();
        let last = waker_fn::waker_fn(move || thread.unpark());
        let mut polled = poll_once(task.as_mut(), Waker::noop());
        while polled.is_pending() {
            polled = poll_once(task.as_mut(), &last);
            if polled.is_pending() {
                thread::park();
            }
        }
        assert!(matches!(polled, Poll::Ready(Ok(7))));
    });
}

/// T02: the handle is dropped while the promise is kept.
fn an_output_that_nobody_takes_is_dropped_once() {
    let runtime = runtime();
    let dropped = count();
    let output = Token::anywhere(&dropped);
    serve(&runtime, |remote| {
        let mut task = remote.spawn(|| async { output }).unwrap();
        let _ = poll_once(Pin::new(&mut task), Waker::noop());
    });
    drop(runtime);
    assert_eq!(dropped.load(SeqCst), 1);
}

/// D03: a promise that is broken wakes who waits for it.
fn the_end_of_the_runtime_ends_a_join() {
    let runtime = runtime();
    let task = {
        let remote = runtime.remote();
        remote.spawn(pending::<()>).unwrap()
    };
    let thread = thread::spawn(move || task.join());
    runtime.turn(Some(Duration::ZERO)).unwrap();
    drop(runtime);
    assert!(thread.join().unwrap().unwrap_err().is_cancelled());
}

// ---- handles on other threads -----------------------------------------------------------------

/// T01, T04.
fn a_task_that_is_aborted_elsewhere_is_dropped_at_home() {
    let runtime = runtime();
    let dropped = count();
    let token = Token::here(&dropped);
    let task = runtime.spawn(async move {
        pending::<()>().await;
        drop(token);
    });
    let abort = task.abort_handle();
    thread::spawn(move || abort.abort());
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    assert_eq!(dropped.load(SeqCst), 1);
}

/// T04, W08: in either order, and in one letter or two.
fn an_abort_that_races_with_a_wake_ends_the_task_once() {
    let runtime = runtime();
    let dropped = count();
    let (token, mut polls) = (Token::here(&dropped), 0);
    let task = runtime.spawn(poll_fn(move |cx| {
        let _token = &token;
        polls += 1;
        if polls == 2 {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread::spawn(move || waker.wake());
        Poll::Pending
    }));
    let abort = task.abort_handle();
    thread::spawn(move || abort.abort());
    let _either = runtime.block_on(task);
    assert_eq!(dropped.load(SeqCst), 1);
}

/// T03: its output is dropped at home, once, whether it had ended or not.
fn a_handle_dropped_elsewhere_lets_the_task_end() {
    let runtime = runtime();
    let dropped = count();
    let (output, theirs) = (Token::here(&dropped), dropped.clone());
    let task = runtime.spawn(async { output });
    let thread = thread::spawn(move || drop(task));
    while theirs.load(SeqCst) == 0 {
        runtime.turn(None).unwrap();
    }
    thread.join().unwrap();
    drop(runtime);
    assert_eq!(dropped.load(SeqCst), 1);
}

/// W08, F02: a task that ends by one of two wakes; the other is no poll of the task that comes in its place.
fn a_late_wake_harms_nobody() {
    let runtime = runtime();
    let wakers = Rc::new(std::cell::RefCell::new(None));
    let theirs = wakers.clone();
    let mut first =
        runtime.spawn(poll_fn(move |cx| match theirs.replace(Some(cx.waker().clone())) {
            None => Poll::Pending,
            Some(_) => Poll::Ready(()),
        }));
    runtime.turn(Some(Duration::ZERO)).unwrap();
    let waker = wakers.borrow().clone().unwrap();
    let late = waker.clone();
    let thread = thread::spawn(move || late.wake());
    waker.wake();
    runtime.block_on(&mut first).unwrap();
    let polls = Rc::new(std::cell::Cell::new(0));
    let theirs = polls.clone();
    let _second = runtime.spawn(poll_fn(move |_| {
        theirs.set(theirs.get() + 1);
        Poll::<()>::Pending
    }));
    runtime.turn(Some(Duration::ZERO)).unwrap();
    thread.join().unwrap();
    runtime.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(polls.get(), 1);
}

// ---- workers ----------------------------------------------------------------------------------

fn workers() -> Workers {
    let two = std::num::NonZeroUsize::new(2).unwrap();
    Workers::new(two).runtime(Runtime::builder().spin(Duration::ZERO))
}

fn workers_meet_before_they_begin() {
    let outputs = workers().run(|worker| async move { worker }).unwrap();
    assert_eq!(outputs, [0, 1]);
}

/// X02: whoever of the two it is, and whether the other one waits for it already.
fn a_worker_that_cannot_begin_ends_the_others() {
    CALLS.with(|calls| calls.until_refused.set(1));
    let began = count();
    let theirs = began.clone();
    let error = workers().run(move |_| {
        add(&theirs);
        async {}
    });
    assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EMFILE));
    assert_eq!(began.load(SeqCst), 0, "one began without the other");
}

// ---- signals ----------------------------------------------------------------------------------

/// Until a signal is there, as `Signals` waits for it: asked first, then by the edge.
fn next_signal(caught: &Caught, epoll: &Epoll) -> i32 {
    loop {
        if let Some(signal) = caught.take() {
            return signal;
        }
        epoll.wait(&mut Events::with_capacity(1), None).unwrap();
    }
}

fn caught(signals: &[i32]) -> (Arc<Caught>, Epoll, Vec<Handler>) {
    let (caught, epoll) = (Arc::new(Caught::new().unwrap()), Epoll::new().unwrap());
    epoll.add(caught.event().fd(), 0, 0).unwrap();
    // Unlike a letter, a signal is looked for without a lock.
    CALLS.with(|calls| calls.orders.set(true));
    let handlers = signals.iter().map(|signal| Handler::new(*signal, caught.clone()).unwrap());
    let handlers = handlers.collect();
    (caught, epoll, handlers)
}

/// G01: two that come together may be one, but none is older than the last.
fn a_signal_is_seen_after_the_last_time_it_came() {
    let (caught, epoll, _handlers) = caught(&[10]);
    let words = words();
    let theirs = words.clone();
    thread::spawn(move || {
        for time in 1..=2 {
            theirs[0].store(time, Relaxed);
            std::raise(10);
        }
    });
    while words[0].load(Relaxed) < 2 {
        assert_eq!(next_signal(&caught, &epoll), 10);
    }
}

/// G01.
fn two_signals_are_both_seen() {
    let (caught, epoll, _handlers) = caught(&[10, 12]);
    for signal in [10, 12] {
        thread::spawn(move || std::raise(signal));
    }
    let mut seen = [next_signal(&caught, &epoll), next_signal(&caught, &epoll)];
    seen.sort();
    assert_eq!(seen, [10, 12]);
    assert_eq!(caught.take(), None);
}

// ---- names ------------------------------------------------------------------------------------

/// The waker is left before, while or after the resolver's thread looks for it.
fn a_name_is_looked_up_while_the_runtime_sleeps() {
    let name = Addresses::Name("127.0.0.1".into(), 80);
    assert_eq!(runtime().block_on(name.resolve()).unwrap()[0].port(), 80);
}

fn a_look_up_that_is_given_up_harms_nobody() {
    let runtime = runtime();
    runtime.block_on(async {
        let mut name = Box::pin(Addresses::Name("127.0.0.1".into(), 80).resolve());
        poll_fn(|cx| {
            let _ = name.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    });
    runtime.turn(Some(Duration::ZERO)).unwrap();
}
