//! The guard of every test that runs a runtime: its body runs in a process of its own, and afterwards nothing
//! may be left of it, and not too much used.
//!
//! ```text
//!  cargo test ── the test ── guard ── starts this program again, for the same test alone
//!                                        └─ the test ── guard: measures, runs the body, measures, reports
//!                  says what is wrong ◄──────────────────────────────────────────────────┘
//! ```
//!
//! What stands in a test outside of its guard runs in both processes. A test may have several guards, one after
//! another: each has a process of its own, in which the others do nothing.
//!
//! To look into a body with a debugger, or to see what it prints while it runs: `WAKEN_TEST_HERE=1 cargo test
//! NAME -- --nocapture` runs it in the same process, with no limit and no check. What a test has used is printed
//! by `cargo test NAME -- --nocapture`. Where everything takes longer (a sanitizer, valgrind, a small machine),
//! `WAKEN_TEST_SLOW=10` allows ten times as many seconds, and as much of the processor.
#![allow(dead_code, unreachable_pub)] // Each test file uses some of it.

use super::heap::Heap;
use super::{fds, process};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::mem;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio, exit, id};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Runs `body` in a process of its own, guarded: it has to end within `seconds`, and the rest is as usual.
#[track_caller]
pub fn watched(seconds: u64, body: impl FnOnce()) {
    guard(seconds).run(body);
}

/// As [`watched`], for a body that needs more than usual, and says so: `guard(10).panics().run(|| ...)`.
pub fn guard(seconds: u64) -> Guard {
    Guard { seconds, cpu: CPU, panics: false, heap: HEAP, fds: 0, threads: 0, why: String::new() }
}

/// What a body may use of the processor if it does not say more: three times what nine tests in ten need in a
/// debug build, and less than a loop that spins for as long as most tests wait.
const CPU: Duration = Duration::from_millis(500);

/// What may stay on the heap in any case, in bytes: what others make when it is first used, and keep. That is 48
/// for a thread that has waited for a channel, 40 for one that ran another executor's `block_on`, and the one node
/// (104) of an empty set, in `forgotten.rs`. Nine tests in ten keep nothing at all.
const HEAP: isize = 256;

/// How long threads that the body has not waited for may take to end, or to give back what they hold.
const MOMENT: Duration = Duration::from_secs(2);

/// What a body may use, and what it may leave behind.
#[derive(Debug)]
pub struct Guard {
    seconds: u64,
    cpu: Duration,
    panics: bool,
    heap: isize,
    fds: usize,
    threads: usize,
    why: String,
}

impl Guard {
    /// It may use so much of the processor, its threads and the programs that it waits for together.
    pub fn cpu_ms(self, most: u64) -> Guard {
        Guard { cpu: Duration::from_millis(most), ..self }
    }

    /// Something in it panics, on purpose, which is then said on the standard error.
    pub fn panics(self) -> Guard {
        Guard { panics: true, ..self }
    }

    /// So many bytes stay on the heap, because of `why`.
    pub fn keeps_bytes(self, most: usize, why: &str) -> Guard {
        Guard { heap: HEAP + most as isize, ..self }.because(why)
    }

    /// So many descriptors more are open afterwards, because of `why`.
    pub fn keeps_fds(self, most: usize, why: &str) -> Guard {
        Guard { fds: most, ..self }.because(why)
    }

    /// So many threads run on, because of `why`.
    pub fn keeps_threads(self, most: usize, why: &str) -> Guard {
        Guard { threads: most, ..self }.because(why)
    }

    fn because(mut self, why: &str) -> Guard {
        if !self.why.contains(why) {
            self.why.push_str(&format!("  (expected: {why})\n"));
        }
        self
    }

    /// Runs `body`, and panics if the guard has anything to say against it.
    #[track_caller]
    pub fn run(self, body: impl FnOnce()) {
        // libtest gives every test a thread that is called like it, since Rust 1.67 with `--test-threads=1` as
        // well. Whoever runs tests on the main thread instead, says the name of the test nowhere.
        if env::var_os(HERE).is_some() || thread::current().name() == Some("main") {
            return body();
        }
        let Some(verdict) = self.judge(body, || {}) else { return };
        // Captured by libtest, and shown with the failure, or by `--nocapture`.
        print!("{}", verdict.out);
        eprint!("{}", verdict.err);
        println!("{}", verdict.used);
        assert!(verdict.breaches.is_empty(), "{verdict}");
    }

    /// Runs `body` as the root of a runtime of its own.
    #[track_caller]
    pub fn block_on(self, body: impl Future<Output = ()>) {
        self.run(|| waken::block_on(body));
    }

    /// Runs `body`, and returns what the guard has to say. The process of the body does not return from here; that
    /// of another guard in the same test gets an empty verdict: so first all verdicts, and then look at them.
    pub fn verdict(self, body: impl FnOnce()) -> Verdict {
        self.judge(body, || exit(0)).unwrap_or_default()
    }

    fn judge(self, body: impl FnOnce(), done: impl FnOnce()) -> Option<Verdict> {
        let name = thread::current().name().map(str::to_owned);
        let name =
            name.expect("a guard is for the thread of a test, which libtest calls like the test");
        let which = format!("{} of {name}", COUNT.replace(COUNT.get() + 1));
        match env::var(INSIDE) {
            Err(_) => return Some(self.outside(&name, &which)),
            Ok(inside) if inside == which => {
                self.inside(body);
                done();
            }
            Ok(_another) => {}
        }
        None
    }

    // ---- the process of its own -------------------------------------------------------------------

    fn inside(&self, body: impl FnOnce()) {
        process::end_with_parent();
        process::allow_descriptors();
        warm_up();
        process::until_others_sleep(); // libtest's own thread is about to wait for this one.
        print!("{BODY}");
        let fds = fds().into_iter().collect();
        let before = State { fds, threads: process::threads(), children: false, heap: Heap::now() };
        let (began, cpu) = (Instant::now(), process::cpu_of_all());
        body();
        let (took, cpu) = (began.elapsed(), process::cpu_of_all() - cpu);
        process::allow_descriptors(); // The body may have wanted few.
        mem::take(&mut *AT_END.lock().unwrap()).into_iter().for_each(|give_back| give_back());
        let after = self.settled(&before);
        print!("{BODY}");
        let kept = after.heap.more_than(&before.heap);
        let mut report =
            vec![format!("guard: {took:.1?}, {cpu:.1?} of the processor, kept: {kept}")];
        let most = self.cpu * slowness();
        if cpu > most {
            report.push(format!("CPU: used {cpu:.1?} of the processor, and may use {most:.1?}"));
        }
        report.extend(self.leftovers(&before, &after));
        fs::write(env::var(REPORT).unwrap(), report.join("\n")).unwrap();
    }

    /// The state when nothing is left, or nobody who could give it back, or no time.
    fn settled(&self, before: &State) -> State {
        let end = Instant::now() + MOMENT;
        loop {
            // The threads first, since one that ends frees something; and the heap before what allocates here.
            let (threads, children) = (process::threads(), process::has_children());
            let heap = Heap::now();
            let now = State { fds: fds().into_iter().collect(), threads, children, heap };
            let alone = now.threads <= before.threads;
            if alone || Instant::now() > end || self.leftovers(before, &now).is_empty() {
                return now;
            }
            drop(now);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn leftovers(&self, before: &State, after: &State) -> Vec<String> {
        let mut breaches = Vec::new();
        let opened: Vec<&String> = after.fds.difference(&before.fds).collect();
        let closed: Vec<&String> = before.fds.difference(&after.fds).collect();
        if opened.len() > self.fds || !closed.is_empty() {
            breaches.push(format!("descriptors: left open {opened:?}, closed {closed:?}"));
        }
        let most = before.threads + self.threads;
        if after.threads > most {
            breaches.push(format!("threads: {} run on, and {most} may", after.threads));
        }
        if after.children {
            breaches.push("processes: a child was not waited for".to_owned());
        }
        let kept = after.heap.bytes - before.heap.bytes;
        if kept > self.heap {
            let blocks = after.heap.more_than(&before.heap);
            breaches.push(format!("heap: kept {kept} bytes, and may keep {}: {blocks}", self.heap));
        }
        breaches
    }

    // ---- the process of all tests -----------------------------------------------------------------

    /// A machine that does other things as well makes a body use more of the processor, and nothing makes it use
    /// less: of three runs the least counts, and each is told of. Whoever always spins does so in each.
    fn outside(self, name: &str, which: &str) -> Verdict {
        let mut verdict = self.one_run(name, which);
        for run in 2..=3 {
            let breaches = &verdict.breaches;
            if breaches.is_empty() || !breaches.iter().all(|breach| breach.starts_with("CPU: ")) {
                break;
            }
            let before = verdict.used;
            eprintln!("{name}: {breaches:?}, so again, {run} of 3");
            verdict = self.one_run(name, which);
            verdict.used = format!("{before}\nagain, {run} of 3\n{}", verdict.used);
        }
        verdict
    }

    fn one_run(&self, name: &str, which: &str) -> Verdict {
        let (out, err, report) = (process::scratch(), process::scratch(), process::scratch());
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([name, "--exact", "--nocapture", "--test-threads=1", "--include-ignored"])
            .env(INSIDE, which)
            .env(REPORT, format!("/proc/{}/fd/{}", id(), report.as_raw_fd()))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap());
        if self.panics {
            // Who prints a backtrace keeps the tables that are read for it.
            command.env("RUST_BACKTRACE", "0");
        }
        let mut child = command.spawn().unwrap();
        let mut breaches = Vec::new();
        let limit = Duration::from_secs(self.seconds) * slowness();
        if !process::ends_within(&child, limit) {
            let threads = process::threads_of(&child).join("\n    ");
            breaches.push(format!("watchdog: hangs after {} s\n    {threads}", limit.as_secs()));
            process::end(&mut child);
        }
        let (status, _) = process::reap(child);
        let (out, err, report) = (process::text(out), process::text(err), process::text(report));
        let mut report = report.lines();
        let used = report.next().unwrap_or("guard: not measured").to_owned();
        if breaches.is_empty() {
            breaches.extend(report.map(str::to_owned));
            match out.matches(BODY).count() {
                2 if status.success() => {
                    let panics = self.panics_in(&err);
                    if panics.is_some() {
                        // Who prints a backtrace keeps the tables that are read for it.
                        breaches.retain(|breach| !breach.starts_with("heap: "));
                    }
                    breaches.extend(panics);
                }
                2 => breaches.push(format!("end: {status}, after the body")),
                1 => breaches.push(format!("end: {status}, before the end of the body")),
                _ => breaches
                    .push(format!("end: {status}, before the body; is there one such test?")),
            }
        }
        // What libtest itself has printed there is of no interest.
        let out = out.split(BODY).nth(1).unwrap_or(&out).to_owned();
        Verdict { name: name.to_owned(), breaches, used, out, err, why: self.why.clone() }
    }

    fn panics_in(&self, err: &str) -> Option<String> {
        // The lines that std's hook prints.
        let panics: Vec<&str> = err.lines().filter(|line| line.contains("panicked at ")).collect();
        match self.panics {
            false if !panics.is_empty() => Some(format!("panics: {}", panics.join("; "))),
            true if panics.is_empty() => Some("panics: none, though it is said to".to_owned()),
            _ => None,
        }
    }
}

/// What the guard has to say about a body.
#[derive(Debug, Default)]
pub struct Verdict {
    name: String,
    /// Each begins with the word for the bound that does not hold.
    pub breaches: Vec<String>,
    pub used: String,
    pub out: String,
    pub err: String,
    why: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the guard of `{}` objects:", self.name)?;
        for breach in &self.breaches {
            writeln!(f, "* {breach}")?;
        }
        write!(f, "{}", self.why)
    }
}

const HERE: &str = "WAKEN_TEST_HERE";
/// Says to a process of its own for which guard of which test it is.
pub const INSIDE: &str = "WAKEN_GUARD_INSIDE";
const REPORT: &str = "WAKEN_GUARD_REPORT";

/// Printed before and after what the body prints.
const BODY: &str = "\n---- guard ----\n";

/// How many times as long everything may take.
fn slowness() -> u32 {
    env::var("WAKEN_TEST_SLOW").map_or(1, |times| times.parse().expect("a number of times"))
}

thread_local! {
    /// How many guards the test on this thread has had.
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

/// What the support of the tests itself keeps, and gives back when the body has ended.
static AT_END: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// Calls `give_back` when the body has ended, before its leftovers are counted.
pub fn at_end(give_back: fn()) {
    AT_END.lock().unwrap().push(give_back);
}

/// Makes what is made once in a thread or process, and then kept: it is no leak.
fn warm_up() {
    // The runtime: its number's place in the registry, what a thread keeps of it.
    waken::block_on(async {
        waken::spawn(waken::task::yield_now()).await.unwrap();
    });
}

/// What must be afterwards as it was before.
struct State {
    fds: BTreeSet<String>,
    threads: usize,
    children: bool,
    heap: Heap,
}
