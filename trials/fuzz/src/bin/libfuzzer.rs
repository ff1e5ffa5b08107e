//! The targets, for libFuzzer, which brings the `main`. Which one: the environment variable `FUZZ_TARGET`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use waken_fuzz::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        // In place of the hook that ends the process at every panic, also at those that an input asks for.
        let _theirs = std::panic::take_hook();
        waken_fuzz::report_panics(|| {});
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        TARGET.get_or_init(|| waken_fuzz::target(&name));
    },
    |bytes: &[u8]| (TARGET.get().expect("set at the beginning").run)(bytes)
);
