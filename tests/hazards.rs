//! What breaks async runtimes is listed in `docs/hazards.md`. Each entry has a test, or a reason why it needs none.
#[path = "support/sources.rs"]
mod sources;

use sources::{files, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The entries of each group, and the facts about the kernel. A row that is lost is as bad as one without a test.
const ENTRIES: &[(char, u32)] = &[
    ('E', 24),
    ('F', 14),
    ('L', 10),
    ('K', 9),
    ('S', 17),
    ('W', 19),
    ('T', 18),
    ('R', 8),
    ('D', 7),
    ('M', 15),
    ('Q', 8),
    ('B', 6),
    ('G', 7),
    ('X', 7),
    ('U', 14),
    ('P', 7),
    ('N', 10),
    ('k', 28),
];

/// What stands in the last column where no test is needed.
const REASONS: [&str; 2] = ["does not apply: ", "by type: "];

#[test]
fn every_hazard_is_held_by_a_test_or_has_a_reason() {
    let file = root().join("docs/hazards.md");
    let text = fs::read_to_string(&file).unwrap();
    let held = held();
    let (mut rows, mut faults) = (BTreeSet::new(), Vec::new());
    let written: Vec<String> = text
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" |").map(str::trim).collect();
            let [id, wrong, last] = cells[..] else { return line.to_owned() };
            if !is_id(id) {
                return line.to_owned();
            }
            if !rows.insert(id.to_owned()) {
                faults.push(format!("{id} has two rows"));
            }
            let reason = REASONS.iter().any(|reason| last.starts_with(reason));
            match held.get(id) {
                Some(_) if reason => {
                    faults.push(format!("{id} has a reason, and a test that it does not need"));
                    line.to_owned()
                }
                Some(names) => format!("| {id} | {wrong} | {} |", names.join(", ")),
                None if reason => line.to_owned(),
                None => {
                    faults.push(format!("{id} ({wrong}) is in no test's doc line"));
                    format!("| {id} | {wrong} | |")
                }
            }
        })
        .collect();
    let listed: BTreeSet<String> = ENTRIES
        .iter()
        .flat_map(|&(group, entries)| (1..=entries).map(move |n| id(group, n)))
        .collect();
    faults.extend(listed.difference(&rows).map(|id| format!("{id} has no row")));
    faults.extend(rows.difference(&listed).map(|id| format!("{id} is not a known hazard")));
    faults.extend(
        held.keys()
            .filter(|id| !listed.contains(*id))
            .map(|id| format!("{id} is held, and unknown")),
    );
    let written = written.join("\n") + "\n";
    if written != text {
        if std::env::var_os("WAKEN_WRITE").is_some() {
            fs::write(&file, written).unwrap();
        } else {
            faults.push("the last column is old: `WAKEN_WRITE=1 cargo test --test hazards`".into());
        }
    }
    assert!(faults.is_empty(), "docs/hazards.md:\n{}", faults.join("\n"));
}

fn id(group: char, n: u32) -> String {
    if group == 'k' { format!("k{n}") } else { format!("{group}{n:02}") }
}

fn is_id(word: &str) -> bool {
    let digits = word.get(1..).unwrap_or("");
    ENTRIES.iter().any(|&(group, _)| word.starts_with(group))
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.len() == if word.starts_with('k') { digits.len().min(2) } else { 2 }
}

/// Who holds each hazard: the tests whose doc lines name it, and the trials.
fn held() -> BTreeMap<String, Vec<String>> {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut hold = |id: &str, name: String| {
        let names = held.entry(id.to_owned()).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for source in sources("tests") {
        let mut ids: Vec<&str> = Vec::new();
        for line in source.lines() {
            if let Some(doc) = line.strip_prefix("///") {
                ids.extend(words(doc));
            } else if let Some(function) = line.strip_prefix("fn ") {
                let name = function.split(['(', '<']).next().unwrap();
                ids.drain(..).for_each(|id| hold(id, format!("`{name}`")));
            } else if !line.starts_with("#[") {
                ids.clear();
            }
        }
    }
    // Of the trials the mutants alone break what they name.
    for file in files("trials") {
        let name = file.strip_prefix(root().join("trials")).unwrap().iter().next().unwrap();
        let is_lock = file.extension().is_some_and(|extension| extension == "lock");
        if name == "mutants" || name == "README.md" || is_lock {
            continue;
        }
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let name = format!("`trials/{}`", name.to_str().unwrap());
        // There are other languages, in which such a word may mean something else.
        words(&text).filter(|id| is_listed(id)).for_each(|id| hold(id, name.clone()));
    }
    held
}

fn is_listed(id: &str) -> bool {
    let n: u32 = id[1..].parse().unwrap();
    ENTRIES.iter().any(|&(group, last)| id.starts_with(group) && (1..=last).contains(&n))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| is_id(word))
}
