//! Two handles that end a task: one at will, one when it is dropped.

use super::{Id, JoinError, JoinHandle, abort, has_ended};
use crate::tasks::TaskKey;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A [`JoinHandle`] that aborts its task when it is dropped.
///
/// ```
/// waken::block_on(async {
///     let task = waken::spawn(std::future::pending::<()>()).abort_on_drop();
///     let watch = task.detach();           // changed my mind
///     watch.abort();
///     let task = watch.abort_on_drop();
///     assert!(task.await.is_err());
/// });
/// ```
#[must_use = "dropping it at once aborts the task"]
pub struct AbortOnDrop<T> {
    handle: JoinHandle<T>,
}

impl<T> AbortOnDrop<T> {
    pub(super) fn new(handle: JoinHandle<T>) -> AbortOnDrop<T> {
        AbortOnDrop { handle }
    }

    /// Back to a handle whose drop lets the task run on.
    pub fn detach(self) -> JoinHandle<T> {
        let handle = self.handle.renew();
        // Neither this one's drop nor the inner one's may run: the task has another handle now.
        std::mem::forget(self);
        handle
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<T> fmt::Debug for AbortOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortOnDrop").field("id", &self.handle.id()).finish_non_exhaustive()
    }
}

/// Aborts a task, and nothing else. See [`JoinHandle::abort`].
///
/// ```
/// waken::block_on(async {
///     let task = waken::spawn(std::future::pending::<()>());
///     let stop = task.abort_handle();
///     waken::spawn(async move { stop.abort() });
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
#[derive(Clone)]
pub struct AbortHandle {
    key: TaskKey,
}

impl AbortHandle {
    pub(super) fn new(key: TaskKey) -> AbortHandle {
        AbortHandle { key }
    }

    /// See [`JoinHandle::abort`].
    pub fn abort(&self) {
        abort(self.key);
    }

    /// See [`JoinHandle::is_finished`], also for its panic.
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        has_ended(self.key)
    }

    /// The task's id.
    pub fn id(&self) -> Id {
        Id::from_bits(self.key.id)
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("id", &self.id()).finish_non_exhaustive()
    }
}
