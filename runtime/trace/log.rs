//! The story as a log, in the manner of strace: polls nest as `{ }`, so reading it from top to bottom is the schedule.

use super::outlet::not_understood;
use super::report::Report;
use super::step::{KINDS, Step};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};

/// Where the second column begins, and the third.
const MORE: usize = 58;
const PLACE: usize = 100;

pub(super) struct Log {
    /// Standard error, if it is no file.
    file: Option<File>,
    /// Only of this one.
    task: Option<String>,
    /// Not of these.
    without: Vec<String>,
}

impl Log {
    /// `words` are `task=2`, or `-syscall`.
    pub(super) fn create<'a>(
        file: Option<&str>,
        words: impl Iterator<Item = &'a str>,
    ) -> io::Result<Log> {
        let (mut task, mut without) = (None, Vec::new());
        for word in words {
            match (word.strip_prefix("task="), word.strip_prefix('-')) {
                (Some("root"), _) => task = Some("root".into()),
                (Some(number), _) if number.parse::<u64>().is_ok() => {
                    task = Some(format!("t{number}"));
                }
                (_, Some(kind)) if KINDS.iter().any(|it| it.1.contains(&kind)) => {
                    without.push(kind.to_owned());
                }
                (_, Some(_)) => {
                    let kinds: Vec<&str> = KINDS.iter().flat_map(|it| it.1).copied().collect();
                    let kinds = format!("`-` and one of {}", kinds.join(", "));
                    return Err(not_understood(word, &kinds));
                }
                _ => {
                    return Err(not_understood(
                        word,
                        "`task=2`, `task=root`, and `-syscall`, or another kind of event",
                    ));
                }
            }
        }
        Ok(Log { file: file.map(File::create).transpose()?, task, without })
    }

    pub(super) fn tell(&mut self, step: &Step, runtime: Option<u32>) {
        let mut lines = String::new();
        let is_others = self.task.as_ref().is_some_and(|task| *task != step.who);
        if !step.is_detail && !is_others && !self.without.iter().any(|kind| *kind == step.kind) {
            lines += &line(step, runtime);
        }
        for finding in step.findings.iter().filter(|_| !is_others) {
            let _ = writeln!(lines, "{finding}");
        }
        self.write(&lines);
    }

    /// A runtime has ended.
    pub(super) fn end(&mut self, report: &Report) {
        self.write(&format!("waken: {report}\n"));
    }

    fn write(&mut self, lines: &str) {
        // A log that cannot be written is nobody's error.
        let _lost = match &mut self.file {
            Some(file) => file.write_all(lines.as_bytes()),
            None => io::stderr().write_all(lines.as_bytes()),
        };
    }
}

fn line(step: &Step, runtime: Option<u32>) -> String {
    let runtime = runtime.map_or(String::new(), |runtime| format!("r{runtime} "));
    let indent = 2 * step.depth;
    let mut line = format!(
        "{:9.6} {runtime}{:<5}{:indent$} {}",
        step.at.as_secs_f64(),
        step.who,
        "",
        step.what
    );
    for (column, text) in [(MORE, &step.more), (PLACE, &step.place_told())] {
        if !text.is_empty() {
            let room = column.saturating_sub(line.chars().count()).max(2);
            let _ = write!(line, "{:room$}{text}", "");
        }
    }
    line + "\n"
}
