//! What must hold in any story. Each check has a name; what breaks it is a finding, with the event at which it shows.

use super::recorder::{Event, Record};
use super::report::Finding;
use super::state::{Fd, Phase, ROOT, able, name};
use super::step::Step;
use super::story::Story;
use super::tell::{duration, place};
use crate::sys::is_would_block;
use std::mem;
use std::time::Duration;

/// A poll that takes so long holds up everybody else.
const LONG: Duration = Duration::from_millis(1);

/// Name and sentence, as the page lists them.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("no poll without a wake", "A task is polled when it is new, and after it was woken."),
    ("no poll after Ready", "A future that is done is not polled again."),
    ("no lost waker", "A task that waits has left its waker with somebody."),
    (
        "edges are used up",
        "Who waits at a descriptor has heard `WouldBlock` from it, or was given less than it asked for.",
    ),
    ("wakers belong to the living", "Who waits at a descriptor has not ended."),
    ("no long poll", "A poll that takes a millisecond holds up everybody else."),
    ("registered once", "A number is taken out of epoll before another descriptor has it."),
    ("every task is dropped", "When the runtime ends, so have its tasks."),
];

/// What was before an event.
pub(super) struct Check {
    at: Duration,
    findings: Vec<Finding>,
}

impl Check {
    pub(super) fn before(story: &Story, record: &Record) -> Check {
        let mut check = Check { at: record.at, findings: Vec::new() };
        match &record.event {
            Event::Poll { number } => check.poll(story, story.id(*number)),
            Event::Wait { place: (_, source, writes, _), number, .. } => {
                if let Some(fd) = story.fds.get(source) {
                    check.wait(fd, !writes);
                    // A task of another runtime is none of this story.
                    let has_ended = |number| {
                        let task = story.id(number).and_then(|id| story.tasks.get(&id));
                        story.is_ours(number) && task.is_none_or(|it| it.phase == Phase::Ended)
                    };
                    if number.is_some_and(has_ended) {
                        check.find(
                            "wakers belong to the living",
                            format!("at fd {} waits who has ended", fd.number),
                        );
                    }
                }
            }
            Event::NotReady { source, short: false, .. } => {
                // A call of the user's own, in `AsyncFd`, is not seen.
                let fd = story.fds.get(source).and_then(|fd| Some((fd.number, fd.last_call?)));
                if let Some((number, _)) = fd.filter(|(_, said)| !said.is_err_and(is_would_block)) {
                    check.find(
                        "edges are used up",
                        format!(
                            "fd {number} counts as not ready, and nothing has said `WouldBlock`"
                        ),
                    );
                }
            }
            Event::Register { fd, .. } if story.registered.contains_key(fd) => {
                check.find(
                    "registered once",
                    format!("fd {fd} is registered, and was not taken out before"),
                );
            }
            _ => {}
        }
        check
    }

    fn poll(&mut self, story: &Story, id: Option<u64>) {
        let Some(task) = id.and_then(|id| story.tasks.get(&id)) else {
            return self.find("no poll after Ready", "what is polled has ended".into());
        };
        if task.phase == Phase::Ended {
            self.find("no poll after Ready", format!("{} has ended, and is polled", name(task.id)));
        } else if task.woken.is_none() && task.polls > 0 && !task.is_aborted {
            self.find(
                "no poll without a wake",
                format!("{} is polled, and nobody has woken it", name(task.id)),
            );
        }
    }

    fn wait(&mut self, fd: &Fd, reads: bool) {
        // What is there to be read does not help who waits for urgent data.
        if fd.is_ready[usize::from(!reads)] && !(reads && fd.urgent_only) {
            let (way, fd) = (able(reads), fd.number);
            self.find("edges are used up", format!("fd {fd} counts as {way}, and somebody waits for it: no edge will come for what is there"));
        }
    }

    pub(super) fn after(mut self, story: &mut Story, record: &Record, step: &mut Step) {
        match &record.event {
            Event::Polled { number, .. } => {
                let began = story
                    .id(*number)
                    .and_then(|id| story.tasks.get(&id))
                    .map_or(record.at, |task| task.began);
                let took = record.at.saturating_sub(began);
                if took >= LONG {
                    self.find(
                        "no long poll",
                        format!(
                            "{} was polled for {}: meanwhile nobody else ran",
                            step.who,
                            duration(took)
                        ),
                    );
                    self.findings.iter_mut().for_each(|finding| finding.is_hint = true);
                }
            }
            Event::Sleep { .. } => self.forgotten(story),
            Event::Stop { .. } => {
                let left: Vec<String> = story
                    .tasks
                    .values()
                    .filter(|task| task.id != ROOT && task.phase != Phase::Ended)
                    .map(|task| name(task.id))
                    .collect();
                if !left.is_empty() {
                    self.find("every task is dropped", format!("{} is left", left.join(", ")));
                }
            }
            _ => {}
        }
        step.findings = self.findings;
    }

    /// Who waits, and nobody has its waker, nor is a wake of it on its way from another thread.
    fn forgotten(&mut self, story: &mut Story) {
        for id in mem::take(&mut story.doubtful) {
            let Some(task) = story.tasks.get_mut(&id) else { continue };
            let is_known = story.holders.has(id) || story.letters.contains_key(&id);
            let is_lost = task.phase == Phase::Waiting && task.clones <= 0 && !is_known;
            if !is_lost || mem::replace(&mut task.is_forgotten, true) {
                continue;
            }
            let at =
                task.spawned_at.map_or(String::new(), |at| format!(", spawned at {}", place(at)));
            let who = name(task.id);
            if task.id == ROOT {
                self.find(
                    "no lost waker",
                    "root is parked, and nobody holds its waker: only `Remote::wake` can wake it"
                        .into(),
                );
                self.findings.last_mut().into_iter().for_each(|finding| finding.is_hint = true);
            } else {
                self.find(
                    "no lost waker",
                    format!("{who}{at}, is parked, and nobody holds its waker: it can never wake"),
                );
            }
        }
    }

    fn find(&mut self, check: &'static str, what: String) {
        self.findings.push(Finding { check, what, at: self.at, is_hint: false });
    }
}

#[cfg(test)]
#[path = "../../tests/inner/trace.rs"]
mod tests;
