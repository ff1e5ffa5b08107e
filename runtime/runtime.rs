//! Where the parts meet: the loop.
//!
//! A runtime is four rooms, `Parts` in `home.rs`: executor, reactor, timers, mailbox. A *letter* is a wake,
//! or a job, that another thread has put into the mailbox.
//!
//! Data flows one way round: kernel → reactor → waker → ready queue → task → socket → kernel. The loop
//! is [`Runtime::block_on`]; every other file explains one line of it.

mod builder;
mod inspect;
mod remote;

pub use builder::Builder;
pub use inspect::Metrics;
pub use remote::{Remote, RemoteError, RemoteJoinHandle};

use crate::current;
use crate::executor::{About, HELD_ACROSS_AWAIT};
use crate::home::{self, Entered, Parts, expect_current};
use crate::mailbox::Letters;
use crate::sys;
use crate::task::{JoinHandle, TaskInfo};
use crate::waker::{self, Number, contain, wake_contained};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

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
pub struct Runtime {
    parts: Rc<Parts>,
}

impl Runtime {
    /// A runtime with the defaults of [`Builder`].
    ///
    /// # Errors
    /// When the process is out of descriptors (a runtime needs two), or has 65,535 runtimes.
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
        let _blocking = Blocking::begin();
        let _current = self.enter();
        let mut root = pin!(future);
        let number = Number::of_root(parts.id);
        let waker = ManuallyDrop::new(number.waker());
        let mut cx = Context::from_waker(&waker);
        number.wake();
        loop {
            if current::take_root() {
                current::begin_poll(number.to_bits());
                let polled = root.as_mut().poll(&mut cx);
                current::end_poll();
                assert!(current::runtime() == parts.id, "{HELD_ACROSS_AWAIT}");
                if let Poll::Ready(output) = polled {
                    return output;
                }
            }
            parts.turn_until_root_is_woken();
        }
    }

    /// Makes a task of `future`. It is polled for the first time in the next turn, on this thread, while
    /// [`block_on`](Runtime::block_on) runs. Needs no `Send`. Dropping the handle lets the task run on.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let _current = self.parts.enter();
        JoinHandle::new(self.parts.spawn(future, About::of::<F>(None, Location::caller())))
    }

    /// A handle for other threads: it can spawn here, and wake this runtime.
    pub fn remote(&self) -> Remote {
        Remote::new(self.parts.mailbox.clone(), self.parts.id)
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
        EnterGuard { _entered: self.parts.enter(), of: PhantomData }
    }

    /// What this runtime has done so far, and what it holds.
    pub fn metrics(&self) -> Metrics {
        let _current = self.parts.enter();
        self.parts.metrics()
    }

    /// Every task that has not ended, with what it waits for: the *wait graph*. The future given to `block_on` is
    /// no task, and not among them.
    ///
    /// ```
    /// let runtime = waken::Runtime::new()?;
    /// runtime.spawn(std::future::pending::<()>());
    /// assert!(runtime.tasks()[0].to_string().starts_with("task 1 "));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        let _current = self.parts.enter();
        self.parts.tasks()
    }
}

impl Parts {
    /// Polls what is ready, and looks for more, until the root is. Not part of `block_on`, which is
    /// compiled anew for every future.
    fn turn_until_root_is_woken(&self) {
        loop {
            let are_ready = self.executor.run_ready(self.polls_per_turn, self.now.get());
            self.park(are_ready || current::is_root_woken());
            if current::is_root_woken() {
                return;
            }
        }
    }

    /// Asks the kernel and the clock, and wakes whom they name. Sleeps unless something is ready (`busy`).
    #[inline]
    fn park(&self, busy: bool) {
        assert!(
            self.process == sys::process(),
            "a runtime goes on in the parent of a fork: leave the child by `exec` or `_exit`"
        );
        self.turns.set(self.turns.get() + 1);
        if !busy {
            self.executor.shrink();
            let left = self.timers.next().map(until);
            // From here on a letter wakes us; one that has come already keeps us awake.
            if left == Some(Duration::ZERO) || self.mailbox.park() {
                match left {
                    None => self.reactor.wait(None),
                    Some(left) => self.reactor.wait_at_most(left),
                }
            }
        } else if self.reactor.sources() > 0 {
            self.reactor.wait_at_most(Duration::ZERO);
        } else if !self.mailbox.has_letters() && self.timers.alive() == 0 {
            // Nobody could have news: no source, no letter, no timer. Tasks that only wake each other cost
            // no call, but for the clock by which `tasks` tells ages, now and then.
            if self.turns.get() % 64 != 0 {
                return;
            }
        }
        if let Some(letters) = self.mailbox.take() {
            deliver(letters);
        }
        if self.timers.alive() > 0 {
            self.timers.fire(Instant::now());
        }
        self.now.set(sys::coarse_clock());
    }
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn deliver(letters: Letters) {
    letters.wakes.into_iter().for_each(|number| Number::from_bits(number).wake());
    letters.jobs.into_iter().for_each(contain);
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Current while it ends: destructors may spawn, wake, abort, open and close sockets.
        let _current = self.parts.enter();
        let parts = &self.parts;
        // The tasks go first, while everything they own can still be deregistered. A foreign waker that is
        // dropped with a timer or a source may spawn once more, so the tasks are asked again at the end.
        parts.executor.clear();
        waker::unregister(parts.id);
        // One by one: a second panic while the first one unwinds would end the process.
        parts.mailbox.close().jobs.into_iter().for_each(|job| contain(|| drop(job)));
        parts.timers.clear().into_iter().for_each(wake_contained);
        drop(parts.reactor.clear());
        parts.executor.clear();
        home::leave(parts);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { id, executor, reactor, timers, .. } = &*self.parts;
        f.debug_struct("Runtime")
            .field("id", id)
            .field("tasks", &executor.alive())
            .field("sources", &reactor.sources())
            .field("timers", &timers.alive())
            .finish()
    }
}

/// The runtime that [`Runtime::enter`] was called on is current until this is dropped.
#[must_use = "the runtime is current only as long as the guard lives"]
pub struct EnterGuard<'a> {
    _entered: Entered,
    of: PhantomData<&'a Runtime>,
}

impl fmt::Debug for EnterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}

/// This thread is inside `block_on`.
struct Blocking;

impl Blocking {
    #[track_caller]
    fn begin() -> Blocking {
        assert!(
            !current::set_blocking(true),
            "`block_on` inside `block_on`: the thread is running a runtime already; `.await` the future, \
             or give it a thread of its own with `std::thread::spawn`"
        );
        Blocking
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        current::set_blocking(false);
    }
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
    drop(Blocking::begin()); // Only the check, before descriptors are spent.
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
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    JoinHandle::new(expect_current("spawn").spawn(future, About::of::<F>(None, Location::caller())))
}

/// What every task of the current runtime waits for. See [`Runtime::tasks`].
///
/// # Panics
/// Outside of a runtime.
///
/// ```
/// waken::block_on(async {
///     waken::spawn(std::future::pending::<()>());
///     assert_eq!(waken::runtime::tasks().len(), 1);
/// });
/// ```
#[track_caller]
pub fn tasks() -> Vec<TaskInfo> {
    expect_current("runtime::tasks").tasks()
}

/// What the current runtime has done so far. See [`Runtime::metrics`].
///
/// # Panics
/// Outside of a runtime.
#[track_caller]
pub fn metrics() -> Metrics {
    expect_current("runtime::metrics").metrics()
}

/// A handle to the current runtime, for other threads. See [`Runtime::remote`].
///
/// # Panics
/// Outside of a runtime.
///
/// ```
/// waken::block_on(async {
///     let remote = waken::runtime::remote();
///     let thread = std::thread::spawn(move || remote.spawn(|| async { 7 }));
///     assert_eq!(thread.join().unwrap().unwrap().await.unwrap(), 7);
/// });
/// ```
#[track_caller]
pub fn remote() -> Remote {
    let parts = expect_current("runtime::remote");
    Remote::new(parts.mailbox.clone(), parts.id)
}
