//! The exercises of the guide: takes a piece out of the runtime, in a copy, for you to write again; or breaks one, to be seen breaking.
//!
//! ```text
//! $ cargo learn                     # the chapters, and what there is to do
//! $ cargo learn 04                  # makes target/learn/04, a copy with a hole in it, and says what is asked
//! $ cargo learn 04 again            # the same from the beginning: what you have written there is gone
//! $ cargo learn 04 check            # runs the test that the hole fails
//! $ cargo learn 04 hint             # or `solution`: the runtime's own code
//! $ cargo learn 04 break            # breaks it as the chapter says, in another copy, and shows what comes of it
//! $ cargo learn 04 whole            # runs the same with nothing broken, to compare
//! ```
//!
//! What there is stands in the chapters themselves, `docs/guide/*.md`, in blocks that begin with three backquotes and `learn`:
//! a word and its text on each line. There is no second copy of a solution: it is the runtime.

#[path = "learn/text.rs"]
pub(crate) mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};
use text::{Block, blank, blocks, error, find_once};

struct Chapter {
    number: String,
    title: String,
    blocks: Vec<Block>,
}

/// Longer than this nothing runs that was broken: it hangs.
const LONGEST: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn chapters() -> io::Result<Vec<Chapter>> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("docs/guide"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    let mut chapters = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "md")) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((number, _)) = name.split_once('-').filter(|it| it.0.parse::<u32>().is_ok())
        else {
            continue;
        };
        let text = fs::read_to_string(file)?;
        let title = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
        chapters.push(Chapter { number: number.to_owned(), title, blocks: blocks(&text) });
    }
    Ok(chapters)
}

// ---- a copy

/// What a package needs to be built and tested.
const COPIED: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", ".cargo", "runtime", "examples", "tests", "docs"];

fn copy(to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for name in COPIED {
        let from = root().join(name);
        match from.is_dir() {
            true => copy_folder(&from, &to.join(name))?,
            false if from.exists() => drop(fs::copy(&from, to.join(name))?),
            false => {}
        }
    }
    // The documentation of the crate shows them.
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"] {
        if root().join(name).exists() {
            fs::copy(root().join(name), to.join(name))?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

fn change(
    folder: &Path,
    block: &Block,
    with: impl Fn(&str) -> io::Result<String>,
) -> io::Result<()> {
    let file = folder.join(block.get("file"));
    let text =
        fs::read_to_string(&file).map_err(|it| error(format!("{}: {it}", file.display())))?;
    fs::write(&file, with(&text)?)
}

// ---- what one asks for

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo in a copy; what it printed, and whether it went well. `None`: it hung. To build it may take as long as it likes.
fn cargo(folder: &Path, arguments: &str) -> io::Result<(Option<bool>, String)> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".said";
    let said = target().join("learn").join(name);
    fs::create_dir_all(target().join("learn"))?;
    let out = fs::File::create(&said)?;
    let is_environment = |word: &&str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let (environment, words): (Vec<&str>, Vec<&str>) =
        arguments.split_whitespace().filter(|word| *word != "cargo").partition(is_environment);
    let start = |words: &[&str]| {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        command.args(words).current_dir(folder);
        command.envs(environment.iter().filter_map(|word| word.split_once('=')));
        // One folder for all that copies build, so that each builds nothing anew but the runtime. Cargo takes them for the same
        // package: what one has built is fresh for whichever has older files.
        let built = if folder == root() { target() } else { target().join("learn/built") };
        command.env("CARGO_TARGET_DIR", built).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out.try_clone()?).spawn()
    };
    let text = || Ok::<_, io::Error>(String::from_utf8_lossy(&fs::read(&said)?).into_owned());

    let own = words.iter().take_while(|word| **word != "--");
    let mut build: Vec<&str> =
        own.map(|word| if *word == "run" { "build" } else { word }).collect();
    if build.first() == Some(&"test") {
        // A filter of tests is nothing to build.
        build.truncate(build.iter().position(|word| *word == "--test").map_or(1, |at| at + 2));
        build.push("--no-run");
    }
    if !start(&build)?.wait()?.success() {
        return Ok((Some(false), text()?));
    }
    let ended = ended(start(&words)?, LONGEST)?;
    Ok((ended, text()?))
}

/// Waits until it has ended, and says whether well. `None`: that took too long, and it is killed with all that it has started.
pub(crate) fn ended(mut child: Child, longest: Duration) -> io::Result<Option<bool>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if begin.elapsed() > longest {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    // No process group of its own: then Ctrl-C would end only us. The shell has `kill`, wherever there is one.
    let all: Vec<String> = family(child.id())?.iter().map(u32::to_string).collect();
    Command::new("sh").args(["-c", "kill -KILL \"$@\" 2>&-", "sh"]).args(all).status()?;
    child.wait()?;
    Ok(None)
}

/// A process, its children, theirs, and so on.
fn family(first: u32) -> io::Result<BTreeSet<u32>> {
    let processes = fs::read_dir("/proc")?.flatten();
    let parent_of = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name, which may have blanks and brackets in it: the state, the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let ids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = ids.filter_map(|id| Some((id, parent_of(id)?))).collect();
    let mut family = BTreeSet::from([first]);
    while parents.iter().any(|(id, parent)| family.contains(parent) && family.insert(*id)) {}
    Ok(family)
}

fn show(chapter: &Chapter, folder: &Path, block: &Block) {
    println!("{} {}\n", chapter.number, chapter.title);
    println!("{}\n", block.get("ask"));
    println!("The hole is in {}, marked with todo!.", folder.join(block.get("file")).display());
    println!("The test:      cargo learn {} check      ({})", chapter.number, block.get("test"));
    println!("If you must:   cargo learn {} hint,  cargo learn {0} solution", chapter.number);
}

fn prepare(chapter: &Chapter, block: &Block) -> io::Result<PathBuf> {
    let folder = target().join("learn").join(&chapter.number);
    copy(&folder)?;
    let note = format!(
        "exercise {}: {}",
        chapter.number,
        block.get("ask").lines().next().unwrap_or_default()
    );
    change(&folder, block, |text| blank(text, block.get("blank"), block.get("file"), &note))?;
    Ok(folder)
}

/// A hole in a destructor is a panic within a panic, and of that std prints all frames: many more lines than what it says.
fn is_of_a_backtrace(line: &str) -> bool {
    let line = line.trim_start();
    let frame = line.split_once(": ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
    frame || line.starts_with("at /") || line.starts_with("at ./")
}

fn check(chapter: &Chapter, block: &Block) -> io::Result<bool> {
    let folder = target().join("learn").join(&chapter.number);
    if !folder.exists() {
        return Err(error(format!("`cargo learn {}` comes first", chapter.number)));
    }
    let (ended, said) = cargo(&folder, block.get("test"))?;
    let lines: Vec<&str> = said.lines().filter(|line| !is_of_a_backtrace(line)).collect();
    lines[lines.len().saturating_sub(25)..].iter().for_each(|line| println!("{line}"));
    // A name that fits no test is no test that passes.
    let passed = said.contains(" ... ok") && !said.contains("FAILED");
    match ended.map(|went_well| went_well && passed) {
        Some(true) => {
            println!("\nIt passes. The runtime's own: cargo learn {} solution", chapter.number)
        }
        Some(false) => println!("\nNot yet."),
        None => println!("\nIt hangs: somebody waits, and nobody wakes it."),
    }
    Ok(ended == Some(true) && passed)
}

/// The number of a descriptor is of the day: whoever starts the program may have handed it some.
fn any_fd(text: &str) -> String {
    let mut parts = text.split("fd ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out = out + "fd N" + part.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out
}

/// Breaks it, runs it, and looks for what is to be seen.
fn broken(chapter: &Chapter, block: &Block) -> io::Result<bool> {
    let folder = target().join("learn").join(format!("{}-broken", chapter.number));
    copy(&folder)?;
    println!("{}\n", block.get("what"));
    if !block.get("file").is_empty() {
        change(&folder, block, |text| {
            let found = find_once(text, block.get("old"), block.get("file"))?;
            Ok(format!("{}{}\n{}", &text[..found.start], block.get("new"), &text[found.end..]))
        })?;
    }
    let seen = seen(&folder, block)?;
    println!("{}", if seen { "(there it is)" } else { "(NOT SEEN)" });
    Ok(seen)
}

/// The same with nothing broken: what is to be seen then is not there, or it would show nothing.
fn whole(block: &Block) -> io::Result<bool> {
    // No copy, and no folder in which copies are built: what is built stays built, for all the chapters.
    let seen = seen(&root(), block)?;
    println!(
        "{}",
        if seen { "(THERE IT IS, with nothing broken)" } else { "(not so, as it should)" }
    );
    Ok(!seen)
}

/// Runs what a break says, and tells whether all that it says is to be seen.
fn seen(folder: &Path, block: &Block) -> io::Result<bool> {
    println!("$ {}", block.get("run"));
    let (ended, said) = cargo(folder, block.get("run"))?;
    let lines: Vec<&str> =
        said.lines().filter(|line| !line.trim_start().starts_with("Compiling")).collect();
    lines[lines.len().saturating_sub(40)..].iter().for_each(|line| println!("{line}"));
    print!("\nto be seen: {}   ", block.get("see"));
    Ok(match block.get("see") {
        "it hangs" => ended.is_none(),
        see => see.lines().all(|part| any_fd(&said).contains(any_fd(part).trim())),
    })
}

fn run() -> io::Result<bool> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let chapters = chapters()?;
    let Some(number) = arguments.first() else {
        for chapter in &chapters {
            let kinds: Vec<&str> = chapter.blocks.iter().map(|block| block.kind.as_str()).collect();
            println!("{}  {:<64} {}", chapter.number, chapter.title, kinds.join(", "));
        }
        println!("\ncargo learn NN [check | hint | solution | break [K] | whole [K]]");
        return Ok(true);
    };
    let Some(chapter) = chapters.iter().find(|chapter| chapter.number == *number) else {
        return Err(error(format!(
            "there is no chapter {number}: `cargo learn` shows those there are"
        )));
    };
    let of = |kind: &str, nth: usize| {
        let found = chapter.blocks.iter().filter(|block| block.kind == kind).nth(nth);
        found.ok_or_else(|| error(format!("chapter {number} has no such {kind}")))
    };
    match arguments.get(1).map(String::as_str) {
        None => {
            let block = of("exercise", 0)?;
            let folder = target().join("learn").join(&chapter.number);
            // What somebody has written there stays, when they only want to read the question again.
            let folder = if folder.exists() { folder } else { prepare(chapter, block)? };
            show(chapter, &folder, block);
            Ok(true)
        }
        Some("again") => {
            let block = of("exercise", 0)?;
            show(chapter, &prepare(chapter, block)?, block);
            Ok(true)
        }
        Some("check") => check(chapter, of("exercise", 0)?),
        Some("hint") => {
            println!("{}", of("exercise", 0)?.get("hint"));
            Ok(true)
        }
        Some("solution") => {
            let block = of("exercise", 0)?;
            let text = fs::read_to_string(root().join(block.get("file")))?;
            let found = find_once(&text, block.get("blank"), block.get("file"))?;
            let hole = blank(&text, block.get("blank"), block.get("file"), "")?;
            let rest =
                hole.len() - hole.find("todo!").map_or(0, |at| at + "todo!(\"\")\n    ".len());
            println!("{}", text[found.start..text.len() - rest + 1].trim_end());
            Ok(true)
        }
        Some(which @ ("break" | "whole")) => {
            let nth: usize = arguments
                .get(2)
                .map_or(Ok(1), |it| it.parse())
                .map_err(|_| error("which one?".into()))?;
            let block = of("break", nth.saturating_sub(1))?;
            if which == "break" { broken(chapter, block) } else { whole(block) }
        }
        Some(other) => {
            Err(error(format!("`{other}`: there is check, hint, solution, break, whole, again")))
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
