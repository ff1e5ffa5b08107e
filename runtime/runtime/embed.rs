//! A runtime inside somebody else's loop: a turn at a time, and a descriptor that says when.

use super::park::{fire, until};
use super::{Running, Runtime, resume_unobserved};
use crate::current::{self, Now};
use crate::home::Parts;
use crate::run;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// What a runtime waits for, see [`Runtime::next_turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: there is something to do.
    Now,
    /// An event, or this time, whichever comes first.
    At(Instant),
    /// An event: the runtime's descriptor becomes readable.
    Event,
    /// Nothing: no task is alive.
    Idle,
}

impl Runtime {
    /// One turn: waits for at most `max_wait` (`Some(Duration::ZERO)`: not at all, `None`: until something happens),
    /// unless something is ready already, and then polls once each the tasks that are ready. Returns what the
    /// next turn would wait for.
    ///
    /// It may be called inside of another runtime's task. A future that was given to `block_on` is not polled by it.
    ///
    /// # Errors
    /// When `epoll_wait` fails: somebody has closed the descriptor.
    ///
    /// # Panics
    /// Inside of the same runtime, and in a forked child.
    ///
    /// ```
    /// use std::time::Duration;
    /// use waken::runtime::{Next, Runtime};
    ///
    /// let runtime = Runtime::new()?;
    /// runtime.spawn(waken::time::sleep(Duration::from_millis(1)));
    /// assert_eq!(runtime.next_turn(), Next::Now);
    /// while runtime.turn(None)? != Next::Idle {}
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "epoll_wait")]
    #[doc(alias = "poll_once")]
    #[track_caller]
    pub fn turn(&self, max_wait: Option<Duration>) -> io::Result<Next> {
        let _current = self.enter();
        let _running = Running::turn(&self.parts);
        // Not by the alarm: it would make the descriptor readable, which is what the caller waits for.
        let (busy, next) =
            current::executor(|executor| (executor.is_busy(), executor.timers.next(|_| false)));
        // `next` has called it something to do when a wait had no room for more: so this one is not to sleep.
        let more = self.parts.reactor.more.take();
        let at_most = if more { Some(Duration::ZERO) } else { max_wait };
        self.parts.ask_apart(busy, next.map(until).into_iter().chain(at_most).min())?;
        next.into_iter().for_each(fire);
        current::with(|now| self.parts.run_ready(now));
        // There is no root here, but its number may be woken to end the wait.
        current::executor(|executor| executor.is_root_woken = false);
        resume_unobserved();
        Ok(self.parts.next())
    }

    /// What the next [`turn`](Runtime::turn) would wait for. For a loop that does not wait for the descriptor alone.
    pub fn next_turn(&self) -> Next {
        let _current = self.parts.enter();
        self.parts.next()
    }
}

impl Parts {
    fn run_ready(&self, now: &Now) {
        let (executor, most) = (now.executor.borrow_mut(), self.settings.polls_per_turn);
        run::run_ready(now, executor, self.id, most, self);
    }

    /// Of the current runtime.
    fn next(&self) -> Next {
        let (ready, alive, deadline) = current::executor(|executor| {
            (executor.has_ready(), executor.alive(), executor.timers.earliest())
        });
        let is_due = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if ready || is_due || self.reactor.more.get() || self.mailbox.has_letters() {
            Next::Now
        } else if alive == 0 {
            Next::Idle
        } else {
            deadline.map_or(Next::Event, Next::At)
        }
    }
}

/// The epoll descriptor: readable when a turn would find events. Timers that are due, and tasks that were left ready,
/// make it readable only with [`Builder::self_waking_fd`](super::Builder::self_waking_fd); and once for nothing, after a
/// `block_on`. Only for waiting: whoever changes it, or closes it, ends the runtime.
impl AsFd for Runtime {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.parts.reactor.epoll().as_fd()
    }
}

impl AsRawFd for Runtime {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
