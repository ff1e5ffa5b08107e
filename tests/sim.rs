//! The real runtime over a simulated kernel: random schedules of what peers, the network and other threads may do, between
//! the calls and in the middle of them. Whatever the order, no byte is lost, doubled or misplaced, nobody hangs, nothing
//! spins, and nothing is left.
//!
//! A schedule is a seed: what the kernel is like, which programs run, who does what when. It is the same each time.
//!
//! ```text
//! WAKEN_SIM_SEED=4711        runs that one, and shows it call by call (with `cargo test --test sim -- --nocapture`)
//! WAKEN_SIM_SCHEDULES=1000000 WAKEN_SIM_FIRST=0    as many, from there on, and says now and then how far it is
//! ```
//!
//! `sim/calls.rs` is the seam, `sim/kernel.rs` says what is promised and what is not in the model, `sim/programs.rs` is what runs.

#[path = "sim/calls.rs"]
mod calls;
#[path = "sim/facts.rs"]
mod facts;
#[path = "sim/kernel.rs"]
mod kernel;
#[path = "sim/outside.rs"]
mod outside;
#[path = "sim/programs.rs"]
mod programs;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/schedule.rs"]
mod schedule;

use kernel::Counts;
use schedule::{Report, run};
use std::env;
use std::io::{self, Write};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, and is {text}")))
}

/// How long one schedule may take: they take a tenth of a millisecond.
const TOO_LONG: Duration = Duration::from_secs(30);

/// Several threads, each with a kernel of its own, run the schedules from `first` on.
struct Crew {
    next: AtomicU64,
    end: u64,
    /// The first seed that failed, and why.
    failed: Mutex<Option<(u64, String)>>,
    total: Mutex<Counts>,
    working: Vec<(AtomicBool, AtomicU64)>,
}

impl Crew {
    fn new(first: u64, schedules: u64) -> Crew {
        let threads = thread::available_parallelism().map_or(1, |n| n.get().min(8));
        Crew {
            next: AtomicU64::new(first),
            end: first + schedules,
            failed: Mutex::new(None),
            total: Mutex::default(),
            working: (0..threads).map(|_| Default::default()).collect(),
        }
    }

    fn work(&self, n: usize) {
        let mut total = Counts::default();
        let (is_working, at) = &self.working[n];
        loop {
            let seed = self.next.fetch_add(1, SeqCst);
            if seed >= self.end {
                break;
            }
            at.store(seed, SeqCst);
            let report = run(seed, false);
            total.add(&report.counts);
            if let Err(why) = report.verdict {
                self.next.store(self.end, SeqCst);
                let mut failed = self.failed.lock().unwrap();
                if failed.as_ref().is_none_or(|(before, _)| seed < *before) {
                    *failed = Some((seed, why));
                }
            }
        }
        self.total.lock().unwrap().add(&total);
        is_working.store(false, SeqCst);
    }

    /// Waits for the others, says how far they are, and ends the process if one of them does not get on.
    fn watch(&self, begin: Instant) {
        let mut seen: Vec<(u64, Instant)> = vec![(u64::MAX, begin); self.working.len()];
        let mut told = begin;
        while self.working.iter().any(|(is_working, _)| is_working.load(SeqCst)) {
            thread::sleep(Duration::from_millis(5));
            for ((is_working, at), seen) in self.working.iter().zip(&mut seen) {
                let at = at.load(SeqCst);
                if at != seen.0 {
                    *seen = (at, Instant::now());
                } else if is_working.load(SeqCst) && seen.1.elapsed() > TOO_LONG {
                    let _ = writeln!(io::stderr(), "watchdog: WAKEN_SIM_SEED={at} does not end");
                    process::abort();
                }
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let left = self.end.saturating_sub(self.next.load(SeqCst));
                println!("{left} schedules to go after {:.0} s", begin.elapsed().as_secs_f32());
            }
        }
    }
}

/// Shows a schedule, call by call.
fn show(seed: u64, report: &Report) {
    println!("schedule {seed}");
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("{:?}\n{:?}", report.verdict, report.counts);
}

/// E01, E02, E03, E04, E05, E06, E07, E08, E09, E10, E11, E12, E13, E14, E15, E18, E24, F01, F02, F03, K01, K03, K04, L01, L02,
/// L03, L04, Q03, S01, S04, S07, S10, S11, W01, W02, W04, W10, W14; k1-k7, k9, k10, k12, k14-k16, k18-k20, k22: whatever the
/// order of things.
#[test]
fn in_no_schedule_is_a_byte_lost_or_does_anybody_hang_or_spin() {
    if let Some(seed) = variable("WAKEN_SIM_SEED") {
        let report = run(seed, true);
        show(seed, &report);
        return assert_eq!(report.verdict, Ok(()), "schedule {seed}");
    }
    let schedules = variable("WAKEN_SIM_SCHEDULES").unwrap_or(10_000);
    let crew = Crew::new(variable("WAKEN_SIM_FIRST").unwrap_or(0), schedules);
    let begin = Instant::now();
    thread::scope(|scope| {
        for n in 0..crew.working.len() {
            crew.working[n].0.store(true, SeqCst);
            let crew = &crew;
            scope.spawn(move || crew.work(n));
        }
        crew.watch(begin);
    });
    let failed = crew.failed.into_inner().unwrap();
    if let Some((seed, why)) = failed {
        let again = run(seed, true);
        show(seed, &again);
        let same =
            if again.verdict.is_err() { "shown above" } else { "and not when it is run alone" };
        panic!("WAKEN_SIM_SEED={seed} fails, {same}: {why}");
    }
    let total = crew.total.into_inner().unwrap();
    println!(
        "{schedules} schedules, {}, no fault, in {:.1} s",
        total.named().map(|(name, count)| format!("{count} {name}")).join(", "),
        begin.elapsed().as_secs_f32()
    );
    if schedules >= 10_000 {
        for (name, count) in total.named() {
            assert!(count >= 100, "only {count} {name}: the schedules are not what they should be");
        }
    }
}

/// The seed is all there is: on another thread, after other schedules, a schedule is still the same.
#[test]
fn a_schedule_is_the_same_each_time() {
    let seeds = 0..400;
    let here: Vec<Report> = seeds.clone().map(|seed| run(seed, seed % 8 == 0)).collect();
    let there = move || seeds.rev().map(|seed| run(seed, seed % 8 == 0)).collect();
    let there: Vec<Report> = thread::spawn(there).join().unwrap();
    for (seed, (one, other)) in here.iter().zip(there.iter().rev()).enumerate() {
        assert_eq!(one.trace, other.trace, "schedule {seed}");
        assert_eq!((one.hash, one.counts), (other.hash, other.counts), "schedule {seed}");
    }
    let mut hashes: Vec<u64> = here.iter().map(|report| report.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 400, "all of them are different");
}
