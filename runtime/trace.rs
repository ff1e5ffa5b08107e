//! What the runtime does, while it does it: one stream of events, told as a log. Feature `trace`.
//!
//! ```text
//! $ WAKEN_TRACE=log cargo run --features trace --example hello
//! ```
//!
//! Polls nest as `{ }`, so reading from top to bottom is the schedule. `log=FILE` writes into a file; `log:task=2` tells of one
//! task, `log:-call` leaves out one kind of event.
//!
//! ```text
//! trace!(…) ──► a record in the thread's buffer ──► Story: who, by whom, what for ──► log, checks
//!  one line       at the end of each turn             one for each runtime
//! ```
//!
//! What an event means is worked out by the story, from the events alone. It is checked against what ought to hold: no poll
//! without a wake, no task that waits and can never wake, no edge that is not used up, and so on; what breaks a check is
//! told where it shows.

mod check;
mod log;
mod outlet;
mod page;
mod recorder;
mod report;
mod state;
mod step;
mod story;
mod tell;
mod timeline;

pub use outlet::{report, start};
pub use recorder::note;
pub(crate) use recorder::{Event, Site, is_on, record};
pub use report::{Finding, Report};
