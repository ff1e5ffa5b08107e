//! The settings of a runtime.

use super::Runtime;
use crate::home::{self, Parts, Settings};
use crate::number::Number;
use crate::spawned::contain;
use crate::task::TaskInfo;
use std::env;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Makes a [`Runtime`] with other settings than the defaults. One builder can make many.
///
/// ```
/// let runtime = waken::Builder::new().budget(32).events_per_poll(1024).build()?;
/// runtime.block_on(async {});
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// The defaults, which suit almost everybody.
    pub fn new() -> Builder {
        let settings = Settings {
            events_per_poll: 256,
            polls_per_turn: usize::MAX,
            budget: 128,
            spin: Duration::from_micros(40),
            self_waking_fd: false,
            propagates: false,
            on_long_poll: None,
        };
        Builder { settings }
    }

    /// How many events one `epoll_wait` may bring: 256 by default, between 1 and 65,536. More are brought by the next turn.
    pub fn events_per_poll(mut self, n: usize) -> Builder {
        self.settings.events_per_poll = n.clamp(1, 1 << 16);
        self
    }

    /// Looks at the kernel and the clock again after `n` polls of tasks, at least 1. By default only after all tasks
    /// that were ready when the turn began.
    pub fn polls_per_turn(mut self, n: usize) -> Builder {
        self.settings.polls_per_turn = n.max(1);
        self
    }

    /// How many I/O operations, timers and joins may be ready within one poll of a task before it has to let the
    /// others go first: 128 by default, at least 1.
    pub fn budget(mut self, ops: u32) -> Builder {
        self.settings.budget = ops.clamp(1, i32::MAX as u32) as i32;
        self
    }

    /// How long the thread may look again and again for something to do before it falls asleep: 40 µs by default, not
    /// at all with zero, an hour at most. It does so only where an answer may be near (something was written, or came from another thread, since
    /// the last wait, and no more than four events), and only while that pays, which it learns: when few connections are active, and each is
    /// heard from within that time, more than twice as many requests are answered, for about the same CPU time. A
    /// runtime that is idle sleeps, and so does one whose core somebody else needs.
    ///
    /// Whoever operates a program can overrule it: the environment variable `WAKEN_SPIN_US` is a number of
    /// microseconds, 0 to switch it off. `docs/park.md` shows how it learns.
    ///
    /// ```
    /// use std::time::Duration;
    /// let runtime = waken::Builder::new().spin(Duration::ZERO).build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spin(mut self, limit: Duration) -> Builder {
        self.settings.spin = limit;
        self
    }

    /// Makes the runtime's descriptor readable also when timers are due and when tasks are left that are ready: then a
    /// loop that waits for it alone, and calls [`Runtime::turn`] when it is readable, misses nothing. What is
    /// spawned under a guard of [`Runtime::enter`] is told of when the guard is dropped, or when the next turn ends. Costs up to
    /// two system calls a turn. Off by default; `block_on` does not need it.
    pub fn self_waking_fd(mut self, yes: bool) -> Builder {
        self.settings.self_waking_fd = yes;
        self
    }

    /// What becomes of a panic in a task: [`PanicPolicy::Isolate`] by default.
    ///
    /// ```
    /// use waken::runtime::{Builder, PanicPolicy};
    /// // A test had better fail when a task panics that nobody joins.
    /// let runtime = Builder::new().panics(PanicPolicy::PropagateUnobserved).build()?;
    /// let test = std::panic::AssertUnwindSafe(|| runtime.block_on(async {
    ///     waken::spawn(async { panic!("oh") });
    ///     waken::task::yield_now().await;
    /// }));
    /// assert!(std::panic::catch_unwind(test).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn panics(mut self, policy: PanicPolicy) -> Builder {
        self.settings.propagates = policy == PanicPolicy::PropagateUnobserved;
        self
    }

    /// Calls `f` after each poll of a task that took at least `over`: with the task, and how long it took. Such a poll
    /// keeps everybody else waiting. Costs two looks at the clock a poll. It runs on the runtime's thread, and while
    /// the wait graph is looked at, so it had better be short; a panic in it ends there.
    ///
    /// ```
    /// use std::time::Duration;
    /// let runtime = waken::Builder::new()
    ///     .on_long_poll(Duration::from_millis(10), |task, took| {
    ///         eprintln!("{task} after a poll of {} ms", took.as_millis());
    ///     })
    ///     .build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_long_poll(
        mut self,
        over: Duration,
        f: impl Fn(&TaskInfo, Duration) + Send + Sync + 'static,
    ) -> Builder {
        let call = move |parts: &Parts, number: Number, took: Duration| {
            if let Some(task) = parts.task(number) {
                contain(|| f(&task, took));
            }
        };
        self.settings.on_long_poll = Some((over, Arc::new(call)));
        self
    }

    /// Makes a runtime for this thread.
    ///
    /// # Errors
    /// When the process is out of descriptors (a runtime needs two, and has a third if there is one; a self-waking one needs
    /// three), or has 65,535 runtimes; and when the environment variable `WAKEN_SPIN_US` is no number.
    pub fn build(mut self) -> io::Result<Runtime> {
        if let Some(us) = env::var_os("WAKEN_SPIN_US") {
            let us = us.to_str().and_then(|us| us.parse().ok());
            let wrong = "WAKEN_SPIN_US is to be a number of microseconds, 0 to sleep at once";
            let us = us.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, wrong))?;
            self.settings.spin = Duration::from_micros(us);
        }
        let parts = Rc::new(Parts::new(self.settings)?);
        home::settle(&parts);
        Ok(Runtime { parts })
    }
}

/// What a panic inside a task does. The panic hook has printed it in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// It is kept for the [`JoinHandle`](crate::JoinHandle), and the other tasks go on.
    #[default]
    Isolate,
    /// The same, but once nobody can join the task any more, because its handle is dropped, the panic is resumed out of
    /// `block_on` or `turn`: the first one, if there are several. For tests, and for servers that are to end loudly. A task
    /// of [`Remote::spawn`](crate::Remote::spawn) counts as joined, since its outcome goes to the other thread; and a panic
    /// that comes after the last `block_on` or `turn` goes with the runtime.
    PropagateUnobserved,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { events_per_poll, polls_per_turn, budget, spin, self_waking_fd, .. } =
            &self.settings;
        f.debug_struct("Builder")
            .field("events_per_poll", events_per_poll)
            .field("polls_per_turn", polls_per_turn)
            .field("budget", budget)
            .field("spin", spin)
            .field("self_waking_fd", self_waking_fd)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}
