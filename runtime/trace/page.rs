//! The story as one page, to be stepped through, forward and back. It needs no network and no other file.
//!
//! The file is only ever appended to: the viewer first, then a script for every batch of events. HTML needs no end, and a script that
//! is cut off is not run; so whatever ends the program, the page opens. The page works nothing out: with each event goes what it
//! changes in the tables, from what to what, which is the way forward and the way back.

use super::check;
use super::recorder::Site;
use super::state::{Phase, Touched, name};
use super::step::{KINDS, Step, WakeEnd};
use super::story::Story;
use super::tell::{bits, place, quoted};
use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
const JS: &str = include_str!("page/page.js");

/// More than this nobody steps through.
const MOST: usize = 20_000;

/// So much of a file of the program is shown around a line, and so much of one of ours.
const AROUND: (u32, u32) = (200, 14);

/// Which chapter of the guide is about an event.
fn chapter(kind: &str) -> &'static str {
    KINDS.iter().find(|(_, kinds)| kinds.contains(&kind)).map_or("", |it| it.0)
}

/// The chapters, if the guide is where this was compiled: number, address, title.
fn guide() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    let told = |file: &PathBuf| {
        let number = file.file_name()?.to_str()?.split_once('-')?.0;
        let text = fs::read_to_string(file).ok()?;
        let title = text.lines().next()?.trim_start_matches("# ");
        let address = format!("file://{}", file.display());
        Some(format!("[{},{},{}]", quoted(number), quoted(&address), quoted(title)))
    };
    files.iter().filter_map(told).collect()
}

/// The files that have hooks.
const SOURCES: &[(&str, &str)] = &[
    ("current.rs", include_str!("../current.rs")),
    ("executor.rs", include_str!("../executor.rs")),
    ("home.rs", include_str!("../home.rs")),
    ("mailbox.rs", include_str!("../mailbox.rs")),
    ("reactor.rs", include_str!("../reactor.rs")),
    ("run.rs", include_str!("../run.rs")),
    ("runtime.rs", include_str!("../runtime.rs")),
    ("runtime/park.rs", include_str!("../runtime/park.rs")),
    ("source.rs", include_str!("../source.rs")),
    ("sys.rs", include_str!("../sys.rs")),
    ("sys/socket.rs", include_str!("../sys/socket.rs")),
    ("timers.rs", include_str!("../timers.rs")),
    ("trace/recorder.rs", include_str!("recorder.rs")),
    ("waker.rs", include_str!("../waker.rs")),
];

pub(super) struct Page {
    file: File,
    events: usize,
    /// Whose events they are.
    runtime: Option<u32>,
    /// The batch that is being made.
    batch: String,
    /// Each text is written once, and then meant by its number.
    texts: HashMap<String, usize>,
    fresh: Vec<String>,
    /// What stands in the tables.
    cells: BTreeMap<String, String>,
    /// Of each source the lines that are in the page.
    shown: HashMap<String, Vec<(u32, u32)>>,
    sources: String,
}

impl Page {
    pub(super) fn create(path: &str) -> io::Result<Page> {
        let mut file = File::create(path)?;
        let html = HTML.replace("/*CSS*/", CSS).replace("/*JS*/", JS);
        file.write_all(html.as_bytes())?;
        let program = env::args().next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        let checks: Vec<String> = check::ALL
            .iter()
            .map(|(name, what)| format!("[{},{}]", quoted(name), quoted(what)))
            .collect();
        writeln!(
            file,
            "<script>B({{meta:{{program:{}}},guide:[{}],checks:[{}]}})</script>",
            quoted(&program),
            guide().join(","),
            checks.join(",")
        )?;
        let texts = HashMap::from([(String::new(), 0)]);
        Ok(Page {
            file,
            events: 0,
            runtime: None,
            batch: String::new(),
            texts,
            fresh: Vec::new(),
            cells: BTreeMap::new(),
            shown: HashMap::new(),
            sources: String::new(),
        })
    }

    /// Of one runtime: the first, and when that has ended, the next that begins.
    pub(super) fn tell(&mut self, story: &Story, step: &Step, runtime: u32) {
        if step.kind == "start" && self.runtime.is_none() {
            self.runtime = Some(runtime);
        }
        if self.runtime != Some(runtime) {
            return;
        }
        if step.kind == "stop" {
            self.runtime = None;
        }
        self.events += 1;
        if self.events > MOST {
            return;
        }
        let changes = self.changes(story, step);
        let findings: Vec<String> = step
            .findings
            .iter()
            .map(|it| {
                format!(
                    "[{},{},{}]",
                    self.text(it.check),
                    self.text(&it.what),
                    u8::from(it.is_hint)
                )
            })
            .collect();
        let wake =
            step.wake.map_or(
                0,
                |(wake, end)| if end == WakeEnd::Wakes { wake as i64 } else { -(wake as i64) },
            );
        let told_at = step.place_told();
        if let Some(at) = step.place {
            self.show_file(at.file(), at.line());
        }
        let site = self.show_ours(step.site);
        let numbers = [step.kind, &step.who, &step.what, &step.more, &told_at, &site, &step.why]
            .map(|text| self.text(text));
        let [kind, who, what, more, place, site, why] = numbers;
        let chapter = quoted(chapter(step.kind));
        let last = if self.events == MOST {
            self.text("the page ends here: 20,000 events are enough to step through")
        } else {
            why
        };
        let _ = writeln!(
            self.batch,
            "[{},{kind},{who},{},{what},{more},{place},{site},{last},{chapter},{wake},{},{}],",
            step.at.as_nanos(),
            step.depth,
            if findings.is_empty() { "0".into() } else { format!("[{}]", findings.join(",")) },
            if changes.is_empty() { "0".into() } else { format!("[{}]", changes.join(",")) },
        );
    }

    pub(super) fn waiting(&self) -> usize {
        self.batch.len()
    }

    /// Writes what has been told since the last time, as one script.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let fresh: Vec<String> = self.fresh.drain(..).map(|text| quoted(&text)).collect();
        let (batch, sources) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.sources));
        // In one call, so that a program that is killed leaves a whole script, or one that is not run.
        self.file.write_all(
            format!(
                "<script>B({{s:[{}],src:[{sources}],e:[{batch}]}})</script>\n",
                fresh.join(",")
            )
            .as_bytes(),
        )
    }

    fn text(&mut self, text: &str) -> usize {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.texts.insert(text.to_owned(), number);
        self.fresh.push(text.to_owned());
        number
    }

    // ---- the tables

    /// What this event changes: cell, what it was, what it is.
    fn changes(&mut self, story: &Story, step: &Step) -> Vec<String> {
        let mut cells: Vec<(String, String)> =
            step.touched.iter().map(|it| (cell(*it), told(story, *it))).collect();
        cells.push(("queue".into(), queue(story)));
        cells.push(("now".into(), now(story)));
        let mut changes = Vec::new();
        for (cell, now) in cells {
            let before = self.cells.get(&cell).cloned().unwrap_or_default();
            if before != now {
                changes.push(format!(
                    "[{},{},{}]",
                    self.text(&cell),
                    self.text(&before),
                    self.text(&now)
                ));
                self.cells.insert(cell, now);
            }
        }
        changes
    }

    // ---- the sources

    fn show_file(&mut self, file: &str, line: u32) {
        if self.is_shown(file, line) {
            return;
        }
        // Relative to where cargo compiles, which is where one runs it; places of ours, to this package.
        let ours = || fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR")));
        let text = fs::read_to_string(file)
            .or_else(|error| if file.starts_with("runtime/") { ours() } else { Err(error) });
        match text {
            Ok(text) => self.show(file, &text, line, AROUND.0),
            // It is not looked for again.
            Err(_) => self.shown.entry(file.to_owned()).or_default().push((1, u32::MAX)),
        }
    }

    /// The lines of ours around a hook; and its place, as it is shown.
    fn show_ours(&mut self, site: &Site) -> String {
        let found = SOURCES
            .iter()
            .filter(|(name, _)| site.file.ends_with(&format!("runtime/{name}")))
            .max_by_key(|(name, _)| name.len());
        let Some((name, text)) = found else { return format!("{}:{}", site.file, site.line) };
        let file = format!("runtime/{name}");
        if !self.is_shown(&file, site.line) {
            self.show(&file, text, site.line, AROUND.1);
        }
        format!("{file}:{}", site.line)
    }

    /// Whether the line is there, and some around it.
    fn is_shown(&self, file: &str, line: u32) -> bool {
        let is_in = |(first, last): &(u32, u32)| {
            (*first == 1 || first + 6 <= line) && line.saturating_add(6) <= *last
        };
        self.shown.get(file).is_some_and(|parts| parts.iter().any(is_in))
    }

    fn show(&mut self, file: &str, text: &str, line: u32, around: u32) {
        let (first, last) = (line.saturating_sub(around).max(1), line + around);
        let lines: Vec<&str> =
            text.lines().skip(first as usize - 1).take((last - first + 1) as usize).collect();
        let _ = write!(self.sources, "[{},{first},{}],", quoted(file), quoted(&lines.join("\n")));
        self.shown.entry(file.to_owned()).or_default().push((first, last));
    }
}

fn cell(touched: Touched) -> String {
    match touched {
        Touched::Task(id) => format!("t{id}"),
        Touched::Fd(source) => format!("f{source}"),
        Touched::Timer(index) => format!("m{index}"),
    }
}

/// A row, its fields divided by tabs; nothing when it is gone.
fn told(story: &Story, touched: Touched) -> String {
    match touched {
        Touched::Task(id) => story.tasks.get(&id).map_or(String::new(), |task| {
            let place = task.place.or(task.spawned_at).map_or(String::new(), place);
            let clones = if task.clones > 0 {
                format!(" (and {} clones)", task.clones)
            } else {
                String::new()
            };
            let held = if task.phase == Phase::Ended {
                String::new()
            } else {
                story.holders_of(id) + &clones
            };
            format!("{}\t{}\t{}\t{held}\t{place}", task.called, task.phase.word(), task.polls)
        }),
        Touched::Fd(source) => story.fds.get(&source).map_or(String::new(), |fd| {
            let ready: String = [("R", fd.is_ready[0]), ("W", fd.is_ready[1])]
                .iter()
                .filter(|it| it.1)
                .map(|it| it.0)
                .collect();
            format!(
                "{}\t{} ET\t{ready}\t{}\t{}",
                fd.number,
                bits(fd.interest),
                story.waiters(source, true),
                story.waiters(source, false)
            )
        }),
        Touched::Timer(index) => story.timers.get(&index).map_or(String::new(), |timer| {
            format!("{}\t{}", timer.deadline.as_nanos(), timer.task.map_or(String::new(), name))
        }),
    }
}

fn queue(story: &Story) -> String {
    let mut names: Vec<String> = story.queue.iter().take(40).map(|id| name(*id)).collect();
    let left = story.queue.len() - names.len();
    if left > 0 {
        names.push(format!("+{left}"));
    }
    names.join(" ")
}

fn now(story: &Story) -> String {
    match (story.polling.last(), story.asleep_since) {
        (Some(id), _) => format!("polling {}", name(*id)),
        (None, Some(_)) => "asleep in epoll_wait".into(),
        (None, None) => "the loop".into(),
    }
}
