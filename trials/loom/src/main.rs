//! The runtime's own files under loom, which tries every way in which threads can take turns, up to a number of
//! preemptions. `models.rs` has the models; here is what they are made of, and how they are run.
//!
//! Every file below is the one that the library is made of, with another `std` (`std/lib.rs`), another kernel (`sys.rs`) and
//! another clock (`patience.rs`).

// The models use some of what the library has.
#![allow(dead_code, unused_imports, unreachable_pub)]

#[macro_use]
extern crate loom_std as std;
// For `runtime/sys/signal.rs`: the handlers are called by the models.
extern crate loom_std as signal_hook_registry;

/// Hooks are nothing here, as without the feature.
#[macro_use]
#[path = "../../../runtime/hook.rs"]
mod hook;

mod forgotten;
mod models;
mod patience;
mod sys;

#[path = "../../../runtime"]
mod waken {
    pub(crate) mod alarm;
    pub(crate) mod current;
    pub(crate) mod executor;
    pub(crate) mod home;
    pub(crate) mod mailbox;
    pub(crate) mod number;
    pub(crate) mod reactor;
    pub(crate) mod ready;
    pub(crate) mod run;
    pub(crate) mod runtime;
    pub(crate) mod slab;
    pub(crate) mod sorted;
    pub(crate) mod source;
    pub(crate) mod spawned;
    pub(crate) mod task;
    pub(crate) mod tasks;
    pub(crate) mod timers;
    pub(crate) mod waker;
    pub(crate) mod tcp {
        pub(crate) mod addrs;
    }
}

/// The real `sys.rs`, for what the model of the kernel takes from it.
#[path = "../../../runtime"]
mod kernel {
    pub(crate) mod sys;
}

pub use runtime::Runtime;
pub(crate) use waken::{
    alarm, current, executor, home, mailbox, number, reactor, ready, run, runtime, slab, sorted,
    source, spawned, task, tasks, tcp, timers, waker,
};

use std::env;
use std::process::ExitCode;
use std::real::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if wanted == ["--list"] {
        models::ALL.iter().for_each(|model| println!("{}", model.name));
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<_> = models::ALL
        .iter()
        .filter(|model| wanted.is_empty() || wanted.iter().any(|it| it == model.name))
        .collect();
    if chosen.len() < wanted.len() {
        eprintln!("no such model: one of {wanted:?}");
        return ExitCode::FAILURE;
    }
    chosen.into_iter().for_each(Model::check);
    ExitCode::SUCCESS
}

/// One thing that must hold in every execution.
struct Model {
    name: &'static str,
    /// `None`: all executions. Otherwise those with so many preemptions at most.
    bound: Option<usize>,
    body: fn(),
}

impl Model {
    fn check(&self) {
        let mut loom = loom::model::Builder::new();
        // From the environment, by loom's own variable, for who wants more.
        loom.preemption_bound = loom.preemption_bound.or(self.bound);
        loom.max_branches = 20_000;
        let bound = loom.preemption_bound.map_or("all".into(), |most| most.to_string());
        let (begin, body) = (Instant::now(), self.body);
        let executions = Arc::new(AtomicU64::new(0));
        let count = executions.clone();
        loom.check(move || {
            count.fetch_add(1, Relaxed);
            std::sync::begin_execution();
            sys::Calls::forget();
            body();
        });
        println!(
            "{}: {} executions, preemptions: {bound}, {:.1} s",
            self.name,
            executions.load(Relaxed),
            begin.elapsed().as_secs_f64()
        );
    }
}
