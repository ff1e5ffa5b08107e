//! Where the parts meet: the loop.
//!
//! A runtime is four rooms: reactor, mailbox and executor, which are `Parts` in `home.rs`, and timers, in the executor.
//! A *letter* is a wake, or a job, that another thread has put into the mailbox.
//!
//! Data flows one way round: kernel → reactor → waker → ready queue → task → socket → kernel. The loop
//! is [`Runtime::block_on`]; every other file explains one line of it.

mod builder;
mod embed;
mod inspect;
mod park;
mod remote;
mod workers;

pub use builder::{Builder, PanicPolicy};
pub use embed::Next;
pub use inspect::{Metrics, metrics, tasks};
pub use remote::{Remote, RemoteError, RemoteJoinHandle, remote};
pub use workers::Workers;

use crate::current::{self, Borrowed, Now};
use crate::home::{self, Entered, Parts};
use crate::number::Number;
use crate::run::{self, HELD_ACROSS_AWAIT, Watch};
use crate::spawned::contain;
use crate::sys;
use crate::task::{self, JoinHandle};
use crate::tasks::About;
use crate::waker::{self, drop_contained, wake_contained};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A single-threaded executor, its timers and its epoll instance.
///
/// It belongs to the thread that makes it. Tasks run while [`block_on`](Runtime::block_on) runs, and at no other
/// time. Dropping it drops every task, on this thread, before its descriptors are closed; a destructor may
/// still spawn, and what it spawns is dropped as well.
///
/// ```
/// use std::time::Duration;
///
/// let runtime = waken::Runtime::new()?;
/// let task = runtime.spawn(async { 6 * 7 });
/// let answer = runtime.block_on(async {
///     waken::time::sleep(Duration::from_millis(1)).await;
///     task.await
/// });
/// assert_eq!(answer.unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "LocalSet")]
#[doc(alias = "LocalExecutor")]
pub struct Runtime {
    parts: Rc<Parts>,
}

impl Runtime {
    /// A runtime with the defaults of [`Builder`].
    ///
    /// # Errors
    /// When the process is out of descriptors (a runtime needs two, and has a third if there is one), or has 65,535 runtimes.
    pub fn new() -> io::Result<Runtime> {
        Builder::new().build()
    }

    /// For other settings than the defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Runs `future` to its end on this thread, and the spawned tasks beside it.
    ///
    /// Tasks that are not done when `future` is stay as they are, until the next `block_on` or until the
    /// runtime is dropped. A panic of `future` comes out of here; the runtime can be used afterwards.
    ///
    /// # Panics
    /// Inside another `block_on` of this thread (await the future instead, or run it on a thread of its own),
    /// and in a forked child of the process that made the runtime.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let parts = &*self.parts;
        let _current = self.enter();
        let _running = Running::begin(parts);
        let mut root = pin!(future);
        parts.reactor.more.set(false);
        let number = Number::of_root(parts.id);
        let waker = ManuallyDrop::new(number.waker());
        let mut cx = Context::from_waker(&waker);
        trace!(Root { at: Location::caller() });
        loop {
            resume_unobserved();
            current::executor(|executor| executor.is_root_woken = false);
            current::with(|now| now.begin_poll(number, now.executor.borrow().limit));
            trace!(Poll { number });
            let polled = root.as_mut().poll(&mut cx);
            trace!(Polled { number, is_ready: polled.is_ready() });
            let is_current = current::with(|now| now.number.replace(Number::NONE) == number);
            assert!(is_current || current::runtime() == parts.id, "{HELD_ACROSS_AWAIT}");
            if let Poll::Ready(output) = polled {
                resume_unobserved();
                return output;
            }
            parts.turn_until_root_is_woken();
        }
    }

    /// Makes a task of `future`. It is polled for the first time in the next turn, on this thread, while
    /// [`block_on`](Runtime::block_on) runs. Needs no `Send`. Dropping the handle lets the task run on.
    #[track_caller]
    #[inline]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let _current = self.parts.enter();
        task::spawn("Runtime::spawn", future, About::of::<F>(None, Location::caller()))
    }

    /// Makes this the thread's current runtime, without running it: sockets can be made and tasks spawned.
    ///
    /// # Panics
    /// In a forked child of the process that made the runtime. Dropping guards in another order than the reverse of
    /// their making panics, and so does a future that holds a guard of another runtime across an `.await`.
    ///
    /// ```
    /// let runtime = waken::Runtime::new()?;
    /// let guard = runtime.enter();
    /// let task = waken::spawn(async { "spawned by the free function" });
    /// drop(guard);
    /// assert!(runtime.block_on(task).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn enter(&self) -> EnterGuard<'_> {
        assert!(
            self.parts.process == sys::process(),
            "this runtime was made before a fork, and belongs to the parent: make a new `Runtime` in the child"
        );
        EnterGuard { _entered: self.parts.enter() }
    }
}

impl Parts {
    /// Polls what is ready, and looks for more, until the root is. Not part of `block_on`, which is
    /// compiled anew for every future.
    #[inline(never)]
    fn turn_until_root_is_woken(&self) {
        let most = self.settings.polls_per_turn;
        let is_watched = self.settings.on_long_poll.is_some() || cfg!(debug_assertions);
        match is_watched || most < usize::MAX {
            true => self.turn_watched(most),
            false => {
                current::with(|now| self.turn_with(now, usize::MAX, &(), || self.ask(false, None)))
            }
        }
    }

    /// Where somebody looks on, or a turn has a bound.
    #[cold]
    #[inline(never)]
    fn turn_watched(&self, most: usize) {
        current::with(|now| self.turn_with(now, most, self, || self.ask_apart(false, None)));
    }

    /// A turn may be as short as one poll. So what stays as it is is looked up once, and the executor is let go of only
    /// for polls, and to ask who is outside. Nearly always nobody looks on and a turn has no bound, so for that it is compiled apart, the way to sleep as well.
    #[inline(always)]
    fn turn_with(
        &self,
        now: &Now,
        most: usize,
        watch: &impl Watch,
        sleep: impl Fn() -> io::Result<()>,
    ) {
        let runtime = self.id;
        let mut executor = now.executor.borrow_mut();
        loop {
            executor = run::run_ready(now, executor, runtime, most, watch);
            // Twice in the code, so that who is busy does not ask again whether it is.
            executor = match executor.is_busy() {
                true => self.look_outside(now, executor, true, &sleep),
                false => self.look_outside(now, executor, false, &sleep),
            }
            .unwrap_or_else(|error| {
                panic!("waken: epoll_wait failed: fd closed by other code? {error}")
            });
            if executor.is_root_woken {
                return;
            }
        }
    }

    /// Wakes whom the kernel, the clock and other threads name, if any of them can name somebody. Sleeps unless `busy`.
    #[inline(always)]
    fn look_outside<'a>(
        &self,
        now: &'a Now,
        mut executor: Borrowed<'a>,
        busy: bool,
        sleep: &impl Fn() -> io::Result<()>,
    ) -> io::Result<Borrowed<'a>> {
        let next = executor.timers.next(|deadline| self.is_told_of(deadline, busy));
        if next.is_none() && busy && !self.may_have_news(executor.counts.turns) {
            return Ok(executor);
        }
        drop(executor);
        match next {
            Some(next) => self.park(busy, next)?,
            None if busy => self.ask(true, None)?,
            None => sleep()?,
        }
        Ok(now.executor.borrow_mut())
    }

    /// Whether the alarm rings by then and is heard, since the kernel will be asked.
    #[inline(always)]
    fn is_told_of(&self, deadline: Instant, busy: bool) -> bool {
        self.reactor.alarm.rings_by(deadline) && (!busy || self.reactor.sources() > 0)
    }

    /// Whether anybody outside could make a task ready, beside the timers: a source, a letter. So tasks that only wake
    /// each other cost no call, but for the clock by which `tasks` tells ages, now and then.
    #[inline]
    fn may_have_news(&self, turns: u64) -> bool {
        self.reactor.sources() > 0 || self.mailbox.has_letters() || turns % 64 == 0
    }
}

/// Ends the loop by the panic of a task that nobody will ever join, if it is to be ended so.
fn resume_unobserved() {
    #[cold]
    fn resume() {
        let payload = current::executor(|executor| {
            executor.is_root_woken = false; // It was, so that the loop is left.
            executor.unobserved.take()
        });
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }
    if current::executor(|executor| executor.unobserved.is_some()) {
        resume();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Current while it ends: destructors may spawn, wake, abort, open and close sockets.
        let _current = self.parts.enter();
        let parts = &self.parts;
        // The tasks go first, while everything they own can still be deregistered. A foreign waker that is
        // dropped with a timer or a source may spawn once more, so the tasks are asked again at the end.
        run::drop_all();
        waker::unregister(parts.id);
        // One by one: a second panic while the first one unwinds would end the process.
        parts.mailbox.close().jobs.into_iter().for_each(|job| contain(|| drop(job)));
        current::timers(|timers| timers.clear()).into_iter().for_each(wake_contained);
        let unobserved = current::executor(|executor| executor.unobserved.take());
        contain(|| drop(unobserved));
        // Until nobody's code has run since the last look.
        loop {
            run::drop_all();
            let mut left = parts.reactor.clear();
            left.extend(current::timers(|timers| timers.clear()));
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(drop_contained);
        }
        trace!(Stop { runtime: parts.id });
        home::leave(parts.id);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metrics();
        f.debug_struct("Runtime")
            .field("id", &self.parts.id)
            .field("tasks", &metrics.tasks_alive)
            .field("sources", &metrics.sources_alive)
            .field("timers", &metrics.timers_alive)
            .finish()
    }
}

/// The runtime that [`Runtime::enter`] was called on is current until this is dropped.
#[must_use = "the runtime is current only as long as the guard lives"]
pub struct EnterGuard<'a> {
    _entered: Entered<'a>,
}

impl fmt::Debug for EnterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}

/// This thread runs a loop, and it is that of `of`.
struct Running<'a> {
    of: &'a Parts,
    /// It ran another one before, around this.
    outer: bool,
}

impl Running<'_> {
    /// For `block_on`, which may be inside no other.
    #[track_caller]
    fn begin(of: &Parts) -> Running<'_> {
        refuse_blocking();
        Running::turn(of)
    }

    /// For a turn, which may be inside of another runtime's.
    #[track_caller]
    fn turn(of: &Parts) -> Running<'_> {
        assert!(
            !of.running.replace(true),
            "a `turn` inside of its own runtime, which runs already"
        );
        Running { of, outer: current::set_blocking(true) }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.of.running.set(false);
        self.of.ran.set(true);
        current::set_blocking(self.outer);
    }
}

#[track_caller]
fn refuse_blocking() {
    let blocking = current::set_blocking(true);
    current::set_blocking(blocking);
    assert!(
        !blocking,
        "`block_on` inside `block_on`: the thread is running a runtime already; `.await` the future, \
         or give it a thread of its own with `std::thread::spawn`"
    );
}

/// Runs `future` to its end on this thread, on a new runtime that ends with it.
///
/// What was spawned and has not ended is dropped. To keep tasks between two calls, make a [`Runtime`].
///
/// # Panics
/// Inside another `block_on` of this thread, and when no runtime can be made (see [`Runtime::new`]).
///
/// ```
/// let sum = waken::block_on(async {
///     let task = waken::spawn(async { 1 + 1 });
///     task.await.unwrap() + 1
/// });
/// assert_eq!(sum, 3);
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    refuse_blocking(); // Before descriptors are spent.
    match Runtime::new() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => panic!("`block_on` could not make a runtime: {error}"),
    }
}

/// Makes a task of `future` on this thread's current runtime. See [`Runtime::spawn`].
///
/// ```
/// waken::block_on(async {
///     let shared = std::rc::Rc::new(3);   // no `Send` needed
///     let task = waken::spawn(async move { *shared });
///     assert_eq!(task.await.unwrap(), 3);
/// });
/// ```
///
/// # Panics
/// Outside of a runtime.
#[doc(alias = "spawn_local")]
#[track_caller]
#[inline]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    task::spawn("spawn", future, About::of::<F>(None, Location::caller()))
}
