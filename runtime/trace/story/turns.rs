//! The loop: it begins, sleeps, wakes up, takes letters, and ends.

use super::{Cause, Duration, Number, RawFd, Story, Task};
use crate::trace::state::{Phase, ROOT, name};
use crate::trace::step::Step;
use crate::trace::tell::duration;
use std::io;
use std::panic::Location;

impl Story {
    pub(super) fn start(&mut self, step: &mut Step, epoll: RawFd, eventfd: RawFd) {
        self.eventfd = eventfd;
        step.by("rt").tell(
            "start",
            format!("start           epoll={epoll} eventfd={eventfd}"),
            "A runtime is an epoll instance, an eventfd by which other threads wake it, and an empty table of tasks.",
        );
    }

    pub(super) fn stop(&mut self, step: &mut Step) {
        let why =
            "The runtime has ended. Every task was dropped before its descriptors were closed.";
        step.by("rt").tell("stop", "stop", why);
    }

    pub(super) fn root(&mut self, step: &mut Step, at: &'static Location<'static>) {
        let number = Number::of_root(self.runtime.into());
        let root = Task::new(ROOT, number, "the future of block_on".into(), Some(at));
        self.tasks.insert(ROOT, root);
        self.set_phase(ROOT, Phase::Queued);
        step.by("root").tell(
            "block_on",
            "block_on",
            "`block_on` runs one future to its end, and the tasks beside it. This one is called root, and is polled first.",
        );
        step.place = Some(at);
    }

    pub(super) fn sleep(&mut self, step: &mut Step, timeout: Option<Duration>) {
        self.cause = Cause::Outside;
        self.asleep_since = Some(self.now);
        let timeout = timeout.map_or("none".into(), duration);
        step.by("rt").tell(
            "sleep",
            format!("epoll_wait(timeout={timeout}) ..."),
            "Nobody is ready, so the thread asks the kernel to wake it. This is the only place where it sleeps.",
        );
        step.more = self.parked();
    }

    /// How many wait, and for what.
    fn parked(&self) -> String {
        let parked = &self.waiting;
        let told = |id: &u64| format!("{}<-{}", name(*id), self.holders_in_short(*id));
        let mut few: Vec<String> = parked.iter().take(4).map(told).collect();
        if parked.len() > few.len() {
            few.push("…".into());
        }
        let few = if few.is_empty() { String::new() } else { format!(": {}", few.join(", ")) };
        format!("[queue {}, parked {}{few}]", self.queue.len(), parked.len())
    }

    pub(super) fn awake(&mut self, step: &mut Step, events: &Result<usize, io::ErrorKind>) {
        self.cause = Cause::Outside;
        let (n, why) = match events {
            Ok(0) => ("0".into(), "Nothing has happened at any descriptor: the time was up."),
            Ok(n) => (
                n.to_string(),
                "The kernel hands over what has changed since the last time: edges, each told once.",
            ),
            Err(kind) => (
                kind.to_string(),
                "A signal has interrupted it: the loop works out what is left of its time, and asks again.",
            ),
        };
        step.by("rt").tell("awake", format!("... = {n}"), why);
        step.more = match self.asleep_since.take() {
            Some(since) => format!("slept {}", duration(self.now.saturating_sub(since))),
            None => "without sleeping".into(),
        };
    }

    // ---- other threads

    pub(super) fn letter(&mut self, step: &mut Step, number: Option<Number>, thread: u32) {
        let what = match number.map(|number| self.id(number)) {
            Some(Some(id)) => {
                self.letters.entry(id).or_default().push_back(thread);
                format!("letter: wake {}", name(id))
            }
            Some(None) => "letter: wake a task that has ended".into(),
            None => "letter: a job".into(),
        };
        let why = "Another thread may not touch the tasks: it puts a letter into the mailbox.";
        step.by(format!("thread {thread}")).tell("letter", what, why);
        (step.is_detail, step.depth) = (true, 0);
    }

    pub(super) fn unpark(&mut self, step: &mut Step, written: bool, thread: u32) {
        let (what, why) = match written {
            true => (
                "writes the eventfd",
                "The runtime sleeps, or is about to: the eventfd makes `epoll_wait` return.",
            ),
            false => (
                "need not write the eventfd",
                "The runtime is awake, or was told already: it looks into the mailbox before it sleeps.",
            ),
        };
        step.by(format!("thread {thread}")).tell("unpark", what, why);
        step.depth = 0;
    }

    pub(super) fn take_letters(&mut self, step: &mut Step, wakes: usize, jobs: usize) {
        self.cause = Cause::Letters;
        let why = "What other threads have put in is done now, on the runtime's own thread.";
        step.by("rt").tell("letters", format!("mailbox: {wakes} wakes, {jobs} jobs"), why);
    }
}
