//! Words for numbers: bits, errors, times, places.

use crate::sys::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use std::fmt::Write;
use std::panic::Location;
use std::time::Duration;

/// `IN|OUT`.
pub(super) fn bits(bits: i32) -> String {
    const NAMES: [(i32, &str); 6] = [
        (EPOLLIN, "IN"),
        (EPOLLOUT, "OUT"),
        (EPOLLPRI, "PRI"),
        (EPOLLRDHUP, "RDHUP"),
        (EPOLLHUP, "HUP"),
        (EPOLLERR, "ERR"),
    ];
    let names: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "nothing".into() } else { names.join("|") }
}

/// `812.000ms`, in three digits after the point.
pub(super) fn duration(time: Duration) -> String {
    match time.as_nanos() {
        0..1_000 => format!("{}ns", time.as_nanos()),
        1_000..1_000_000 => format!("{}us", time.as_micros()),
        1_000_000..1_000_000_000 => format!("{:.3}ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.3}s", time.as_secs_f64()),
    }
}

/// `examples/echo.rs:12`.
pub(super) fn place(at: &Location<'_>) -> String {
    format!("{}:{}", at.file(), at.line())
}

/// As a string of JavaScript's, and JSON's, that may stand in HTML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '<' => out.push_str("\\u003c"),
            '\u{2028}' | '\u{2029}' => out.push(' '),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
