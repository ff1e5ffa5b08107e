//! Takes down what happens: the clock, a few numbers, and where in our own files. Nothing is looked up here.

use super::outlet;
use crate::current;
use crate::number::Number;
use crate::slab::Key;
use crate::sys;
use crate::tasks::{About, Ended};
use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A line of ours that has a hook.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

impl Site {
    pub(crate) const fn new(file: &'static str, line: u32) -> Site {
        Site { file, line }
    }
}

pub(crate) type At = Option<&'static Location<'static>>;

/// Runtime, source, whether to write, and which of those who wait there: 0 has the place, the others stand aside.
pub(crate) type Place = (u32, u32, bool, u32);

/// What can happen. Facts, as a hook has them: whom it is about is told by a number, a key, a descriptor.
pub(crate) enum Event {
    // ---- the runtime
    Start {
        runtime: u32,
        epoll: RawFd,
        eventfd: RawFd,
    },
    Stop {
        runtime: u32,
    },
    /// The future of `block_on`.
    Root {
        at: &'static Location<'static>,
    },
    /// The kernel is asked, for at most so long.
    Sleep {
        timeout: Option<Duration>,
    },
    Awake {
        timeout: Option<Duration>,
        events: Result<usize, io::ErrorKind>,
    },

    // ---- tasks
    Spawn {
        number: Number,
        id: u64,
        about: About,
    },
    /// It is put at the end of the ready queue.
    Enqueue {
        number: Number,
    },
    Poll {
        number: Number,
    },
    Polled {
        number: Number,
        is_ready: bool,
    },
    Panicked {
        number: Number,
    },
    /// Its future is gone, and has left its output, or nothing.
    End {
        index: u32,
        how: Ended,
    },
    /// The runtime ends, and the task with it.
    TakenOut {
        id: u64,
    },
    Abort {
        id: u64,
    },
    Budget {},

    // ---- wakers
    Wake {
        number: Number,
    },
    /// A clone of its waker is made, or dropped.
    Counted {
        number: Number,
        made: bool,
    },
    /// Put in from elsewhere: a wake, or a job.
    Letter {
        eventfd: RawFd,
        number: Option<Number>,
    },
    Unpark {
        eventfd: RawFd,
        written: bool,
    },
    Letters {
        wakes: usize,
        jobs: usize,
    },

    // ---- descriptors
    Register {
        fd: RawFd,
        bits: i32,
        key: Key,
    },
    /// Out of epoll at once, because its owner is dropped on another thread; the runtime hears of it by letter.
    Removed {
        eventfd: RawFd,
        fd: RawFd,
    },
    // From here on by where it is in the reactor's table: its number may be another's, when it was dropped elsewhere. In its own
    // runtime's table: it may be dropped inside another one.
    Deregister {
        runtime: u32,
        source: u32,
    },
    Call {
        name: &'static str,
        first: i64,
        result: Result<i64, i32>,
    },
    Ready {
        datum: u64,
        bits: i32,
    },
    NotReady {
        source: u32,
        reads: bool,
        short: bool,
    },
    Wait {
        place: Place,
        number: Option<Number>,
        at: At,
    },
    /// What somebody is about to wait for to read: anything, or urgent data alone.
    WaitsFor {
        source: u32,
        urgent_only: bool,
    },
    GiveUp {
        place: Place,
    },
    /// Who had the place is woken.
    Taken {
        source: u32,
    },
    /// So is all who stand aside in these directions.
    TakenAside {
        of: (u32, u32),
        reads: bool,
        writes: bool,
    },

    // ---- timers and joins
    TimerSet {
        key: Key,
        of: Option<Number>,
        deadline: Instant,
        at: &'static Location<'static>,
    },
    TimerMoved {
        key: Key,
        deadline: Instant,
    },
    TimerFired {
        index: u32,
    },
    TimerCancelled {
        key: Key,
    },
    Join {
        id: u64,
        number: Option<Number>,
    },

    // ---- the user
    Note {
        text: Cow<'static, str>,
        at: &'static Location<'static>,
    },
}

pub(crate) struct Record {
    pub(crate) at: Duration,
    pub(crate) site: &'static Site,
    pub(crate) runtime: u32,
    pub(crate) thread: u32,
    pub(crate) event: Event,
}

const OFF: u8 = 0;
const ON: u8 = 1;
/// What `WAKEN_TRACE` says is not known yet.
const NOT_ASKED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(NOT_ASKED);

/// Which process records. A forked child has a copy of what was not told, and perhaps of a lock that nobody holds any more: it
/// records nothing.
static PROCESS: AtomicU32 = AtomicU32::new(0);

fn is_anothers() -> bool {
    PROCESS.load(Relaxed) != sys::process()
}

/// Whether anybody listens: one load, once `WAKEN_TRACE` has been read.
#[inline]
pub(crate) fn is_on() -> bool {
    match STATE.load(Relaxed) {
        OFF => false,
        ON => true,
        _ => ask(),
    }
}

#[cold]
fn ask() -> bool {
    outlet::ask();
    STATE.load(Relaxed) == ON
}

pub(super) fn turn(on: bool) {
    PROCESS.store(sys::process(), Relaxed);
    STATE.store(if on { ON } else { OFF }, Relaxed);
}

/// What is recorded and not told yet, of all threads: the stamp is taken under the lock, so it stands here in the order of the stamps.
static QUEUE: Mutex<Vec<Record>> = Mutex::new(Vec::new());

fn queue() -> MutexGuard<'static, Vec<Record>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is in the queue, for `empty` in its place.
pub(super) fn exchange(empty: Vec<Record>) -> Vec<Record> {
    mem::replace(&mut queue(), empty)
}

/// So many are kept back at most.
const FULL: usize = 1024;

struct Here {
    /// When the recording began.
    origin: Instant,
    thread: u32,
    /// What is told records nothing.
    is_telling: Cell<bool>,
}

thread_local! {
    static HERE: Here = Here::new();
}

impl Here {
    fn new() -> Here {
        static THREADS: AtomicU32 = AtomicU32::new(0);
        let thread = THREADS.fetch_add(1, Relaxed) + 1;
        Here { origin: outlet::origin(), thread, is_telling: Cell::new(false) }
    }

    fn flush(&self, is_pause: bool) {
        if is_anothers() {
            return;
        }
        self.is_telling.set(true);
        outlet::tell(is_pause);
        self.is_telling.set(false);
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.flush(true);
    }
}

/// What a hook calls. Nothing is told when the thread is so far at its end that it has no place for it.
#[inline(never)]
pub(crate) fn record(site: &'static Site, event: Event) {
    if is_noise(&event) || is_anothers() {
        return;
    }
    let runtime = match event {
        Event::Start { runtime, .. } | Event::Stop { runtime } => runtime,
        _ => current::runtime(),
    };
    // Before the thread sleeps, and where it may be the last that is heard of it. Who has no loop has no such place.
    let pause = runtime == 0
        || matches!(event, Event::Sleep { .. } | Event::Stop { .. } | Event::Unpark { .. });
    // It is put in under the mailbox's lock, where nothing is to be told; the loop is unparked behind it.
    let is_letter = matches!(event, Event::Letter { .. });
    let _gone = HERE.try_with(|here| {
        if here.is_telling.get() {
            return;
        }
        let mut queue = queue();
        let at = Instant::now().saturating_duration_since(here.origin);
        queue.push(Record { at, site, runtime, thread: here.thread, event });
        let is_full = queue.len() >= FULL;
        drop(queue);
        if !is_letter && (pause || is_full || outlet::is_immediate()) {
            here.flush(pause);
        }
    });
}

/// The program's own word in the trace. Nothing when nobody listens.
///
/// ```
/// waken::trace::note("the cache is full");
/// ```
#[track_caller]
pub fn note(text: impl Into<Cow<'static, str>>) {
    if is_on() {
        static SITE: Site = Site::new(file!(), line!());
        record(&SITE, Event::Note { text: text.into(), at: Location::caller() });
    }
}

/// Tells what was recorded so far.
pub(super) fn flush() {
    if STATE.load(Relaxed) != ON {
        return; // Nothing was, and a thread that asks first must not have its own beginning.
    }
    let _gone = HERE.try_with(|here| here.flush(true));
}

/// A look that has found nothing: the loop may make thousands of them before it sleeps. And calls that have events of their own; among
/// them `write`, to an eventfd, which a signal handler makes as well: so nothing may happen before this that a handler must not do.
fn is_noise(event: &Event) -> bool {
    match event {
        Event::Sleep { timeout } => *timeout == Some(Duration::ZERO),
        Event::Awake { timeout, events } => *timeout == Some(Duration::ZERO) && *events == Ok(0),
        Event::Call { name, .. } => ["epoll_wait", "epoll_ctl", "syscall", "write"].contains(name),
        _ => false,
    }
}
