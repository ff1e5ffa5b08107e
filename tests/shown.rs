//! The logs that are shown to who has not run anything yet are what the programs say: the README's and that of the guide's first
//! chapter. The same lines in the same order; times, and the numbers of descriptors, are of the day.
#![cfg(feature = "trace")]

#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{ANY, Server, example};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use support::guard;

/// The block of a file that has this in its first line.
fn shown(file: &str, first: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let blocks = text.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut blocks = blocks.filter(|it| it.lines().next().is_some_and(|line| line.contains(first)));
    let block = blocks.next().unwrap_or_else(|| panic!("{file} shows no log with `{first}`"));
    block.lines().map(plain).collect()
}

/// With `T` for a time and `N` for the number of a descriptor, and one blank for many.
fn plain(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let after_unit = after.trim_start_matches(['n', 'u', 'm']).strip_prefix('s');
        if ["fd ", "fd", "("].iter().any(|it| out.ends_with(it)) {
            out.push('N');
            rest = after;
        } else if let Some(after) = after_unit.filter(|it| !it.starts_with(char::is_alphabetic)) {
            out.push('T');
            rest = after;
        } else {
            out.push_str(if number.contains('.') { "T" } else { number });
            rest = after;
        }
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the server logs, up to where it says this.
fn until(server: &mut Server, words: &str) -> Vec<String> {
    let mut log = Vec::new();
    while !log.last().is_some_and(|line: &String| line.contains(words)) {
        log.push(server.error());
        let is_told = log.last().is_some_and(|line| !line.is_empty());
        assert!(is_told, "no `{words}`: `cargo build --examples --features trace`\n{log:?}");
    }
    log
}

#[test]
fn the_readme_shows_the_log_as_it_is() {
    guard(20).run(|| {
        let mut command = example("echo");
        command.arg(ANY).env("WAKEN_TRACE", "log").env("WAKEN_SPIN_US", "0");
        let mut server = Server::spawned(&mut command);
        until(&mut server, "parked 1: root");
        let mut client = server.connect();
        // It may be written to: an edge that wakes nobody.
        until(&mut server, "OUT\n");
        until(&mut server, "parked 2: root");
        client.write_all(b"hello\n").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        let log = until(&mut server, "parked 2: root");
        assert_eq!(
            shown("README.md", "... = 1"),
            log.iter().map(|it| plain(it)).collect::<Vec<_>>()
        );
    });
}

#[test]
fn the_first_chapter_shows_the_first_park_as_it_is() {
    guard(20).run(|| {
        let folder = std::env::temp_dir().join(format!("waken-shown-{}", std::process::id()));
        // Whatever it finds: on a busy machine a poll may be long.
        example("tour").env("CARGO_TARGET_DIR", &folder).arg("--check").status().unwrap();
        let log = fs::read_to_string(folder.join("tour.log")).unwrap();
        fs::remove_dir_all(folder).unwrap();
        let park = log.lines().find(|line| line.contains("PARKED")).map(plain);
        assert_eq!(shown("docs/guide/00-three-minutes.md", "PARKED"), park.as_slice());
    });
}
