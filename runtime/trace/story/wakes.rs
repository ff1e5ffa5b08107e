//! Wakers: who has one, and who wakes whom. And the places that hold one besides descriptors: timers, and tasks that are joined.

use super::{Cause, Duration, Number, Story, Timer, Touched};
use crate::trace::holders::{Claim, PLACE};
use crate::trace::recorder::At;
use crate::trace::state::{Holder, Phase, ROOT, name};
use crate::trace::step::{Step, WakeEnd};
use crate::trace::tell::{bits, duration};
use std::collections::hash_map::Entry;
use std::panic::Location;
use std::time::Instant;

impl Story {
    pub(super) fn wake(&mut self, step: &mut Step, number: Number) {
        let Some(id) = self.id(number) else {
            let why =
                "A waker may outlive its task. It is a number, and that means nobody any more.";
            return step.tell("wake", "  wake of a task that has ended: nothing", why);
        };
        let aside = self.taken.remove(&id);
        let letter = matches!(self.cause, Cause::Letters).then(|| self.take_letter(id));
        let by = match aside.unwrap_or_else(|| self.cause.clone()) {
            _ if self.polling.last() == Some(&id) => "itself".into(),
            _ if !self.polling.is_empty() => {
                self.polling.last().map_or(String::new(), |by| name(*by))
            }
            Cause::Event(fd, events) => format!("fd {fd} {}", bits(events)),
            Cause::Timer => "a timer".into(),
            Cause::End(id) => format!("the end of {}", name(id)),
            Cause::Letters => letter.unwrap_or_else(|| "another thread".into()),
            Cause::Outside => "whoever runs the loop".into(),
        };
        let (wake, now) = (self.wakes + 1, self.now);
        let Some(task) = self.task_mut(id) else { return };
        let came = match task.phase {
            Phase::Ended => "it has ended: nothing",
            Phase::Queued => "it is queued already: nothing",
            _ if task.woken.is_some() => "it is queued already: nothing",
            Phase::Polled => "it runs: once more, then",
            Phase::New | Phase::Waiting => "queued",
        };
        if came.ends_with("nothing") {
            let why = "A second wake before the poll makes no second poll: wakes coalesce.";
            return step.tell("wake", format!("  {by} -> wake {} ({came})", name(id)), why);
        }
        task.woken = Some((wake, now));
        task.because = by.clone();
        // A task is told of when it is put into the queue; root has a flag of its own.
        if id == ROOT && task.phase != Phase::Polled {
            self.set_phase(id, Phase::Queued);
        }
        self.wakes = wake;
        step.wake = Some((wake, WakeEnd::Wakes));
        let why = match id {
            ROOT => "root is marked, and is polled before the tasks. It is not polled here: a wake only schedules.".into(),
            _ => format!("{} moves from PARKED into the ready queue. It is not polled here: a wake only schedules.", name(id)),
        };
        step.tell("wake", format!("  {by} -> WAKE {} (wake#{wake}, {came})", name(id)), why);
    }

    /// From whom the letter is that wakes this task.
    fn take_letter(&mut self, id: u64) -> String {
        let Entry::Occupied(mut letters) = self.letters.entry(id) else {
            return "another thread".into();
        };
        let thread = letters.get_mut().pop_front().unwrap_or_default();
        if letters.get().is_empty() {
            letters.remove();
        }
        format!("thread {thread}")
    }

    pub(super) fn counted(&mut self, step: &mut Step, number: Number, made: bool) {
        step.is_detail = true;
        let (kind, done) = if made { ("clone", "cloned") } else { ("drop", "dropped") };
        let why = "Whoever has a clone can wake the task. One that waits, with no clone and no place that has its number, never wakes.";
        let of = self.id(number);
        let Some(task) = of.and_then(|id| self.task_mut(id)) else {
            return step.tell(kind, format!("a waker of who has ended is {done}"), why);
        };
        task.clones += if made { 1 } else { -1 };
        let what = format!("the waker of {} is {done}: {} clones now", name(task.id), task.clones);
        step.tell(kind, what, why);
    }

    // ---- the places

    /// A waker is kept there from here on; returns what kind of waker. Whom a foreign one wakes only its maker knows: it is taken
    /// for whoever is polled, and told as what it is.
    pub(super) fn hold(
        &mut self,
        step: &mut Step,
        holder: Holder,
        claim: Claim,
        number: Option<Number>,
        at: At,
    ) -> &'static str {
        step.place = at;
        let kind = match number {
            Some(number) if self.is_ours(number) => "waker",
            Some(_) => "a waker of another runtime",
            None => "a foreign waker",
        };
        let id = number.and_then(|number| self.id(number));
        let Some(task) = id.or(self.polling.last().copied()) else { return kind };
        let before = self.holders.put(holder, claim, task, id.is_none());
        before.into_iter().for_each(|before| self.touch(holder, before));
        self.touch(holder, task);
        if let Some(task) = self.task_mut(task) {
            // The first: a `timeout` waits too, behind what it is about.
            task.place = task.place.or(at);
        }
        kind
    }

    /// Who had this claim has no waker there any more.
    pub(super) fn let_go(&mut self, holder: Holder, claim: Claim) {
        let gone = self.holders.take(holder, claim);
        gone.into_iter().for_each(|task| self.touch(holder, task));
    }

    /// The future that waited there is dropped. If whoever is polled waits nowhere else, it is not parked at that line.
    pub(super) fn drop_place(&mut self) {
        let Some(id) = self.polling.last().copied() else { return };
        if !self.holders.has(id) {
            self.task_mut(id).into_iter().for_each(|task| task.place = None);
        }
    }

    fn touch(&mut self, holder: Holder, task: u64) {
        self.touched.insert(Touched::Task(task));
        self.touched.insert(match holder {
            Holder::Fd(_, _, source) => Touched::Fd(source),
            Holder::Timer(index) => Touched::Timer(index),
            Holder::Task(id) => Touched::Task(id),
        });
    }

    /// Who may wake the task.
    pub(in crate::trace) fn holders_of(&self, id: u64) -> String {
        let mut holders: Vec<String> = self.holders.of(id).map(long).collect();
        holders.dedup();
        if holders.is_empty() {
            let clones = self.tasks.get(&id).map_or(0, |task| task.clones);
            holders.push(if clones > 0 { "who has a clone of it".into() } else { "nobody".into() });
        }
        holders.join(", ")
    }

    pub(super) fn holders_in_short(&self, id: u64) -> String {
        let mut holders: Vec<String> = self.holders.of(id).map(short).collect();
        holders.dedup();
        match self.tasks.get(&id) {
            Some(task) if holders.is_empty() && task.clones > 0 => "waker".into(),
            _ if holders.is_empty() => "nobody".into(),
            _ => holders.join("+"),
        }
    }

    pub(super) fn join(&mut self, step: &mut Step, id: u64, number: Option<Number>) {
        let waker = self.hold(step, Holder::Task(id), PLACE, number, None);
        let why = "A task that is joined keeps the waker of whoever waits for its output.";
        step.tell("join", format!("{waker} -> the end of {}", name(id)), why);
    }

    // ---- timers

    pub(super) fn timer_set(
        &mut self,
        step: &mut Step,
        index: u32,
        number: Option<Number>,
        deadline: Instant,
        at: &'static Location<'static>,
    ) {
        let deadline = deadline.saturating_duration_since(self.origin);
        let task = number.and_then(|number| self.id(number)).or(self.polling.last().copied());
        self.timers.insert(index, Timer { deadline, task });
        let waker = self.hold(step, Holder::Timer(index), PLACE, number, Some(at));
        let waker = if waker == "waker" { String::new() } else { format!(", for {waker}") };
        let why = "A timer is one more place that keeps a waker: in a heap, the earliest on top. No sleep of the loop is longer than until then.";
        step.tell(
            "timer set",
            format!("timer in {}{waker}", duration(deadline.saturating_sub(self.now))),
            why,
        );
    }

    pub(super) fn timer_moved(&mut self, step: &mut Step, index: u32, deadline: Instant) {
        let deadline: Duration = deadline.saturating_duration_since(self.origin);
        self.touched.insert(Touched::Timer(index));
        if let Some(timer) = self.timers.get_mut(&index) {
            timer.deadline = deadline;
        }
        let what = format!("timer moved: in {}", duration(deadline.saturating_sub(self.now)));
        step.tell("timer moved", what, "To a later time this costs next to nothing: the heap finds out when the old time has come.");
    }

    pub(super) fn timer_fired(&mut self, step: &mut Step, index: u32) {
        self.cause = Cause::Timer;
        self.forget_timer(index);
        let why = "Its deadline has passed. Whoever waits is woken; nobody is polled here.";
        step.by("rt").tell("timer fired", "timer fires", why);
    }

    pub(super) fn timer_cancelled(&mut self, step: &mut Step, index: u32) {
        self.forget_timer(index);
        self.drop_place();
        step.tell(
            "timer cancelled",
            "timer cancelled",
            "The sleep is dropped, and its waker with it.",
        );
    }

    fn forget_timer(&mut self, index: u32) {
        self.timers.remove(&index);
        self.let_go(Holder::Timer(index), PLACE);
    }
}

/// A place, and whether what it keeps for the task is somebody else's waker.
fn long((holder, is_foreign): (Holder, bool)) -> String {
    holder.long() + if is_foreign { ", by a foreign waker" } else { "" }
}

fn short((holder, is_foreign): (Holder, bool)) -> String {
    holder.short() + if is_foreign { "(foreign)" } else { "" }
}
