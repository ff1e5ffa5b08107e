//! A group of tasks that are joined in the order in which they end.
//!
//! Each member carries a guard inside its future: when that is dropped, finished or not, the member's number
//! goes into the group's list. So joining the next one costs the same with ten members as with ten thousand.

use super::{AbortHandle, JoinError, JoinHandle, spawn};
use crate::current;
use crate::tasks::About;
use crate::waker::{drop_contained, wake_contained};
use pin_project_lite::pin_project;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// A group of tasks. Dropping it aborts them all.
///
/// ```
/// use waken::JoinSet;
///
/// waken::block_on(async {
///     let mut set = JoinSet::new();
///     for n in 1..=3 {
///         set.spawn(async move { n });
///     }
///     let mut sum = 0;
///     while let Some(n) = set.join_next().await {
///         sum += n.unwrap();
///     }
///     assert_eq!(sum, 6);
/// });
/// ```
#[doc(alias = "TaskTracker")]
#[doc(alias = "FuturesUnordered")]
pub struct JoinSet<T> {
    /// By the order in which they were spawned.
    members: BTreeMap<u64, JoinHandle<T>>,
    spawned: u64,
    ended: Arc<Mutex<Endings>>,
}

#[derive(Default)]
struct Endings {
    members: VecDeque<u64>,
    waker: Option<Waker>,
}

fn lock(ended: &Mutex<Endings>) -> MutexGuard<'_, Endings> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: 'static> JoinSet<T> {
    /// An empty group.
    pub fn new() -> JoinSet<T> {
        JoinSet { members: BTreeMap::new(), spawned: 0, ended: Arc::default() }
    }

    /// Spawns a task as a member.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[track_caller]
    pub fn spawn<F: Future<Output = T> + 'static>(&mut self, future: F) -> AbortHandle {
        self.spawned += 1;
        let last_words = LastWords { member: self.spawned, ended: self.ended.clone() };
        let member = Member { future, last_words };
        let handle = spawn("JoinSet::spawn", member, About::of::<F>(None, Location::caller()));
        let abort = handle.abort_handle();
        self.members.insert(self.spawned, handle);
        abort
    }

    /// Waits for the next member to end; `None` when there is none. Cancel safe.
    ///
    /// # Panics
    /// Under another runtime than that of the members, while that lives. So do the other methods that join.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use waken::{JoinSet, time::sleep_until};
    /// waken::block_on(async {
    ///     let (mut set, start) = (JoinSet::new(), Instant::now());
    ///     for ms in [20, 1, 10] {
    ///         set.spawn(async move {
    ///             sleep_until(start + Duration::from_millis(ms)).await;
    ///             ms
    ///         });
    ///     }
    ///     let mut ended = Vec::new();
    ///     while let Some(result) = set.join_next().await {
    ///         ended.push(result.unwrap());
    ///     }
    ///     assert_eq!(ended, [1, 10, 20]);
    /// });
    /// ```
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// A member that has ended, if there is one.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.take_ended(&mut Context::from_waker(Waker::noop()))
    }

    /// [`join_next`](JoinSet::join_next), as a poll function. The last waker is woken.
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        if self.members.is_empty() {
            return Poll::Ready(None);
        }
        ready!(current::poll_budget(cx));
        let waker = cx.waker().clone();
        let old = lock(&self.ended).waker.replace(waker);
        old.into_iter().for_each(drop_contained);
        let mut ended = self.take_ended(cx);
        if let (None, Some((&first, handle))) = (&ended, self.members.iter_mut().next()) {
            // For the wait graph: a group waits for its members, so let one of them know who does.
            if let Poll::Ready(result) = handle.poll_output(cx) {
                self.members.remove(&first);
                ended = Some(result);
            }
        }
        if ended.is_none() {
            return Poll::Pending;
        }
        current::spend();
        Poll::Ready(ended)
    }

    fn take_ended(&mut self, cx: &mut Context<'_>) -> Option<Result<T, JoinError>> {
        loop {
            let member = *lock(&self.ended).members.front()?;
            // A member stays in the list until it is joined, also when joining it panics.
            let result = match self.members.get_mut(&member).map(|handle| handle.poll_output(cx)) {
                // Asked from inside a destructor of the member itself, which ends only after that.
                Some(Poll::Pending) => return None,
                Some(Poll::Ready(result)) => Some(result),
                None => None,
            };
            lock(&self.ended).members.pop_front();
            self.members.remove(&member);
            if result.is_some() {
                return result;
            }
        }
    }

    /// Aborts every member. They stay members until they are joined.
    pub fn abort_all(&mut self) {
        self.members.values().for_each(JoinHandle::abort);
    }

    /// Aborts every member and waits until they have ended. A panic of one is dropped. Cancel safe: given up,
    /// the members are aborted all the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// use waken::{JoinSet, time::timeout};
    /// waken::block_on(async {
    ///     let mut clients = JoinSet::new();
    ///     clients.spawn(std::future::pending::<()>());
    ///     // First let them end; then make them.
    ///     let all = async { while clients.join_next().await.is_some() {} };
    ///     if timeout(Duration::from_millis(5), all).await.is_err() {
    ///         clients.shutdown().await;
    ///     }
    ///     assert!(clients.is_empty());
    /// });
    /// ```
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Lets every member run on alone, and empties the group.
    #[doc(alias = "detach")]
    pub fn detach_all(&mut self) {
        self.members.clear();
        lock(&self.ended).members.clear();
    }

    /// How many members there are, ended ones that were not joined included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.members.values().for_each(JoinHandle::abort);
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.members.len()).finish_non_exhaustive()
    }
}

pin_project! {
    struct Member<F> {
        #[pin]
        future: F,
        // Declared last, so dropped last: by then the future is gone.
        last_words: LastWords,
    }
}

impl<F: Future> Future for Member<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

struct LastWords {
    member: u64,
    ended: Arc<Mutex<Endings>>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let mut ended = lock(&self.ended);
        ended.members.push_back(self.member);
        let waker = ended.waker.take();
        drop(ended);
        waker.into_iter().for_each(wake_contained);
    }
}
