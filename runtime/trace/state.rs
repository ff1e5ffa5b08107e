//! What a story knows of a runtime: its tasks, descriptors and timers, and who holds whose waker.

use super::recorder::At;
use crate::number::Number;
use std::os::fd::RawFd;
use std::time::Duration;

/// The future of `block_on`, in place of a task's id.
pub(super) const ROOT: u64 = 0;

/// `t3`, as the log and the page call it.
pub(super) fn name(id: u64) -> String {
    if id == ROOT { "root".into() } else { format!("t{id}") }
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) number: Number,
    pub(super) called: String,
    pub(super) spawned_at: At,
    pub(super) phase: Phase,
    /// How often it is in the queue.
    pub(super) queued: u32,
    pub(super) polls: u64,
    /// Clones of its waker that somebody has.
    pub(super) clones: i64,
    /// Where it waits, or did last.
    pub(super) place: At,
    /// The wake that has queued it, and when.
    pub(super) woken: Option<(u64, Duration)>,
    pub(super) because: String,
    /// Its last poll.
    pub(super) began: Duration,
    pub(super) is_aborted: bool,
    /// It was told of already that nobody has its waker.
    pub(super) is_forgotten: bool,
}

impl Task {
    pub(super) fn new(id: u64, number: Number, called: String, spawned_at: At) -> Task {
        Task {
            id,
            number,
            called,
            spawned_at,
            phase: Phase::New,
            queued: 0,
            polls: 0,
            clones: 0,
            place: None,
            woken: None,
            because: String::new(),
            began: Duration::ZERO,
            is_aborted: false,
            is_forgotten: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Queued,
    Polled,
    Waiting,
    Ended,
}

impl Phase {
    pub(super) fn word(self) -> &'static str {
        match self {
            Phase::New => "NEW",
            Phase::Queued => "QUEUED",
            Phase::Polled => "RUNNING",
            Phase::Waiting => "PARKED",
            Phase::Ended => "ENDED",
        }
    }
}

/// A place that holds a task's number, or its waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A descriptor, whether for reading, and which source of the reactor's it is: the number may be another's meanwhile.
    Fd(RawFd, bool, u32),
    Timer(u32),
    /// The end of another task.
    Task(u64),
}

impl Holder {
    /// None comes before it.
    pub(super) const FIRST: Holder = Holder::Fd(RawFd::MIN, false, 0);

    pub(super) fn long(self) -> String {
        match self {
            Holder::Fd(fd, reads, _) => format!("fd {fd} {}", able(reads)),
            Holder::Timer(_) => "a timer".into(),
            Holder::Task(id) => format!("the end of {}", name(id)),
        }
    }

    pub(super) fn short(self) -> String {
        match self {
            Holder::Fd(fd, true, _) => format!("fd{fd}r"),
            Holder::Fd(fd, false, _) => format!("fd{fd}w"),
            Holder::Timer(_) => "timer".into(),
            Holder::Task(id) => format!("end of {}", name(id)),
        }
    }
}

pub(super) fn able(reads: bool) -> &'static str {
    if reads { "readable" } else { "writable" }
}

#[derive(Debug, Default)]
pub(super) struct Fd {
    pub(super) number: RawFd,
    /// As epoll carries it for us.
    pub(super) key: u64,
    pub(super) interest: i32,
    /// To read, to write: as the runtime remembers it.
    pub(super) is_ready: [bool; 2],
    /// Who waits next to read waits for urgent data alone.
    pub(super) urgent_only: bool,
    /// What the last call on it has said in this poll.
    pub(super) last_call: Option<Result<i64, i32>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) deadline: Duration,
    pub(super) task: Option<u64>,
}

/// Who wakes, at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Outside,
    Event(RawFd, i32),
    Timer,
    Letters,
    End(u64),
}

/// Something that an event may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touched {
    Task(u64),
    /// By its source.
    Fd(u32),
    Timer(u32),
}
