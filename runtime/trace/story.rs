//! What the events mean. A story is one runtime as far as its events tell it, and knows nothing else of it: so it can be
//! checked against what ought to be, and be shown as it was at any moment.

mod fds;
mod tasks;
mod turns;
mod wakes;

use super::check::Check;
use super::holders::Holders;
use super::recorder::{Event, Record};
use super::state::{Cause, Fd, Holder, Phase, ROOT, Task, Timer, Touched, name};
use super::step::Step;
use crate::number::Number;
use crate::tasks::count;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

pub(super) struct Story {
    origin: Instant,
    /// As its numbers have it.
    runtime: u16,
    pub(super) now: Duration,
    pub(super) eventfd: RawFd,
    pub(super) tasks: BTreeMap<u64, Task>,
    /// Those that wait.
    waiting: BTreeSet<u64>,
    /// Of whom something has changed since it was looked at whether anybody has their wakers.
    pub(super) doubtful: BTreeSet<u64>,
    numbers: HashMap<Number, u64>,
    /// Of the task that lives there, or was the last to.
    indexes: HashMap<u32, Number>,
    pub(super) queue: VecDeque<u64>,
    /// The polls that go on, one inside the other.
    pub(super) polling: Vec<u64>,
    pub(super) asleep_since: Option<Duration>,
    /// By where they are in the reactor's table.
    pub(super) fds: BTreeMap<u32, Fd>,
    /// Which of them has this number in epoll.
    pub(super) registered: HashMap<RawFd, u32>,
    /// On which of them there was a call in this poll.
    called: Vec<u32>,
    pub(super) timers: BTreeMap<u32, Timer>,
    /// Where the wakers are, and whose.
    pub(super) holders: Holders,
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
            runtime: 0,
            now: Duration::ZERO,
            eventfd: -1,
            tasks: BTreeMap::new(),
            waiting: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            numbers: HashMap::new(),
            indexes: HashMap::new(),
            queue: VecDeque::new(),
            polling: Vec::new(),
            asleep_since: None,
            fds: BTreeMap::new(),
            registered: HashMap::new(),
            called: Vec::new(),
            timers: BTreeMap::new(),
            holders: Holders::default(),
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
        self.doubtful.extend(step.touched.iter().filter_map(|touched| match touched {
            Touched::Task(id) if self.waiting.contains(id) => Some(*id),
            _ => None,
        }));
        *wakes = self.wakes;
        step
    }

    fn tell(&mut self, record: &Record, step: &mut Step) {
        match &record.event {
            Event::Start { runtime, epoll, eventfd } => {
                self.runtime = *runtime as u16;
                self.start(step, *epoll, *eventfd)
            }
            Event::Stop { .. } => self.stop(step),
            Event::Root { at } => self.root(step, at),
            Event::Sleep { timeout } => self.sleep(step, *timeout),
            Event::Awake { events, .. } => self.awake(step, events),

            Event::Spawn { number, id, about } => self.spawn(step, *number, count(*id), about),
            Event::Enqueue { number } => self.enqueue(step, *number),
            Event::Poll { number } => self.poll(step, *number),
            Event::Polled { number, is_ready } => {
                self.polled(step, *number, if *is_ready { "Ready" } else { "Pending" })
            }
            Event::Panicked { number } => self.polled(step, *number, "a panic"),
            Event::End { index, how } => self.end(step, *index, *how),
            Event::TakenOut { id } => self.taken_out(step, count(*id)),
            Event::Abort { id } => self.abort(step, count(*id)),
            Event::Budget {} => self.budget(step),

            Event::Wake { number } => self.wake(step, *number),
            Event::Counted { number, made } => self.counted(step, *number, *made),
            Event::Letter { number, .. } => self.letter(step, *number, record.thread),
            Event::Unpark { written, .. } => self.unpark(step, *written, record.thread),
            Event::Letters { wakes, jobs } => self.take_letters(step, *wakes, *jobs),

            Event::Register { fd, bits, key } => self.register(step, *fd, *bits, *key),
            Event::Removed { fd, .. } => self.removed(step, *fd, record.thread),
            Event::Deregister { source, .. } => self.deregister(step, *source),
            Event::Call { name, first, result } => self.call(step, name, *first, *result),
            Event::Ready { datum, bits } => self.ready(step, *datum, *bits),
            Event::NotReady { source, reads, short } => {
                self.not_ready(step, *source, *reads, *short)
            }
            Event::Wait { place: (_, source, writes, claim), number, at } => {
                self.wait(step, self.holder(*source, !writes), *claim, *number, *at)
            }
            Event::WaitsFor { source, urgent_only } => self.waits_for(step, *source, *urgent_only),
            Event::GiveUp { place: (_, source, writes, claim) } => {
                self.give_up(step, self.holder(*source, !writes), *claim)
            }
            Event::Taken { source } => self.take_reader(step, *source),
            Event::TakenAside { of: (_, source), reads, writes } => {
                self.take_aside(step, *source, [*reads, *writes])
            }

            Event::TimerSet { key, of, deadline, at } => {
                self.timer_set(step, key.index, *of, *deadline, at)
            }
            Event::TimerMoved { key, deadline } => self.timer_moved(step, key.index, *deadline),
            Event::TimerFired { index } => self.timer_fired(step, *index),
            Event::TimerCancelled { key } => self.timer_cancelled(step, key.index),
            Event::Join { id, number } => self.join(step, count(*id), *number),
            Event::Note { text, at } => {
                step.tell("note", format!("note: {text}"), "The program says so itself.");
                step.place = Some(at);
            }
        }
    }

    /// Whether it is a number of this runtime.
    pub(super) fn is_ours(&self, number: Number) -> bool {
        number.runtime() == self.runtime
    }

    /// Whose number this is.
    pub(super) fn id(&self, number: Number) -> Option<u64> {
        if !self.is_ours(number) {
            return None;
        }
        if number.is_root() { Some(ROOT) } else { self.numbers.get(&number).copied() }
    }

    fn task_mut(&mut self, id: u64) -> Option<&mut Task> {
        self.touched.insert(Touched::Task(id));
        self.tasks.get_mut(&id)
    }

    /// What it does from here on.
    fn set_phase(&mut self, id: u64, phase: Phase) {
        if phase == Phase::Waiting {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
            self.doubtful.remove(&id);
        }
        self.task_mut(id).into_iter().for_each(|task| task.phase = phase);
    }

    fn fd_mut(&mut self, source: u32) -> Option<&mut Fd> {
        self.touched.insert(Touched::Fd(source));
        self.fds.get_mut(&source)
    }

    /// The place of those who wait there.
    pub(super) fn holder(&self, source: u32, reads: bool) -> Holder {
        Holder::Fd(self.fds.get(&source).map_or(-1, |fd| fd.number), reads, source)
    }
}
