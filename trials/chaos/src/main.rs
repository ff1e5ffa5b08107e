//! Several conversations at once, on one runtime, while somebody else disturbs every call. What comes back has to be what was
//! sent; nobody may hang (an alarm ends the process, exit code 97), and nothing may be left.
//!
//! `chaos SEED BYTES`: the seed chooses who talks how, and BYTES go out and come back in all. Prints one line:
//!
//! ```text
//! talks=tcp,halves,unix ops=5312 bytes=1048576 left=0,0,0 fds=+0
//! ```

mod chance;
mod talks;

use chance::Chance;
use std::process::ExitCode;
use waken::{JoinSet, Runtime};

fn main() -> ExitCode {
    let numbers = || std::env::args().skip(1).map(|it| it.parse::<u64>().ok());
    let [Some(seed), Some(bytes)] = [numbers().next().flatten(), numbers().nth(1).flatten()] else {
        eprintln!("usage: chaos SEED BYTES");
        return ExitCode::from(2);
    };
    end_if_it_hangs(100);
    let before = descriptors();
    let mut chance = Chance::new(seed);
    let runtime = Runtime::builder()
        .events_per_poll(1 + chance.below(40) as usize)
        .budget(1 + chance.below(200) as u32)
        .polls_per_turn(1 + chance.below(100) as usize)
        .build()
        .unwrap();
    let count = 2 + chance.below(4) as usize;
    let mut names = Vec::new();
    runtime.block_on(async {
        let mut talks = JoinSet::new();
        for _ in 0..count {
            let (name, talk) = chance.one_of(talks::ALL);
            names.push(*name);
            talks.spawn(talk(bytes as usize / count, chance.fork()));
        }
        while let Some(ended) = talks.join_next().await {
            ended.unwrap();
        }
    });
    // Whatever was aborted is dropped in the next turn.
    for _ in 0..3 {
        runtime.block_on(waken::task::yield_now());
    }
    let it = runtime.metrics();
    drop(runtime);
    println!(
        "talks={} ops={} bytes={} left={},{},{} fds={:+}",
        names.join(","),
        talks::operations(),
        talks::bytes(),
        it.tasks_alive,
        it.sources_alive,
        it.timers_alive,
        descriptors() - before
    );
    ExitCode::SUCCESS
}

fn end_if_it_hangs(seconds: u32) {
    extern "C" fn hangs(_: i32) {
        // SAFETY: a signal handler may call `_exit`.
        unsafe { libc::_exit(97) };
    }
    // SAFETY: plain calls with valid arguments.
    unsafe {
        libc::signal(libc::SIGALRM, hangs as *const () as usize);
        libc::alarm(seconds);
    }
}

/// How many are open, of the first 500. Above are the shim's ghosts.
fn descriptors() -> i32 {
    let all = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut fds: Vec<libc::pollfd> = (0..500).map(all).collect();
    // SAFETY: a valid array of that length.
    unsafe { libc::poll(fds.as_mut_ptr(), 500, 0) };
    fds.iter().filter(|fd| fd.revents & libc::POLLNVAL == 0).count() as i32
}
