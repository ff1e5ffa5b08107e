//! One event, told.

use super::recorder::{At, Record, Site};
use super::report::Finding;
use super::state::Touched;
use super::tell::place;
use std::collections::BTreeSet;
use std::time::Duration;

/// The kinds of events, by the chapter of the guide that is about them.
pub(super) const KINDS: &[(&str, &[&str])] = &[
    ("01", &["polled"]),
    ("03", &["clone", "drop"]),
    ("04", &["start", "stop", "block_on", "sleep", "awake", "enqueue", "poll", "wake"]),
    ("05", &["spawn", "end", "join", "abort"]),
    ("06", &["register", "deregister", "event", "waits for", "wait", "taken"]),
    ("07", &["syscall", "not ready"]),
    ("08", &["timer set", "timer moved", "timer fired"]),
    ("09", &["give up", "timer cancelled"]),
    ("10", &["budget"]),
    ("11", &["letter", "unpark", "letters"]),
    ("", &["note"]),
];

#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) site: &'static Site,
    pub(super) kind: &'static str,
    /// Whose turn it is: `rt`, `root`, `t3`, `thread 2`.
    pub(super) who: String,
    /// How many polls it is inside of.
    pub(super) depth: usize,
    pub(super) what: String,
    /// Beside it, where there is room.
    pub(super) more: String,
    pub(super) place: At,
    /// What this is and what it leads to, for the page.
    pub(super) why: String,
    pub(super) wake: Option<(u64, WakeEnd)>,
    pub(super) findings: Vec<Finding>,
    /// The log leaves it out: the lines around it say as much.
    pub(super) is_detail: bool,
    pub(super) touched: BTreeSet<Touched>,
}

/// With the number of a wake: whether this is the wake, or the poll that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeEnd {
    Wakes,
    Polls,
}

impl Step {
    pub(super) fn new(record: &Record, who: String, depth: usize) -> Step {
        Step {
            at: record.at,
            site: record.site,
            kind: "",
            who,
            depth,
            what: String::new(),
            more: String::new(),
            place: None,
            why: String::new(),
            wake: None,
            findings: Vec::new(),
            is_detail: false,
            touched: BTreeSet::new(),
        }
    }

    pub(super) fn tell(
        &mut self,
        kind: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        debug_assert!(KINDS.iter().any(|it| it.1.contains(&kind)), "who asks for `{kind}`?");
        (self.kind, self.what, self.why) = (kind, what.into(), why.into());
    }

    /// In the name of somebody else than whose turn it is.
    pub(super) fn by(&mut self, who: impl Into<String>) -> &mut Step {
        self.who = who.into();
        self
    }

    /// Where in the program, as far as it is known.
    pub(super) fn place_told(&self) -> String {
        self.place.map_or(String::new(), place)
    }
}
