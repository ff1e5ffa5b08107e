//! What the events mean. A story is one runtime as far as its events tell it, and knows nothing else of it: so it can be
//! checked against what ought to be, and be shown as it was at any moment.

mod fds;
mod tasks;
mod turns;
mod wakes;

use super::check::Check;
use super::recorder::{Event, Record};
use super::state::{Cause, Fd, Holder, ROOT, Task, Timer, Touched, name, short};
use super::step::Step;
use crate::number::Number;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

pub(super) struct Story {
    origin: Instant,
    pub(super) now: Duration,
    pub(super) eventfd: RawFd,
    pub(super) tasks: BTreeMap<u64, Task>,
    numbers: HashMap<Number, u64>,
    /// Of the task that lives there, or was the last to.
    indexes: HashMap<u32, Number>,
    pub(super) queue: VecDeque<u64>,
    /// The polls that go on, one inside the other.
    pub(super) polling: Vec<u64>,
    pub(super) asleep_since: Option<Duration>,
    pub(super) fds: BTreeMap<RawFd, Fd>,
    keys: HashMap<u64, RawFd>,
    pub(super) timers: BTreeMap<u64, Timer>,
    /// Where the wakers are, and whose.
    pub(super) holders: BTreeSet<(Holder, u64)>,
    cause: Cause,
    /// By whom the waker of one who stood aside was taken: it is woken a little later.
    taken: HashMap<u64, Cause>,
    /// For whom there are letters, and from which threads: the next one may be put in while the last is taken out.
    pub(super) letters: HashMap<u64, VecDeque<u32>>,
    /// How many there were.
    wakes: u64,
    /// Of the tasks that have ended the last are kept, to be looked at.
    ended: VecDeque<u64>,
    touched: BTreeSet<Touched>,
}

impl Story {
    pub(super) fn new(origin: Instant) -> Story {
        Story {
            origin,
            now: Duration::ZERO,
            eventfd: -1,
            tasks: BTreeMap::new(),
            numbers: HashMap::new(),
            indexes: HashMap::new(),
            queue: VecDeque::new(),
            polling: Vec::new(),
            asleep_since: None,
            fds: BTreeMap::new(),
            keys: HashMap::new(),
            timers: BTreeMap::new(),
            holders: BTreeSet::new(),
            cause: Cause::Outside,
            taken: HashMap::new(),
            letters: HashMap::new(),
            wakes: 0,
            ended: VecDeque::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Goes on by one event.
    pub(super) fn step(&mut self, record: &Record, wakes: &mut u64) -> Step {
        self.now = record.at;
        self.wakes = *wakes;
        // A panic of root unwinds through its poll, and says nothing.
        if let Event::Root { .. } | Event::TakenOut { .. } | Event::Stop { .. } = record.event {
            self.polling.clear();
        }
        let who = self.polling.last().map_or("rt".into(), |id| name(*id));
        let mut step = Step::new(record, who, self.polling.len());
        let check = Check::before(self, record);
        self.tell(record, &mut step);
        check.after(self, record, &mut step);
        step.touched = mem::take(&mut self.touched);
        *wakes = self.wakes;
        step
    }

    fn tell(&mut self, record: &Record, step: &mut Step) {
        match &record.event {
            Event::Start { epoll, eventfd, .. } => self.start(step, *epoll, *eventfd),
            Event::Stop { .. } => self.stop(step),
            Event::Root { at } => self.root(step, at),
            Event::Sleep { timeout } => self.sleep(step, *timeout),
            Event::Awake { events, .. } => self.awake(step, events),

            Event::Spawn { number, id, about } => self.spawn(step, *number, short(*id), about),
            Event::Enqueue { number } => self.enqueue(step, *number),
            Event::Poll { number } => self.poll(step, *number),
            Event::Polled { number, is_ready } => {
                self.polled(step, *number, if *is_ready { "Ready" } else { "Pending" })
            }
            Event::Panicked { number } => self.polled(step, *number, "a panic"),
            Event::End { index, how } => self.end(step, *index, *how),
            Event::TakenOut { id } => self.taken_out(step, short(*id)),
            Event::Abort { id } => self.abort(step, short(*id)),
            Event::Budget {} => self.budget(step),

            Event::Wake { number } => self.wake(step, *number),
            Event::Counted { number, made } => self.counted(step, *number, *made),
            Event::Letter { number, .. } => self.letter(step, *number, record.thread),
            Event::Unpark { written, .. } => self.unpark(step, *written, record.thread),
            Event::Letters { wakes, jobs } => self.take_letters(step, *wakes, *jobs),

            Event::Register { fd, bits, key } => self.register(step, *fd, *bits, key.to_bits()),
            Event::Deregister { fd } => self.deregister(step, *fd),
            Event::Call { name, first, result } => self.call(step, name, *first, *result),
            Event::Ready { datum, bits } => self.ready(step, *datum, *bits),
            Event::NotReady { fd, reads, short } => self.not_ready(step, *fd, *reads, *short),
            Event::Wait { fd, reads, number, at } => self.wait(step, *fd, *reads, *number, *at),
            Event::WaitsFor { fd, urgent_only } => self.waits_for(step, *fd, *urgent_only),
            Event::GiveUp { fd, reads, number } => self.give_up(step, *fd, *reads, *number),
            Event::Taken { fd, number } => self.take_reader(step, *fd, *number),
            Event::TakenAside { fd, who } => self.take_aside(step, *fd, who),

            Event::TimerSet { key, deadline, at } => {
                self.timer_set(step, key.to_bits(), *deadline, at)
            }
            Event::TimerMoved { key, deadline } => self.timer_moved(step, key.to_bits(), *deadline),
            Event::TimerFired { index } => self.timer_fired(step, *index),
            Event::TimerCancelled { key } => self.timer_cancelled(step, key.index),
            Event::Join { id, number } => self.join(step, short(*id), *number),
            Event::Note { text, at } => {
                step.tell("note", format!("note: {text}"), "The program says so itself.");
                step.place = Some(at);
            }
        }
    }

    /// Whose number this is.
    pub(super) fn id(&self, number: Number) -> Option<u64> {
        if number.is_root() { Some(ROOT) } else { self.numbers.get(&number).copied() }
    }

    fn task_mut(&mut self, id: u64) -> Option<&mut Task> {
        self.touched.insert(Touched::Task(id));
        self.tasks.get_mut(&id)
    }

    fn fd_mut(&mut self, fd: RawFd) -> Option<&mut Fd> {
        self.touched.insert(Touched::Fd(fd));
        self.fds.get_mut(&fd)
    }
}
