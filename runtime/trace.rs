//! What the runtime does, while it does it: one stream of events, as a log, a page, or a timeline. Feature `trace`.
//!
//! `WAKEN_TRACE` says what becomes of it, for any program; several, with commas between:
//!
//! | | |
//! |---|---|
//! | `log`, `log=FILE` | a line for each event, on standard error or into a file, in the manner of strace. Polls nest as `{ }`, so reading from top to bottom is the schedule |
//! | `log:task=2`, `log:-syscall` | of one task alone (`root` is the future of `block_on`); without one kind of event |
//! | `html`, `html=FILE` | a page to step through, forward and back: `trace.html`. It needs nothing but a browser, and opens after `kill -9` as well. One runtime, the first (after its end, the next), and 20,000 events |
//! | `chrome`, `chrome=FILE` | for Perfetto, or Chrome's `about:tracing`: `trace.json`, with an arrow from each wake to the poll it causes. A runtime is a process there |
//!
//! ```text
//! $ WAKEN_TRACE=log cargo run --features trace --example hello
//! ```
//!
//! What an event means is worked out from the events alone, and checked against what ought to hold: no poll
//! without a wake, no task that waits and can never wake, no edge that is not used up, and so on; what breaks a check is
//! told where it shows, and in the [`report`].
//!
//! ```text
//! trace!(…) ──► a record in the queue ──► Story: who, by whom, what for ──► log, page, timeline, checks
//!  one line       when a thread pauses       one for each runtime
//! ```
//!
//! An event costs the loop some 282 instructions and no allocation when it is recorded (`bench/counts` asserts it, `bench/README.md` has
//! nanoseconds), and many times that when it is told, which takes texts, however many tasks wait. Those of all threads stand in one
//! queue, in the order of their stamps. They are told before a thread sleeps, or when 1,024 are kept; a log is written at
//! once, line by line, so that nothing is missing when the program hangs. With the feature, and nothing asked for, a hook is a load
//! and what comes of it: 8 instructions. What is not seen: calls that std makes (`close`), or a closure of yours in
//! `AsyncFd::try_io`; through the traits of other crates the line that waits; and whom a foreign waker wakes, such as those of a
//! collection of futures.

mod check;
mod chrome;
mod holders;
mod log;
mod outlet;
mod page;
mod recorder;
mod report;
mod state;
mod step;
mod story;
mod tell;

pub use outlet::{report, start};
pub use recorder::note;
pub(crate) use recorder::{Event, Site, is_on, record};
pub use report::{Finding, Report};
