//! The runtime, seen from other threads: a mailbox to post into, and a result to wait for.

use super::Runtime;
use crate::current;
use crate::home::{Parts, expect_current};
use crate::mailbox::Mailbox;
use crate::number::Number;
use crate::task::{self, JoinError};
use crate::tasks::About;
use crate::waker::{drop_contained, wake_contained};
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

/// A handle to a [`Runtime`](crate::Runtime) that may be cloned, sent, and used from every thread, also after
/// the runtime's end.
///
/// ```
/// let runtime = waken::Runtime::new()?;
/// let remote = runtime.remote();
/// let answer = std::thread::spawn(move || {
///     // The future is made over there, so it may hold an `Rc`.
///     remote.spawn(|| async { *std::rc::Rc::new(42) })
/// });
/// let task = answer.join().unwrap().unwrap();
/// assert_eq!(runtime.block_on(task).unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "Handle")]
#[derive(Clone)]
pub struct Remote {
    mailbox: Arc<Mailbox>,
    root: Number,
}

impl Runtime {
    /// A handle for other threads: it can spawn here, and wake this runtime.
    pub fn remote(&self) -> Remote {
        Remote::new(&self.parts)
    }
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
    Remote::new(&expect_current("runtime::remote"))
}

impl Remote {
    fn new(parts: &Parts) -> Remote {
        Remote { mailbox: parts.mailbox.clone(), root: Number::of_root(parts.id) }
    }

    /// Runs `make` on the runtime's thread, and spawns the future that it returns, which needs no `Send`.
    ///
    /// A panic in `make` is the task's. Dropping the handle lets the task run on.
    ///
    /// # Errors
    /// When the runtime has ended. One that ends later makes the task's join an error instead.
    #[track_caller]
    pub fn spawn<M, F>(&self, make: M) -> Result<RemoteJoinHandle<F::Output>, RemoteError>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let at = Location::caller();
        let shared = Arc::new(Mutex::new(Outcome { kept: false, result: None, waker: None }));
        let promise = Promise(shared.clone());
        let job = move || {
            let spawned = async move { make().await };
            let task = task::spawn("Remote::spawn", spawned, About::of::<F>(None, at));
            // Its end is passed on by a task of its own, since whoever waits is elsewhere.
            let relay = async move { promise.keep(task.await) };
            let about = About::of::<Promise<F::Output>>(None, at);
            drop(task::spawn("Remote::spawn", relay, about));
        };
        match self.mailbox.post(Box::new(job)) {
            Ok(()) => Ok(RemoteJoinHandle { shared, mailbox: self.mailbox.clone(), joined: false }),
            Err(_) => Err(RemoteError(())),
        }
    }

    /// Makes a runtime that sleeps in `block_on` look up, and poll the future that it was given, but no task. Never
    /// blocks and never fails; after the runtime's end it does nothing.
    pub fn wake(&self) {
        self.mailbox.wake(self.root);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("ended", &self.mailbox.is_closed()).finish()
    }
}

struct Outcome<T> {
    /// There is a result, or there was until it was taken.
    kept: bool,
    result: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
}

type Shared<T> = Arc<Mutex<Outcome<T>>>;

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, Outcome<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task's side: kept by its result, or broken by being dropped with the runtime.
struct Promise<T>(Shared<T>);

impl<T> Promise<T> {
    fn keep(&self, result: Result<T, JoinError>) {
        let mut outcome = lock(&self.0);
        (outcome.kept, outcome.result) = (true, Some(result));
        let waker = outcome.waker.take();
        drop(outcome);
        waker.into_iter().for_each(wake_contained);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let kept = lock(&self.0).kept;
        if !kept {
            self.keep(Err(JoinError::cancelled(0)));
        }
    }
}

/// The output of a task that was spawned through a [`Remote`]: await it on any runtime, or
/// [`join`](RemoteJoinHandle::join) it on a thread that may block. Dropping it lets the task run on. Awaiting it is cancel
/// safe; polling it again after it was ready is a panic.
pub struct RemoteJoinHandle<T> {
    shared: Shared<T>,
    mailbox: Arc<Mailbox>,
    joined: bool,
}

impl<T> RemoteJoinHandle<T> {
    /// Blocks this thread until the task has ended.
    ///
    /// # Errors
    /// When the task has panicked, or the runtime has ended before it.
    ///
    /// # Panics
    /// On the runtime's own thread: it would wait for itself.
    ///
    /// ```
    /// let runtime = waken::Runtime::new()?;
    /// let remote = runtime.remote();
    /// let thread = std::thread::spawn(move || remote.spawn(|| async { 7 }).unwrap().join().unwrap());
    /// runtime.block_on(async {
    ///     while !thread.is_finished() {
    ///         waken::time::sleep(std::time::Duration::from_millis(1)).await;
    ///     }
    /// });
    /// assert_eq!(thread.join().unwrap(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn join(mut self) -> Result<T, JoinError> {
        assert!(
            thread::current().id() != self.mailbox.home(),
            "`RemoteJoinHandle::join` on the runtime's own thread, which would wait for itself: `.await` the handle"
        );
        // A waker is just a fancy callback.
        let thread = thread::current();
        let waker = waker_fn::waker_fn(move || thread.unpark());
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(result) = Pin::new(&mut self).poll(&mut cx) {
                return result;
            }
            thread::park();
        }
    }
}

impl<T> Future for RemoteJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        assert!(!self.joined, "a `RemoteJoinHandle` was polled again after it was ready");
        ready!(current::poll_budget(cx));
        let waker = cx.waker().clone();
        let mut outcome = lock(&self.shared);
        if let Some(result) = outcome.result.take() {
            drop(outcome);
            current::spend();
            self.joined = true;
            return Poll::Ready(result);
        }
        let old = outcome.waker.replace(waker);
        drop(outcome);
        old.into_iter().for_each(drop_contained);
        Poll::Pending
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle").field("is_finished", &lock(&self.shared).kept).finish()
    }
}

/// The runtime has ended, so nothing can be spawned on it.
#[derive(Debug)]
#[non_exhaustive]
pub struct RemoteError(());

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime has ended: nothing can be spawned on it any more")
    }
}

impl std::error::Error for RemoteError {}
