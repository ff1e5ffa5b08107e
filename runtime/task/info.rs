//! What a runtime tells of its tasks: plain data, and the sentence that shows it.

use crate::executor::State;
use crate::tasks;
use std::borrow::Cow;
use std::fmt;
use std::os::fd::RawFd;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Which task. Counted from 1 in each runtime, and not used twice in 2^48 tasks.
///
/// Ids of two runtimes differ as well, although they print alike, as long as fewer than 65,536 runtimes have
/// been made in between. They are in the order in which the tasks of a runtime were spawned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl Id {
    pub(crate) fn from_bits(bits: u64) -> Id {
        Id(bits)
    }

    fn within_runtime(self) -> u64 {
        tasks::count(self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.within_runtime())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.within_runtime().fmt(f)
    }
}

/// One row of [`Runtime::tasks`](crate::Runtime::tasks): who it is, and what it waits for.
///
/// Its `Display` is a sentence: ``task 7 `conn` (src/main.rs:12) waits 12.3 s for fd 9 readable (src/main.rs:19)``.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Which task.
    pub id: Id,
    /// The name it was given by [`task::Builder`](crate::task::Builder).
    pub name: Option<Cow<'static, str>>,
    /// Where `spawn` was called.
    pub spawned_at: &'static Location<'static>,
    /// The type of its future.
    pub future: &'static str,
    /// What it is doing.
    pub state: State,
    /// How often it was polled.
    pub polls: u64,
    /// Since the turn of its last poll began, to a few milliseconds.
    pub idle: Duration,
    /// Whatever holds its waker.
    pub waits_for: Vec<Wait>,
}

/// One thing that will wake a task.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Wait {
    /// What it is.
    pub on: WaitOn,
    /// Where the method was called whose future waits. `None` where that is not known: through the poll traits,
    /// and for a [`JoinHandle`](crate::JoinHandle).
    pub at: Option<&'static Location<'static>>,
}

/// What a task can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitOn {
    /// A descriptor, to read from it.
    Readable(RawFd),
    /// A descriptor, to write to it.
    Writable(RawFd),
    /// A point in time.
    Until(Instant),
    /// The end of another task.
    Task(Id),
    /// Something that this runtime does not know: a channel, a lock, a thread.
    Other,
}

impl TaskInfo {
    /// ``task 7 `conn` (src/main.rs:12)``
    pub(crate) fn who(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("`{name}` ")).unwrap_or_default();
        format!("task {} {name}({})", self.id, Place(self.spawned_at))
    }
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.who())?;
        let seconds = self.idle.as_secs_f64();
        match self.state {
            State::Running => write!(f, "is running"),
            State::Runnable => write!(f, "is ready to run"),
            State::Waiting => write!(f, "waits {seconds:.1} s for "),
        }?;
        if self.state == State::Waiting {
            for (n, wait) in self.waits_for.iter().enumerate() {
                write!(f, "{}{wait}", if n > 0 { " or " } else { "" })?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.on {
            WaitOn::Readable(fd) => write!(f, "fd {fd} readable"),
            WaitOn::Writable(fd) => write!(f, "fd {fd} writable"),
            WaitOn::Until(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) => write!(f, "a timer in {:.1} s", left.as_secs_f64()),
                None => write!(f, "a timer that is due"),
            },
            WaitOn::Task(id) => write!(f, "task {id} to end"),
            WaitOn::Other => write!(f, "something outside of this runtime"),
        }?;
        match self.at {
            Some(at) => write!(f, " ({})", Place(at)),
            None => Ok(()),
        }
    }
}

/// A location without its column.
struct Place(&'static Location<'static>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}
