//! What is fuzzed: functions that take bytes, do with the runtime what the bytes say, and panic when it does not do
//! what it should. They know nothing of who makes the bytes up: libFuzzer, or `replay`.

#![allow(clippy::collapsible_if)] // One condition a line reads better where a model is asked.

pub mod addresses;
pub mod clock;
pub mod input;
pub mod sockets;
pub mod tasks;
pub mod timers;

use std::any::Any;
use std::cell::Cell;
use std::panic;

/// One target: its name, what runs one input, and how long an input is worth making.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub longest: usize,
}

pub const TARGETS: [Target; 4] = [
    Target { name: "tasks", run: tasks::run, longest: 80 },
    Target { name: "timers", run: timers::run, longest: 80 },
    Target { name: "addresses", run: addresses::run, longest: 48 },
    Target { name: "sockets", run: sockets::run, longest: 64 },
];

pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        panic!("there is no target `{name}`: {:?}", TARGETS.each_ref().map(|target| target.name))
    })
}

/// What a panic carries that the input has asked for.
pub struct Planned(pub u32);

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Any panic but a planned one is a finding, also where the runtime would contain it: it is printed, and `then` ends
/// the process.
pub fn report_panics(then: fn()) {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Planned>() && !EXPECTED.get() {
            print(info);
            then();
            std::process::abort();
        }
    }));
}

/// Runs what has to panic, and gives the message.
pub fn must_panic(what: &str, code: impl FnOnce()) -> String {
    let before = EXPECTED.replace(true);
    let payload = panic::catch_unwind(panic::AssertUnwindSafe(code)).err();
    EXPECTED.set(before);
    message(payload.unwrap_or_else(|| panic!("{what} did not panic")))
}

fn message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast_ref::<&str>().unwrap_or(&"").to_string(),
    }
}
