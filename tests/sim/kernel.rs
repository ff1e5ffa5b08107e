//! The simulated kernel: descriptors, what is in them, edge-triggered epoll, a clock. One for each thread that simulates.
//!
//! It does what epoll(7), tcp(7), unix(7), accept(2) and connect(2) promise, and beyond that what was measured
//! (HAZARDS, k1-k28), and in every schedule one of two extremes:
//!
//! * *minimal*: an event comes only when something that was not so becomes so: readable, writable, ended, in error, urgent.
//!   Room to write is told of only when there is a third of it, and only to whom was refused.
//! * *generous*: also for every further segment, always with `OUT` (k19), twice, for nothing, and with `IN` that is no
//!   longer so.
//!
//! A read of a TCP stream is short only when nothing is left, or at an urgent byte (k5), or, in a generous schedule, when an event
//! comes for the rest. A Unix stream is short where descriptors were sent along (k7), what carries messages at each (k9).
//! A write may always be short. `EINTR` may come out of every call that can wait, before its effect; of `connect` after it.
//! Each write to an eventfd is an event, also when it was readable before: that is more than epoll(7) says, and the one thing
//! in which the runtime relies on what was measured (k22).
//!
//! Not in it: memory pressure, signals at an urgent mark, several epoll instances, forks.

mod others;
mod readiness;
mod transfer;

pub(crate) use readiness::Waited;

use crate::random::Random;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_int;

/// No real descriptor has such a number.
pub(crate) const FIRST_FD: c_int = 1_000_000;

/// More calls than this in one schedule can only be a spin.
const MOST_CALLS: u64 = 20_000;

/// What byte `at` of the stream `flow` is. So nothing has to be stored, and a byte that is lost, doubled or misplaced shows.
pub(crate) fn pattern(flow: u32, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(flow) * 0x85eb_ca6b) >> 13) as u8
}

/// What the other side of a descriptor is going to do, in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// So many bytes; to what carries messages: one message. To a counter: so much.
    Send(u32),
    Urgent,
    /// A descriptor is sent along, between the bytes before and after.
    Descriptor,
    Fin,
    Reset,
    /// An error without an end: `ECONNREFUSED` of UDP.
    Refused,
    /// Nothing before ours has read all that was sent,
    AwaitRead,
    /// or has written so much,
    AwaitBytes(u64),
    /// or will write no more.
    AwaitEnd,
    /// The connection that ours asked for is there,
    Connected,
    /// or will never be.
    Unreachable,
    /// A client comes to a listener; the script of its connection is in `clients`.
    Client,
    /// A client comes, and is found to have gone; or for a while every accept fails so (`EMFILE`, `ENFILE`).
    AcceptError(c_int),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Item {
    Bytes(u32),
    Urgent,
    /// Where an urgent byte was, which was read apart: `MSG_OOB`.
    Mark,
    Descriptor,
}

/// What carries bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Sort {
    Tcp,
    Unix,
    /// The end to write to. Full and without a reader it is `ERR` and nothing else.
    Pipe,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    Fresh,
    Connecting,
    Connected,
}

/// How a connection is to be: what `Kernel::open` makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) sort: Sort,
    pub(crate) script: Vec<Act>,
    /// Which pattern comes in, and which has to go out.
    pub(crate) flow_in: u32,
    pub(crate) flow_out: u32,
    /// The room in the send queue.
    pub(crate) room: u64,
    /// Some calls are the program's own doing, and may be for nothing.
    pub(crate) excused: bool,
}

impl Plan {
    /// How many bytes come in.
    pub(crate) fn bytes_in(&self) -> u64 {
        let bytes = |act: &Act| if let Act::Send(n) = act { u64::from(*n) } else { 0 };
        self.script.iter().map(bytes).sum()
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.script.iter().any(|act| matches!(act, Act::Reset))
    }
}

#[derive(Debug)]
struct Stream {
    plan: Plan,
    phase: Phase,
    queue: VecDeque<Item>,
    read: u64,
    sent: u64,
    fin: bool,
    reset: bool,
    shut: bool,
    /// Bytes in the send queue, and all that ever were.
    unsent: u64,
    written: u64,
    /// A write was refused, so room will be told of.
    refused: bool,
}

/// What `read` gives one after the other: datagrams, lines of a terminal, a pipe's pieces, counts of a semaphore.
#[derive(Debug)]
struct Messages {
    kind: MessageKind,
    queue: VecDeque<u32>,
    /// How many were sent, and were read.
    sent: u32,
    read: u32,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum MessageKind {
    /// Truncated when there is no room.
    Udp,
    /// The end is `HUP` without `IN` (k18).
    Pipe,
    /// `EFD_SEMAPHORE`.
    Semaphore,
}

#[derive(Debug)]
enum Kind {
    Epoll,
    EventFd(u64),
    /// When it will be ready, and whether it is.
    TimerFd(Option<u64>, bool),
    Stream(Box<Stream>),
    Messages(Messages),
    Listener(Listener),
}

#[derive(Debug)]
struct Listener {
    /// Who wants to be accepted; or the error that is found in his place.
    queue: VecDeque<Result<Plan, c_int>>,
    /// Until then every accept fails, and how.
    exhausted: (u64, c_int),
    clients: VecDeque<Plan>,
}

#[derive(Debug)]
struct File {
    kind: Kind,
    script: VecDeque<Act>,
    error: c_int,
    non_blocking: bool,
    registration: Option<usize>,
    /// What was so when it was last looked at.
    level: i32,
    /// A read, or a write, has said `EAGAIN`, and no event has come since.
    is_blocked: [bool; 2],
    excused: bool,
    /// A duplicate keeps it open when it is closed (k12).
    is_duplicated: bool,
}

#[derive(Debug)]
struct Registration {
    fd: c_int,
    datum: u64,
    interest: i32,
    queued: bool,
    /// Bits that are told though they are not so.
    extra: i32,
    alive: bool,
    /// Its descriptor was closed, and a duplicate keeps it.
    is_ghost: bool,
}

/// How this schedule is: drawn from its seed.
#[derive(Debug, Default)]
pub(crate) struct Mood {
    pub(crate) generous: bool,
    /// One call in so many is interrupted; 0: none.
    pub(crate) interrupts: usize,
    /// In one call of so many somebody comes between; 0: in none.
    pub(crate) between: usize,
    /// Waits bring fewer events than there are.
    pub(crate) small_batches: bool,
    /// Writes, and reads where it is allowed, are cut short.
    pub(crate) cuts: bool,
}

macro_rules! counts {
    ($($name:ident: $words:literal,)*) => {
        /// What happened, in numbers.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub(crate) struct Counts {
            $(pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }

            pub(crate) fn named(&self) -> [(&'static str, u64); [$($words),*].len()] {
                [$(($words, self.$name)),*]
            }
        }
    };
}

counts! {
    steps: "steps of others",
    calls: "calls",
    waits: "waits",
    looks: "of them without sleeping",
    events: "events",
    in_between: "steps inside of a call",
    would_block: "`EAGAIN`",
    interrupted: "`EINTR`",
    short_reads: "short reads",
    short_writes: "short writes",
    urgent: "urgent bytes",
    read_apart: "of them read apart",
    descriptors: "descriptors sent along",
    fins: "ends",
    resets: "resets",
    accept_errors: "failed accepts",
    refused: "refusals",
    for_nothing: "events for nothing",
    stale: "stale events",
    reused: "descriptor numbers reused",
    wakes_outside: "wakes from another thread",
    timeouts: "timeouts",
    alarms: "timers that became ready",
}

pub(crate) struct Kernel {
    pub(crate) random: Random,
    pub(crate) mood: Mood,
    pub(crate) counts: Counts,
    /// Tasks of the program that wait for somebody outside.
    pub(crate) waiting_outside: usize,
    /// What is wrong.
    pub(crate) verdict: Option<String>,
    /// What happened, in words, if somebody wants to know; and as one number, always.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) hash: u64,
    now_ns: u64,
    files: Vec<Option<File>>,
    registrations: Vec<Registration>,
    ready: VecDeque<usize>,
    /// What the next `socket` calls are going to give.
    pub(crate) to_connect: VecDeque<Plan>,
    highest: usize,
    idle_timeouts: u32,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static KERNEL: RefCell<Option<Box<Kernel>>> = const { RefCell::new(None) };
}

/// Whether this thread simulates.
pub(crate) fn is_on() -> bool {
    ON.get()
}

pub(crate) fn with<R>(visit: impl FnOnce(&mut Kernel) -> R) -> R {
    KERNEL.with(|kernel| visit(kernel.borrow_mut().as_mut().unwrap()))
}

/// From here on this thread's descriptors are simulated.
pub(crate) fn start(kernel: Kernel) {
    KERNEL.with(|place| *place.borrow_mut() = Some(Box::new(kernel)));
    ON.set(true);
}

pub(crate) fn stop() -> Kernel {
    ON.set(false);
    *KERNEL.with(|place| place.borrow_mut().take()).unwrap()
}

impl Kernel {
    pub(crate) fn new(seed: u64, traced: bool) -> Kernel {
        let mut random = Random::new(seed);
        let mood = Mood {
            generous: random.one_in(2),
            interrupts: if random.one_in(3) { 4 + random.below(12) } else { 0 },
            between: [0, 3, 8, 8][random.below(4)],
            small_batches: random.one_in(3),
            cuts: random.one_in(2),
        };
        let mut kernel = Kernel {
            random,
            mood,
            counts: Counts::default(),
            waiting_outside: 0,
            verdict: None,
            trace: traced.then(Vec::new),
            hash: seed,
            now_ns: 1_000_000_000_000,
            files: Vec::new(),
            registrations: Vec::new(),
            ready: VecDeque::new(),
            to_connect: VecDeque::new(),
            highest: 0,
            idle_timeouts: 0,
        };
        if traced {
            let words = format!("{:?}", kernel.mood);
            kernel.say(words);
        }
        kernel
    }

    // ---- what is said of it ---------------------------------------------------------------------

    /// The first complaint is the one that counts.
    pub(crate) fn fail(&mut self, what: String) {
        if self.verdict.is_none() {
            self.say(format!("!! {what}"));
            self.verdict = Some(what);
        }
    }

    pub(crate) fn say(&mut self, words: String) {
        let at = self.now_ns - 1_000_000_000_000;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} µs  {words}", at / 1000));
        }
    }

    fn note(&mut self, what: &'static str, fd: c_int, result: i64) {
        for word in [what.len() as u64, u64::from(what.as_bytes()[0]), fd as u64, result as u64] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        if self.trace.is_some() {
            let result = match result {
                0.. => result.to_string(),
                _ => std::io::Error::from_raw_os_error(-result as i32).to_string(),
            };
            self.say(format!("  {what}({}) = {result}", fd - FIRST_FD));
        }
    }

    /// Something that others do.
    pub(crate) fn step(&mut self, what: &'static str, fd: c_int, value: i64) {
        self.counts.steps += 1;
        self.note(what, fd, value);
    }

    // ---- descriptors ----------------------------------------------------------------------------

    fn file(&mut self, fd: c_int) -> Option<&mut File> {
        self.files.get_mut((fd - FIRST_FD) as usize)?.as_mut()
    }

    fn open(&mut self, kind: Kind, script: Vec<Act>) -> c_int {
        let place = self.files.iter().position(Option::is_none).unwrap_or(self.files.len());
        if place == self.files.len() {
            self.files.push(None);
        }
        if place < self.highest {
            self.counts.reused += 1;
        }
        self.highest = self.highest.max(place + 1);
        let excused = matches!(&kind, Kind::Stream(stream) if stream.plan.excused);
        self.files[place] = Some(File {
            kind,
            script: script.into(),
            error: 0,
            non_blocking: false,
            registration: None,
            level: 0,
            is_blocked: [false; 2],
            excused,
            is_duplicated: false,
        });
        FIRST_FD + place as c_int
    }

    /// A connection that is there already.
    pub(crate) fn open_stream(&mut self, plan: Plan) -> c_int {
        let fd = self.open_as(plan, Phase::Connected);
        self.note("stream", fd, 0);
        fd
    }

    fn open_as(&mut self, plan: Plan, phase: Phase) -> c_int {
        let script = plan.script.clone();
        let stream = Stream {
            plan,
            phase,
            queue: VecDeque::new(),
            read: 0,
            sent: 0,
            fin: false,
            reset: false,
            shut: false,
            unsent: 0,
            written: 0,
            refused: phase != Phase::Connected,
        };
        self.open(Kind::Stream(Box::new(stream)), script)
    }

    pub(crate) fn open_messages(&mut self, kind: MessageKind, script: Vec<Act>) -> c_int {
        let messages = Messages { kind, queue: VecDeque::new(), sent: 0, read: 0, ended: false };
        let fd = self.open(Kind::Messages(messages), script);
        self.note("messages", fd, 0);
        fd
    }

    pub(crate) fn open_listener(&mut self, clients: Vec<Plan>, script: Vec<Act>) -> c_int {
        let (queue, exhausted) = (VecDeque::new(), (0, 0));
        let listener = Listener { queue, exhausted, clients: clients.into() };
        let fd = self.open(Kind::Listener(listener), script);
        self.note("listener", fd, 0);
        fd
    }

    /// Gives the connection that the program has planned to ask for.
    pub(crate) fn socket(&mut self, _domain: c_int, kind: c_int) -> i64 {
        let Some(plan) = self.to_connect.pop_front() else { return -i64::from(libc::EINVAL) };
        let fd = self.open_as(plan, Phase::Fresh);
        self.file(fd).unwrap().non_blocking = kind & libc::SOCK_NONBLOCK != 0;
        self.touch(fd, false);
        self.note("socket", fd, 0);
        i64::from(fd)
    }

    /// From now on a duplicate of `fd` keeps what is registered for it (k12).
    pub(crate) fn duplicate(&mut self, fd: c_int) {
        self.file(fd).unwrap().is_duplicated = true;
    }

    /// What is open, to say what is left.
    pub(crate) fn left(&self) -> Vec<String> {
        let places = self.files.iter().enumerate();
        let open = places.filter_map(|(n, file)| Some((n, file.as_ref()?)));
        open.map(|(n, file)| format!("{n}: {:?}", file.kind)).collect()
    }

    pub(crate) fn clock(&mut self) -> u64 {
        // So that nobody who waits for it to go on waits for ever.
        self.now_ns += 20;
        self.now_ns
    }
}
