//! The targets without libFuzzer, for any compiler: the kept inputs, then random ones.
//!
//!     replay TARGET [--random SECONDS|Nx] [--seed N] [--crash FILE] INPUTS...
//!
//! An input is a file of bytes, or a `.hex` file of many, one a line. Random ones are made from the kept ones (bytes
//! changed, put in, taken out, two inputs joined) and from nothing. Prints how many were run.

use std::fs;
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The input that runs, and where it is written to when it is a finding.
static CURRENT: Mutex<(Vec<u8>, PathBuf)> = Mutex::new((Vec::new(), PathBuf::new()));

fn current() -> MutexGuard<'static, (Vec<u8>, PathBuf)> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts inputs, for the watchdog.
static DONE: AtomicU64 = AtomicU64::new(0);
const LONGEST: Duration = Duration::from_secs(20);

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

fn keep_crash() {
    let (bytes, path) = &*current();
    let kept = fs::write(path, bytes);
    eprintln!("the input: {} ({} bytes, {kept:?})", path.display(), bytes.len());
}

fn inputs(path: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    if !path.ends_with(".hex") {
        return vec![bytes];
    }
    let text = String::from_utf8(bytes).expect("hexadecimal digits");
    let digit = |at: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(at).unwrap_or(""), 16).expect("hexadecimal digits")
    };
    text.lines().map(|line| line.as_bytes().chunks(2).map(digit).collect()).collect()
}

/// A new input, from those there are.
fn mutated(random: &mut Random, kept: &[Vec<u8>], longest: usize) -> Vec<u8> {
    let mut bytes = match kept.len() {
        0 => Vec::new(),
        n => kept[random.below(n)].clone(),
    };
    if bytes.is_empty() || random.below(8) == 0 {
        bytes = (0..random.below(longest + 1)).map(|_| random.below(256) as u8).collect();
    }
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(4) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if !kept.is_empty() => {
                let other = &kept[random.below(kept.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
    // Short ones more often: what a third of the length can find is found in a third of the time.
    let length = (1 + random.below(longest)).min(1 + random.below(longest));
    bytes.truncate(length);
    bytes
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let target = waken_fuzz::target(&arguments.next().unwrap_or_default());
    let (mut times, mut limit) = (0u64, Duration::ZERO);
    let (mut seed, mut crash) = (1u64, PathBuf::from(format!("crash-{}", target.name)));
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value behind the option");
        match argument.as_str() {
            "--random" => match value().strip_suffix('x').map(str::parse) {
                Some(n) => times = n.expect("a number of times"),
                None => panic!("--random is a number of times, as in 1000x"),
            },
            "--seconds" => limit = Duration::from_secs(value().parse().expect("seconds")),
            "--seed" => seed = value().parse().expect("a number"),
            "--crash" => crash = value().into(),
            path => kept.extend(inputs(path)),
        }
    }
    waken_fuzz::report_panics(keep_crash);
    current().1 = crash;
    thread::spawn(|| {
        let mut last = u64::MAX;
        loop {
            let done = DONE.load(Relaxed);
            if done == last {
                eprintln!("watchdog: one input takes longer than {LONGEST:?}");
                keep_crash();
                exit(70);
            }
            last = done;
            thread::sleep(LONGEST);
        }
    });
    let run = |bytes: Vec<u8>| {
        current().0.clone_from(&bytes);
        (target.run)(&bytes);
        DONE.fetch_add(1, Relaxed);
    };
    let start = Instant::now();
    kept.iter().cloned().for_each(run);
    let mut random = Random(seed.max(1));
    let mut made = 0;
    while made < times && (limit.is_zero() || start.elapsed() < limit) {
        run(mutated(&mut random, &kept, target.longest));
        made += 1;
    }
    println!(
        "{} executions: {} kept, {made} random with seed {seed}",
        DONE.load(Relaxed),
        kept.len()
    );
}
