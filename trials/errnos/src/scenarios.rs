//! What the runtime is asked to do while its calls fail. Each does again what has failed, as a program that means to go on
//! would: so at the end all is done, or it is lost.

mod local;
mod net;
mod threads;

/// By name.
pub const ALL: &[(&str, fn())] = &[
    ("make", local::make),
    ("timers", local::timers),
    ("pipes", local::pipes),
    ("embed", local::embed),
    ("process", local::process),
    ("signals", local::signals),
    ("tcp", net::tcp),
    ("late", net::late),
    ("exhausted", net::exhausted),
    ("interrupted", net::interrupted),
    ("udp", net::udp),
    ("unix", net::unix),
    ("datagrams", net::datagrams),
    ("remote", threads::remote),
    ("resolve", threads::resolve),
    ("unblock", threads::unblock),
    ("workers", threads::workers),
];

use crate::harness::{attempt, look};
use waken::Runtime;

/// Runs `scenario` on a runtime, and looks what it has left.
fn on_a_runtime(scenario: impl AsyncFnOnce()) {
    let runtime = attempt("new", Runtime::new);
    runtime.block_on(scenario());
    look(&runtime);
}

/// Bytes that are the same nowhere near.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (((i + seed) * 2_654_435_761) >> 7) as u8).collect()
}
