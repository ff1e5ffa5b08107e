//! The handles of spawned tasks: to await one, to abort it, to name it, to group several.
//!
//! A handle is plain data: where the task is, and which task it was. It keeps nothing alive, and works on its
//! runtime's thread; from elsewhere it can still be dropped, or abort, and that goes home by letter.

mod abort;
mod error;
mod info;
mod set;

pub use crate::executor::State;
pub use abort::{AbortHandle, AbortOnDrop};
pub use error::JoinError;
pub use info::{Id, TaskInfo, Wait, WaitOn};
pub use set::JoinSet;

use crate::current;
use crate::home::{at_home, panic_outside, under};
use crate::run;
use crate::spawned::{Spawned, erase, take_payload};
use crate::tasks::{About, Ended, Name, TaskKey};
use crate::waker::mailbox_of;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The other end of a spawned task. Awaiting it gives the task's output.
///
/// Dropping it *detaches* the task, which runs on alone, as a thread of std's does. For the opposite there are
/// [`abort_on_drop`](JoinHandle::abort_on_drop) and [`JoinSet`].
///
/// Awaiting is cancel safe: a `JoinHandle` can be awaited by reference, given up, and awaited again.
///
/// # Errors
/// [`JoinError`], when the task has panicked, was aborted, or has ended with its runtime.
///
/// # Panics
/// When it is awaited under another runtime than its own, or again after it was ready.
///
/// ```
/// waken::block_on(async {
///     let task = waken::spawn(async { "done" });
///     assert_eq!(task.await.unwrap(), "done");
///
///     let task = waken::spawn(async { panic!("oh") });
///     assert!(task.await.unwrap_err().is_panic());
/// });
/// ```
#[doc(alias = "Task")]
pub struct JoinHandle<T> {
    /// Once it was joined, of no runtime.
    key: TaskKey,
    /// Takes a `T` out of what the task has left. Made where `T: 'static` is known.
    take: fn(&mut Spawned) -> Option<T>,
    // As if it held the output: `Send` when that is.
    output: PhantomData<T>,
}

/// The serial of no runtime: none ends in 16 zeros. (And not 0, which is current where no runtime is.)
const JOINED: u32 = 1 << 16;

impl<T> JoinHandle<T> {
    pub(crate) fn new(key: TaskKey) -> JoinHandle<T>
    where
        T: 'static,
    {
        let take = |left: &mut Spawned| {
            let mut output = None;
            left.as_mut().leave(&mut output);
            output
        };
        JoinHandle { key, take, output: PhantomData }
    }

    /// Ends the task: its future is dropped before the next turn ends, never in here. (With
    /// [`polls_per_turn`](crate::Builder::polls_per_turn) it waits for its place in the queue like any other.)
    ///
    /// A task that is ready in the very poll in which it is aborted has finished. Aborting one that has ended, or
    /// twice, does nothing. From another thread it goes by letter.
    ///
    /// ```
    /// waken::block_on(async {
    ///     let task = waken::spawn(std::future::pending::<()>());
    ///     task.abort();
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    #[doc(alias = "cancel")]
    pub fn abort(&self) {
        abort(self.key);
    }

    /// A handle that can only abort, and may be cloned.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(self.key)
    }

    /// The same handle, but dropping it aborts the task.
    ///
    /// ```
    /// use std::time::Duration;
    /// use waken::time::{interval, sleep};
    /// waken::block_on(async {
    ///     let heartbeat = waken::spawn(async {
    ///         let mut ticks = interval(Duration::from_secs(1));
    ///         loop {
    ///             ticks.tick().await;
    ///             println!("alive");
    ///         }
    ///     });
    ///     let _heartbeat: waken::task::AbortOnDrop<()> = heartbeat.abort_on_drop();
    ///     sleep(Duration::from_millis(5)).await;             // and the heartbeat ends with this block
    /// });
    /// ```
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop::new(self)
    }

    /// Whether the task has ended and its future is dropped.
    ///
    /// # Panics
    /// On another thread than the runtime's, while that lives, unless the task was joined.
    ///
    /// ```
    /// waken::block_on(async {
    ///     let task = waken::spawn(async {});
    ///     assert!(!task.is_finished());                      // it was not polled yet
    ///     waken::task::yield_now().await;
    ///     assert!(task.is_finished());
    /// });
    /// ```
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        has_ended(self.key)
    }

    /// The task's id, as [`TaskInfo`] and [`JoinError`] tell it.
    pub fn id(&self) -> Id {
        Id::from_bits(self.key.id)
    }

    /// Another handle to the same task, for a caller that forgets this one.
    fn renew(&self) -> JoinHandle<T> {
        JoinHandle { key: self.key, take: self.take, output: PhantomData }
    }

    /// `poll`, free of budget.
    fn poll_output(&mut self, cx: &Context<'_>) -> Poll<Result<T, JoinError>> {
        let (key, id) = (self.key, self.key.id);
        if current::runtime() != key.runtime {
            assert!(key.runtime != JOINED, "a `JoinHandle` was polled again after it was ready");
            ended_or_panic(key, "a `JoinHandle` was awaited");
            self.key.runtime = JOINED;
            return Poll::Ready(Err(JoinError::cancelled(id)));
        }
        let number = ready!(run::poll_joiner(key, cx));
        // Not in a function beside `poll_joiner`: that would be one for all outputs, and each join a call of it.
        let (ended, left) = match current::executor(|executor| executor.join(key, number)) {
            Ok(left) => left,
            Err(before) => {
                before.drop_contained();
                return Poll::Pending;
            }
        };
        self.key.runtime = JOINED;
        Poll::Ready(match (ended, left) {
            (Ended::Finished, Some(mut left)) => match (self.take)(&mut left) {
                Some(output) => {
                    drop(current::executor(|executor| executor.keep_spare(left)));
                    Ok(output)
                }
                None => unreachable!("a finished task holds its output until it is joined"),
            },
            (Ended::Panicked, Some(left)) => Err(JoinError::panicked(id, take_payload(left))),
            _ => Err(JoinError::cancelled(id)),
        })
    }
}

// The output is never in the handle, so nothing is pinned.
impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(current::poll_budget(cx));
        let result = ready!(self.poll_output(cx));
        current::spend();
        Poll::Ready(result)
    }
}

/// A handle that is not used under its own runtime: the task has ended with that, or this is a mistake.
#[cold]
fn ended_or_panic(key: TaskKey, what: &str) {
    assert!(
        mailbox_of(key.runtime).is_none(),
        "{what} under another runtime than the task's own, or on another thread: \
         await it inside the `block_on` that runs the task, or spawn with `Runtime::remote`"
    );
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.key.runtime != JOINED {
            detach(self.key);
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Makes a task of the current runtime. `what` was called.
#[inline]
#[track_caller]
pub(crate) fn spawn<F>(what: &str, future: F, about: About) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    if current::runtime() == 0 {
        panic_outside(what);
    }
    // Only a mistake of ours could drop these on the way; to say so spares the code, and a way over the stack.
    let refilled = |from: &mut _| current::executor(|executor| executor.refill_spare(from));
    let new = ManuallyDrop::new((erase(future, refilled), about));
    JoinHandle::new(current::executor(|executor| executor.spawn(new)))
}

/// Nobody will join the task.
fn detach(key: TaskKey) {
    // What comes out is dropped by the caller, in its own `drop`, and so is a panic in that.
    let detach = move || {
        let (joiner, task) = current::executor(|executor| executor.detach(key));
        (joiner, task.and_then(run::keep_panic))
    };
    match under(key.runtime, detach) {
        Some((joiner, task)) => {
            joiner.drop_contained();
            drop(task);
        }
        None => at_home(key.runtime, move |_| drop(detach())),
    }
}

fn abort(key: TaskKey) {
    if key.runtime == JOINED {
        return;
    }
    at_home(key.runtime, move |_| current::executor(|executor| executor.abort(key)));
}

#[track_caller]
fn has_ended(key: TaskKey) -> bool {
    let here = under(key.runtime, || current::executor(|executor| executor.ended(key).is_some()));
    here.unwrap_or_else(|| {
        ended_or_panic(key, "`is_finished` was asked");
        true
    })
}

/// Lets the other tasks that are ready go first. Then the kernel and the clock are asked, and whoever they wake stands
/// behind. Cancel safe.
///
/// ```
/// # waken::block_on(async {
/// for chunk in [1, 2, 3] {
///     let _ = chunk;                 // a piece of long work …
///     waken::task::yield_now().await; // … and the others get their turn
/// }
/// # });
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// See [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Spends one unit of the task's budget, and yields when that is used up. For loops that compute, or read what is
/// always ready, and should not yield every time round. Cancel safe.
///
/// ```
/// # waken::block_on(async {
/// for _ in 0..10_000 {
///     waken::task::consume_budget().await; // yields 78 times
/// }
/// # });
/// ```
#[doc(alias = "coop")]
pub async fn consume_budget() {
    current::operation().await;
}

/// Spawns a task with a name, which [`TaskInfo`] shows.
///
/// ```
/// waken::block_on(async {
///     let task = waken::task::Builder::new().name("heartbeat").spawn(async {});
///     task.await.unwrap();
/// });
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<Name>,
}

impl Builder {
    /// A task without a name.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Gives the task a name.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Builder {
        self.name = Some(Box::new(name.into()));
        self
    }

    /// As [`waken::spawn`](crate::spawn).
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn("task::Builder::spawn", future, About::of::<F>(self.name, Location::caller()))
    }
}

/// The id of the task that is running.
///
/// ```
/// waken::block_on(async {
///     let task = waken::spawn(async { waken::task::id() });
///     assert_eq!(task.id(), task.await.unwrap());
/// });
/// ```
///
/// # Panics
/// Outside of a task. The future given to `block_on` is not one.
#[track_caller]
pub fn id() -> Id {
    match try_id() {
        Some(id) => id,
        None => {
            panic!("`task::id` outside of a task: `spawn` what calls it, or use `task::try_id`")
        }
    }
}

/// The id of the task that is running, if one is.
pub fn try_id() -> Option<Id> {
    current::executor(|executor| {
        Some(Id::from_bits(executor.tasks.meant_by(current::number())?.id))
    })
}
