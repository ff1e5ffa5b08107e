//! The programs that docs/coming-from.md shows, each whole in a file of its own: `cargo run -- echo waken` is programs/echo/waken.rs. The
//! page says nothing of another runtime that tests/pairs.rs does not see it do.

use std::process::{ExitCode, Termination};

/// Each file is a module, as it is, and is found by its names.
macro_rules! programs {
    ($($topic:ident: $($side:ident)*;)*) => {
        $(mod $topic {
            $(pub mod $side {
                include!(concat!(env!("CARGO_MANIFEST_DIR"), "/programs/", stringify!($topic), "/", stringify!($side), ".rs"));

                pub fn run() -> std::process::ExitCode {
                    super::super::end(main())
                }
            })*
        })*

        fn find(topic: &str, side: &str) -> Option<fn() -> ExitCode> {
            $($(if (topic, side) == (stringify!($topic), stringify!($side)) {
                return Some($topic::$side::run);
            })*)*
            None
        }
    };
}

programs! {
    hello: tokio smol monoio waken;
    tasks: tokio smol waken;
    time: tokio smol monoio waken;
    echo: tokio smol monoio waken;
    halves: tokio waken shared;
    select: tokio waken kept;
    channels: tokio waken kept;
    blocking: tokio smol waken;
    signals: tokio waken;
    cores: tokio waken;
    local: tokio smol monoio waken;
    drain: tokio waken;
    web: tokio waken;
    dropped: tokio smol monoio waken;
    panicked: tokio smol monoio waken;
    nested: tokio smol monoio waken;
    outside: tokio smol waken;
    ticks: tokio smol monoio waken;
}

fn end(ended: impl Termination) -> ExitCode {
    ended.report()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = match &arguments[..] {
        [topic, side] => find(topic, side),
        _ => None,
    };
    match program {
        Some(run) => run(),
        None => {
            eprintln!("usage: coming TOPIC SIDE, as in `coming echo waken`");
            ExitCode::from(2)
        }
    }
}
