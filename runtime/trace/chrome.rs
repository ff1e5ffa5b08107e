//! The story for the timelines of Chrome and Perfetto: slices for polls and sleeps, an arrow from each wake to the poll it causes.
//!
//! The format is the *Trace Event Format* in its array form, whose closing bracket may be missing: what a killed program leaves
//! can be opened. Times are microseconds. An arrow's two ends agree in category, name and id; each lies in a slice of its own
//! row, or it is dropped without a word, so a wake gets a short slice. An id is used once. Row 1 is the loop, a task's is 100 and its id.

use super::step::{Step, WakeEnd};
use super::tell::quoted;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

pub(super) struct Chrome {
    file: File,
    batch: String,
    /// Of whom is told.
    runtime: u32,
    /// The rows that have a name, by runtime, and how many slices are open in each.
    open: BTreeMap<(u32, u64), u32>,
}

const LOOP: u64 = 1;

impl Chrome {
    pub(super) fn create(path: &str) -> io::Result<Chrome> {
        let file = File::create(path)?;
        Ok(Chrome { file, batch: String::from("[\n"), runtime: 0, open: BTreeMap::new() })
    }

    /// Each runtime has rows of its own, as if it were a process.
    pub(super) fn tell(&mut self, step: &Step, runtime: u32) {
        self.runtime = runtime;
        if !self.open.contains_key(&(runtime, LOOP)) {
            let name =
                format!(r#""name":"process_name","args":{{"name":"waken, runtime {runtime}"}}"#);
            self.line("M", LOOP, Duration::ZERO, &name);
            self.name(LOOP, "00 loop, kernel");
        }
        let row = row(&step.who);
        if !self.open.contains_key(&(runtime, row)) {
            self.name(row, &step.who);
        }
        let (what, at) = (quoted(step.what.trim()), step.at);
        match step.kind {
            "poll" => {
                self.begin(row, at, &format!("poll {}", step.who));
                if let Some((wake, WakeEnd::Polls)) = step.wake {
                    self.line(
                        "f",
                        row,
                        at,
                        &format!(r#""bp":"e","cat":"wake","name":"wake","id":{wake}"#),
                    );
                }
            }
            "polled" | "awake" => self.end(row, at),
            "sleep" => self.begin(LOOP, at, "epoll_wait"),
            "stop" => self.close(at),
            "wake" => {
                self.begin(row, at, step.what.trim());
                if let Some((wake, WakeEnd::Wakes)) = step.wake {
                    self.line("s", row, at, &format!(r#""cat":"wake","name":"wake","id":{wake}"#));
                }
                self.end(row, at + Duration::from_nanos(1));
            }
            _ => self.line(
                "i",
                row,
                at,
                &format!(r#""s":"t","cat":{},"name":{what}"#, quoted(step.kind)),
            ),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.batch.len()
    }

    /// A panic of root leaves its poll without an end.
    fn close(&mut self, at: Duration) {
        let open: Vec<(u64, u32)> = self
            .open
            .iter()
            .filter(|(key, _)| key.0 == self.runtime)
            .map(|(key, open)| (key.1, *open))
            .collect();
        for (row, open) in open {
            (0..open).for_each(|_| self.end(row, at));
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.file.write_all(batch.as_bytes())
    }

    fn name(&mut self, row: u64, name: &str) {
        self.open.entry((self.runtime, row)).or_insert(0);
        self.line(
            "M",
            row,
            Duration::ZERO,
            &format!(r#""name":"thread_name","args":{{"name":{}}}"#, quoted(name)),
        );
    }

    fn begin(&mut self, row: u64, at: Duration, name: &str) {
        *self.open.entry((self.runtime, row)).or_insert(0) += 1;
        self.line("B", row, at, &format!(r#""cat":"rt","name":{}"#, quoted(name)));
    }

    /// What was begun before anybody listened has no begin.
    fn end(&mut self, row: u64, at: Duration) {
        let open = self.open.entry((self.runtime, row)).or_insert(0);
        if *open > 0 {
            *open -= 1;
            self.line("E", row, at, r#""cat":"rt""#);
        }
    }

    fn line(&mut self, phase: &str, row: u64, at: Duration, rest: &str) {
        let micros = at.as_nanos() as f64 / 1000.0;
        let pid = self.runtime;
        self.batch += &format!(
            "{{\"ph\":\"{phase}\",\"pid\":{pid},\"tid\":{row},\"ts\":{micros:.3},{rest}}},\n"
        );
    }
}

fn row(who: &str) -> u64 {
    let number =
        |prefix: &str, from: u64| Some(from + who.strip_prefix(prefix)?.parse::<u64>().ok()?);
    match who {
        "root" => 100,
        _ => number("t", 100).or_else(|| number("thread ", 10)).unwrap_or(LOOP),
    }
}
