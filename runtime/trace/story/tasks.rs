//! A task: spawned, queued, polled, ended.

use super::{Cause, Number, Story, Task, Touched};
use crate::tasks::{About, Ended};
use crate::trace::holders::PLACE;
use crate::trace::state::{Holder, Phase, ROOT, name};
use crate::trace::step::{Step, WakeEnd};
use crate::trace::tell::duration;

/// So many tasks that have ended can still be looked at.
const KEPT: usize = 64;

impl Story {
    pub(super) fn spawn(&mut self, step: &mut Step, number: Number, id: u64, about: &About) {
        let called = match &about.name {
            Some(name) => format!("\"{name}\""),
            None => (about.type_name)().trim_end_matches("::{{closure}}").to_owned(),
        };
        let by = self.polling.last().map_or(String::new(), |by| format!(" by {}", name(*by)));
        let why = format!(
            "A future becomes a task: a value that the executor owns. Nothing of it has run yet; {} waits for its first turn.",
            name(id)
        );
        step.by(name(id)).tell("spawn", format!("spawn           {called}{by}"), why);
        step.place = Some(about.spawned_at);
        self.numbers.insert(number, id);
        self.indexes.insert(number.index(), number);
        self.touched.insert(Touched::Task(id));
        self.tasks.insert(id, Task::new(id, number, called, Some(about.spawned_at)));
    }

    pub(super) fn enqueue(&mut self, step: &mut Step, number: Number) {
        let Some(id) = self.id(number) else {
            let why = "Who has ended cannot be woken: nothing ought to be queued here.";
            return step.tell("enqueue", "a task that has ended -> ready queue", why);
        };
        self.queue.push_back(id);
        let Some(task) = self.task_mut(id) else { return };
        task.queued += 1;
        // One that runs stays RUNNING, and comes once more.
        if task.phase != Phase::Polled {
            self.set_phase(id, Phase::Queued);
        }
        let what = format!("{} -> ready queue, as number {}", name(id), self.queue.len());
        step.tell(
            "enqueue",
            what,
            format!("{} will be polled when those before it have been.", name(id)),
        );
        step.is_detail = true;
    }

    pub(super) fn poll(&mut self, step: &mut Step, number: Number) {
        let Some(id) = self.id(number) else {
            let why = "What is done is not polled again: its future may panic, or begin anew.";
            step.more = "of a task that has ended".into();
            return step.tell("poll", "poll {", why);
        };
        if id != ROOT {
            // Entries of tasks that have ended are passed over.
            while self.take_first().is_some_and(|first| first != id) {}
            self.pass_ended();
        }
        self.polling.push(id);
        self.taken.clear();
        for source in self.called.drain(..) {
            self.fds.get_mut(&source).into_iter().for_each(|fd| fd.last_call = None);
        }
        let now = self.now;
        self.set_phase(id, Phase::Polled);
        let Some(task) = self.task_mut(id) else { return };
        task.polls += 1;
        (task.began, task.place) = (now, None);
        let (more, why) = match task.woken.take() {
            Some((wake, since)) => {
                step.wake = Some((wake, WakeEnd::Polls));
                let queued = duration(now.saturating_sub(since));
                (
                    format!("because wake#{wake} ({}), queued {queued}", task.because),
                    format!(
                        "It was woken: {}. The poll tries again what it has waited for; a wake only says that this may pay.",
                        task.because
                    ),
                )
            }
            None if task.polls == 1 => (
                "for the first time".into(),
                "A first poll: only now does the code of the future begin to run.".into(),
            ),
            None => ("woken by nobody".into(), "Nobody has woken it.".into()),
        };
        step.by(name(id)).tell("poll", format!("poll #{} {{", task.polls), why);
        step.more = more;
    }

    pub(super) fn polled(&mut self, step: &mut Step, number: Number, how: &str) {
        let Some(id) = self.id(number) else {
            let why = "What is done is not polled again: its future may panic, or begin anew.";
            return step.tell("polled", format!("}} = {how:<8}"), why);
        };
        self.polling.retain(|polling| *polling != id);
        self.cause = Cause::Outside;
        step.depth = self.polling.len();
        let (held, now) = (self.holders_of(id), self.now);
        let Some(task) = self.task_mut(id) else { return };
        let took = duration(now.saturating_sub(task.began));
        let is_woken = task.queued > 0 || task.woken.is_some();
        step.place = task.place;
        let mut phase = Phase::Ended;
        let why = match (how, is_woken) {
            ("Pending", true) => {
                phase = Phase::Queued;
                step.more = "woken meanwhile".into();
                "It was woken while it ran, so it is in the queue already, and comes again.".into()
            }
            ("Pending", false) => {
                phase = Phase::Waiting;
                step.more = format!("PARKED on {held}");
                format!(
                    "It cannot go on. Its waker is with {held}: until it is woken from there nobody polls it, and it costs nothing."
                )
            }
            ("Ready", _) => {
                "It is done: its output stays where the future was until it is joined.".into()
            }
            _ => "The task has panicked. The loop goes on; whoever joins it is told.".into(),
        };
        self.set_phase(id, phase);
        step.by(name(id)).tell("polled", format!("}} = {how:<8} {took}"), why);
    }

    pub(super) fn end(&mut self, step: &mut Step, index: u32, how: Ended) {
        let found = self.indexes.get(&index).and_then(|number| self.numbers.get_key_value(number));
        let Some((number, id)) = found.map(|(number, id)| (*number, *id)) else {
            return step.tell("end", "end             for the second time", "A task ends once.");
        };
        self.forget_task(number, id);
        self.cause = Cause::End(id);
        let how = match how {
            Ended::Finished => "finished",
            Ended::Panicked => "panicked",
            Ended::Cancelled => "aborted",
        };
        let why =
            "Its future is dropped, and with it all that it owned. Whoever joins it is woken.";
        step.by(name(id)).tell("end", format!("end             {how}"), why);
    }

    pub(super) fn taken_out(&mut self, step: &mut Step, id: u64) {
        let number = self.tasks.get(&id).filter(|task| task.phase != Phase::Ended);
        let number = number.map(|task| task.number);
        if let Some(number) = number {
            self.forget_task(number, id);
        }
        let why = "The runtime ends, and drops what has not ended: to cancel is to drop.";
        step.by(name(id)).tell("end", "end             the runtime ends", why);
        step.is_detail = number.is_none();
    }

    fn forget_task(&mut self, number: Number, id: u64) {
        self.numbers.remove(&number);
        self.letters.remove(&id);
        self.ended.push_back(id);
        if self.ended.len() > KEPT {
            let oldest = self.ended.pop_front();
            oldest.into_iter().for_each(|oldest| {
                self.tasks.remove(&oldest);
                self.touched.insert(Touched::Task(oldest));
            });
        }
        self.set_phase(id, Phase::Ended);
        self.pass_ended();
        self.let_go(Holder::Task(id), PLACE);
    }

    /// Who has ended may be in the queue still, but is not waited for.
    fn pass_ended(&mut self) {
        let is_over = |task: Option<&Task>| task.is_none_or(|task| task.phase == Phase::Ended);
        while self.queue.front().is_some_and(|first| is_over(self.tasks.get(first))) {
            self.take_first();
        }
    }

    /// Out of the queue.
    fn take_first(&mut self) -> Option<u64> {
        let first = self.queue.pop_front()?;
        self.tasks.get_mut(&first).into_iter().for_each(|task| task.queued -= 1);
        Some(first)
    }

    pub(super) fn abort(&mut self, step: &mut Step, id: u64) {
        if let Some(task) = self.task_mut(id) {
            task.is_aborted = true;
        }
        let why = format!(
            "{} will not be polled again: when its turn comes its future is dropped. To cancel is to drop.",
            name(id)
        );
        step.tell("abort", format!("abort {}", name(id)), why);
    }

    pub(super) fn budget(&mut self, step: &mut Step) {
        let why = "It has had as many operations that were ready as one poll may have. It wakes itself, and lets the others go first.";
        step.tell("budget", "the budget is used up", why);
    }
}
