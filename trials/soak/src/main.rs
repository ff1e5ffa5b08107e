//! An echo server on one runtime, everything done to it at once, and a look every few seconds at whether it still is
//! what it was at the beginning.
//!
//! ```text
//!  this process: the server's thread            a thread that wakes          the parent: the load
//!  echo tasks, timers, the probe     ◄── wakes ── counters            ◄── TCP ── connections, the probe
//! ```
//!
//! The load is a process of its own, so that its descriptors and its memory are not counted. It is driven through two
//! pipes: "stop" and "go" for the pauses in which the server's descriptors, heap and threads are counted.

mod load;
mod measure;
mod server;

use std::io::{Read, Write};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

/// How much has to be reached, and for how long it goes on at least.
#[derive(Clone, Copy)]
struct Plan {
    time: Duration,
    /// When it is given up that the numbers are reached.
    limit: Duration,
    connections: u64,
    at_once: usize,
    wakes: u64,
    timers: u64,
    episode: Duration,
}

fn plan(arguments: &[String]) -> Plan {
    let ci = Plan {
        time: Duration::from_secs(120),
        limit: Duration::from_secs(900),
        connections: 200_000,
        at_once: 2000,
        wakes: 5_000_000,
        timers: 1_000_000,
        episode: Duration::from_secs(10),
    };
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1)?.parse::<f64>().expect("a number"))
    };
    if let Some(hours) = value("--hours") {
        let time = Duration::from_secs_f64(hours * 3600.0);
        let times = (hours * 30.0).max(1.0);
        let more = |n: u64| (n as f64 * times) as u64;
        return Plan {
            time,
            limit: 3 * time + ci.limit,
            connections: more(ci.connections),
            wakes: more(ci.wakes),
            timers: more(ci.timers),
            ..ci
        };
    }
    if arguments.iter().any(|argument| argument == "--quick") {
        return Plan {
            time: Duration::from_secs(10),
            limit: Duration::from_secs(180),
            connections: ci.connections / 12,
            at_once: 500,
            wakes: ci.wakes / 12,
            timers: ci.timers / 12,
            episode: Duration::from_secs(3),
        };
    }
    ci
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = plan(&arguments);
    measure::allow_descriptors(20_000);
    if arguments.first().map(String::as_str) == Some("load") {
        return load::run(plan.at_once);
    }
    let program = std::env::current_exe().expect("this program");
    let mut load = Command::new(program)
        .arg("load")
        .args(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the load");
    let (to, from) = (load.stdin.take().expect("piped"), load.stdout.take().expect("piped"));
    let held = server::run(&plan, Link { to, from });
    // Its input is closed: it ends.
    let ended = load.wait();
    if !held || !ended.is_ok_and(|status| status.success()) {
        exit(1);
    }
}

/// The way to the load: a line there, a line back.
struct Link {
    to: std::process::ChildStdin,
    from: std::process::ChildStdout,
}

impl Link {
    fn ask(&mut self, line: &str) -> Vec<u64> {
        writeln!(self.to, "{line}").expect("the load lives");
        let mut answer = Vec::new();
        let mut byte = [0];
        while self.from.read_exact(&mut byte).is_ok() && byte[0] != b'\n' {
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).expect("text");
        answer.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    }
}
