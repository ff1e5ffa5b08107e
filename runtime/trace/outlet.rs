//! Where the story goes, and when. `WAKEN_TRACE` says it, or who calls [`start`](super::start).

use super::chrome::Chrome;
use super::log::Log;
use super::page::Page;
use super::recorder::{Event, Record, exchange, turn};
use super::report::Report;
use super::step::Step;
use super::story::Story;
use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

enum Outlet {
    Log(Log),
    Chrome(Chrome),
    Page(Page),
}

struct Outlets {
    origin: Instant,
    outlets: Vec<Outlet>,
    /// By runtime.
    stories: BTreeMap<u32, Story>,
    /// How many wakes there were: each has a number of its own, whatever runtime it is of.
    wakes: u64,
    report: Report,
    /// Room for the next records.
    spare: Vec<Record>,
}

static OUTLETS: Mutex<Option<Outlets>> = Mutex::new(None);

/// A log is written line by line, so that nothing is missing when the program hangs.
static IS_IMMEDIATE: AtomicBool = AtomicBool::new(false);

/// Whether `WAKEN_TRACE` was looked at. Held by who begins something.
static KNOWN: Mutex<bool> = Mutex::new(false);

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the recording began.
pub(super) fn origin() -> Instant {
    lock(&OUTLETS).as_ref().map_or_else(Instant::now, |outlets| outlets.origin)
}

/// Looks, the first time, whether `WAKEN_TRACE` asks for anything. What cannot be understood, or done, is told, and not recorded.
pub(super) fn ask() {
    let mut known = lock(&KNOWN);
    if !mem::replace(&mut *known, true) {
        let wanted = env::var_os("WAKEN_TRACE").filter(|wanted| !wanted.is_empty());
        let begun = wanted.as_ref().map(|wanted| begin(&wanted.to_string_lossy()));
        if let Some(Err(error)) = &begun {
            let _lost = writeln!(io::stderr(), "waken: WAKEN_TRACE: {error}");
        }
        turn(begun.is_some_and(|begun| begun.is_ok()));
    }
}

pub(super) fn is_immediate() -> bool {
    IS_IMMEDIATE.load(Relaxed)
}

/// Begins to record from here on, as `WAKEN_TRACE` would: `log`, `log=FILE`, `html=FILE`, `chrome=FILE`, or several of them, with commas
/// between. A runtime that was made before is not in it.
///
/// # Errors
/// When `wanted` is not understood, or a file cannot be made.
///
/// ```
/// let file = std::env::temp_dir().join(format!("waken-start-{}.log", std::process::id()));
/// waken::trace::start(&format!("log={}", file.display()))?;
/// waken::block_on(async {});
/// assert!(std::fs::read_to_string(&file)?.contains("poll #1"));
/// # std::fs::remove_file(file)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn start(wanted: &str) -> io::Result<()> {
    ask();
    let _known = lock(&KNOWN);
    begin(wanted)?;
    turn(true);
    Ok(())
}

fn begin(wanted: &str) -> io::Result<()> {
    let new = wanted.split(',').map(Outlet::parse).collect::<io::Result<Vec<Outlet>>>()?;
    if new.iter().any(|outlet| matches!(outlet, Outlet::Log(_))) {
        IS_IMMEDIATE.store(true, Relaxed);
    }
    lock(&OUTLETS).get_or_insert_with(Outlets::new).outlets.extend(new);
    Ok(())
}

/// What was recorded so far in this process, and what the checks have found in it.
pub fn report() -> Report {
    super::recorder::flush();
    lock(&OUTLETS).as_ref().map(|outlets| outlets.report.clone()).unwrap_or_default()
}

/// Tells what was recorded, one thread at a time. Who sleeps now, or ends, may not come back: until then a page can wait.
pub(super) fn tell(is_pause: bool) {
    let mut outlets = lock(&OUTLETS);
    let Some(outlets) = outlets.as_mut() else { return };
    let mut records = exchange(mem::take(&mut outlets.spare));
    records.drain(..).for_each(|record| outlets.tell(&record));
    outlets.spare = records;
    outlets.outlets.retain_mut(|outlet| {
        if !is_pause && outlet.waiting() < LARGE {
            return true;
        }
        // Half of a batch makes no sense to who reads it: what was whole until then can be opened.
        let flushed = outlet.flush();
        if let Err(error) = &flushed {
            let _lost = writeln!(io::stderr(), "waken: the recording ends: {error}");
        }
        flushed.is_ok()
    });
}

/// So many bytes are not kept back, though the thread does not pause.
const LARGE: usize = 1 << 16;

impl Outlet {
    fn parse(wanted: &str) -> io::Result<Outlet> {
        let mut words = wanted.split(':');
        let (kind, file) = words.next().map_or(("", None), |word| match word.split_once('=') {
            Some((kind, file)) => (kind, Some(file)),
            None => (word, None),
        });
        match (kind, file) {
            ("log", file) => Log::create(file, words).map(Outlet::Log),
            (_, Some(_)) | (_, None) if kind != "log" && words.next().is_some() => {
                Err(not_understood(wanted, "no more behind a `:` than `log` has"))
            }
            ("html", file) => Page::create(file.unwrap_or("trace.html")).map(Outlet::Page),
            ("chrome", file) => Chrome::create(file.unwrap_or("trace.json")).map(Outlet::Chrome),
            _ => Err(not_understood(wanted, "`log`, `log=FILE`, `html=FILE`, `chrome=FILE`")),
        }
    }

    /// `runtime` where there are several.
    fn tell(&mut self, story: &Story, step: &Step, number: u32, runtime: Option<u32>) {
        match self {
            Outlet::Log(log) => log.tell(step, runtime),
            Outlet::Chrome(chrome) => chrome.tell(step, number),
            Outlet::Page(page) => page.tell(story, step, number),
        }
    }

    /// Bytes that are told and not written.
    fn waiting(&self) -> usize {
        match self {
            Outlet::Log(_) => 0,
            Outlet::Chrome(chrome) => chrome.waiting(),
            Outlet::Page(page) => page.waiting(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Outlet::Log(_) => Ok(()),
            Outlet::Chrome(chrome) => chrome.flush(),
            Outlet::Page(page) => page.flush(),
        }
    }
}

pub(super) fn not_understood(what: &str, known: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("`{what}` is not understood: there is {known}"),
    )
}

impl Outlets {
    fn new() -> Outlets {
        let (outlets, stories, report, spare) = Default::default();
        Outlets { origin: Instant::now(), outlets, stories, wakes: 0, report, spare }
    }

    fn tell(&mut self, record: &Record) {
        let Some(runtime) = self.runtime_of(record) else { return };
        if let Event::Start { .. } = record.event {
            self.stories.insert(runtime, Story::new(self.origin));
        }
        // Of one that was there before the recording, half of the story would be missing.
        let Some(story) = self.stories.get_mut(&runtime) else { return };
        let step = story.step(record, &mut self.wakes);
        self.report.count(&step);
        let runtime_told = (self.stories.len() > 1).then_some(runtime);
        let story = &self.stories[&runtime];
        self.outlets.iter_mut().for_each(|outlet| outlet.tell(story, &step, runtime, runtime_told));
        if let Event::Stop { .. } = record.event {
            self.stories.remove(&runtime);
            for outlet in &mut self.outlets {
                if let Outlet::Log(log) = outlet {
                    log.end(&self.report);
                }
            }
        }
    }

    /// Whom it concerns: the runtime under which it was recorded; or from elsewhere, whose number or eventfd it names.
    fn runtime_of(&self, record: &Record) -> Option<u32> {
        let of_number =
            |number: u16| self.stories.keys().copied().find(|serial| *serial as u16 == number);
        match &record.event {
            Event::Letter { eventfd, .. }
            | Event::Unpark { eventfd, .. }
            | Event::Removed { eventfd, .. } => self
                .stories
                .iter()
                .find(|(_, story)| story.eventfd == *eventfd)
                .map(|(serial, _)| *serial),
            Event::Wake { number } | Event::Counted { number, .. } => of_number(number.runtime()),
            Event::Deregister { runtime, .. } => Some(*runtime),
            Event::TakenAside { of, .. } => Some(of.0),
            Event::Wait { place, .. } | Event::GiveUp { place } => Some(place.0),
            _ if record.runtime != 0 => Some(record.runtime),
            _ => None,
        }
    }
}
