//! What the checks have found, for who asks.

use super::step::Step;
use std::fmt;
use std::time::Duration;

/// What was recorded, and which checks do not hold in it. See [`report`](super::report()).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many events there were.
    pub events: u64,
    /// Until the last one.
    pub duration: Duration,
    /// The first 1,000.
    pub findings: Vec<Finding>,
}

/// A check that does not hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// Which one, by name: `no lost waker`.
    pub check: &'static str,
    /// What is wrong, as a sentence.
    pub what: String,
    /// When, from the first event on.
    pub at: Duration,
    /// Something to think about, such as a long poll, rather than a mistake.
    pub is_hint: bool,
}

const MOST: usize = 1000;

impl Report {
    /// Whether nothing is wrong. Hints do not count.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_hint)
    }

    pub(super) fn count(&mut self, step: &Step) {
        self.events += 1;
        self.duration = self.duration.max(step.at);
        let room = MOST - self.findings.len();
        self.findings.extend(step.findings.iter().take(room).cloned());
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_hint { "?" } else { "!" };
        write!(f, "{:9.6} {mark} {}: {}", self.at.as_secs_f64(), self.check, self.what)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events in {:.3} s, ", self.events, self.duration.as_secs_f64())?;
        let wrong = self.findings.iter().filter(|finding| !finding.is_hint).count();
        match (wrong, self.findings.len() - wrong) {
            (0, 0) => f.write_str("all checks hold"),
            (0, hints) => write!(f, "all checks hold, {hints} hints"),
            (wrong, hints) => write!(f, "{wrong} findings, {hints} hints"),
        }
    }
}
