//! One scenario, whose system calls somebody else makes fail. It says what came out of that, and judges nothing.
//!
//! It waits for a signal before it begins, so that the tracer can attach itself first, and calls are counted from the
//! scenario's first. At the end it prints one line:
//!
//! ```text
//! done=3 of=3 told=accept:24,accept:24 panic=- left=0,0,0 fds=+0 cpu=12
//! ```
//!
//! `told` is every error that came out of the API, with the name of what was called and the errno; `left` are the tasks,
//! sources and timers that were alive at the end; `fds` how many more descriptors are open than at the beginning.
//! Who hangs is ended by an alarm, with exit code 97.

mod harness;
mod scenarios;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, scenario)) = scenarios::ALL.iter().find(|(it, _)| *it == name) else {
        let names: Vec<_> = scenarios::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("which scenario? {}", names.join(" "));
        return ExitCode::from(2);
    };
    harness::begin();
    let fds = harness::descriptors();
    let result = catch_unwind(AssertUnwindSafe(scenario));
    let panic = result.err().map(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap_or(Box::new("?"))).to_owned(),
    });
    harness::end(fds, panic);
    ExitCode::SUCCESS
}
