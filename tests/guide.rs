//! The guide is about this code: what it shows of the runtime is in it, word for word; its exercises and breaks fit; and each
//! misconception and defect it promises to correct is named in exactly one chapter. (Whether a hole fails its test, and a break
//! shows what it should, is tried by `trials/guide/run`.)

#[allow(dead_code)]
#[path = "../examples/learn.rs"]
mod learn;
#[path = "support/sources.rs"]
mod sources;

use learn::text;
use sources::root;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LONGEST: usize = 1200;
const MOST_SNIPPETS: usize = 3;

struct Chapter {
    name: String,
    text: String,
}

fn chapters() -> Vec<Chapter> {
    let entries =
        fs::read_dir(root().join("docs/guide")).unwrap().map(|entry| entry.unwrap().path());
    let mut chapters: Vec<Chapter> = entries
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .map(|path| Chapter {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .filter(|chapter| chapter.name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    chapters.sort_by(|a, b| a.name.cmp(&b.name));
    chapters
}

/// The fences of a text: what stands behind the backquotes, and what is inside.
fn fences(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("\n```") {
        let (info, body) = begun.split_once('\n').unwrap();
        let (body, after) = if let Some(empty) = body.strip_prefix("```") {
            ("", empty)
        } else {
            body.split_once("\n```").unwrap()
        };
        found.push((info, body));
        rest = after;
    }
    found
}

#[test]
fn every_snippet_is_in_the_file_it_names() {
    let mut snippets = 0;
    for chapter in chapters() {
        let here: Vec<_> = fences(&chapter.text)
            .into_iter()
            .filter(|(info, _)| info.starts_with("rust"))
            .collect();
        assert!(here.len() <= MOST_SNIPPETS, "{}: {} snippets", chapter.name, here.len());
        for (info, body) in here {
            let file = info
                .strip_prefix("rust src=")
                .unwrap_or_else(|| panic!("{}: `{info}` names no file", chapter.name));
            let text = fs::read_to_string(root().join(file)).unwrap();
            text::find_once(&text, body, file)
                .unwrap_or_else(|error| panic!("{}: {error}", chapter.name));
            snippets += 1;
        }
    }
    assert!(snippets > 0);
}

#[test]
fn every_chapter_can_be_read_run_watched_broken_and_done() {
    for chapter in chapters() {
        let Chapter { name, text } = &chapter;
        assert!(text.starts_with("# "), "{name} has no title");
        let prose: usize = {
            let mut inside = false;
            let lines = text.lines().filter(|line| {
                let is_fence = line.starts_with("```");
                inside ^= is_fence;
                !inside && !is_fence
            });
            lines.map(|line| line.split_whitespace().count()).sum()
        };
        assert!(prose <= LONGEST, "{name} has {prose} words");
        for part in ["## Run it", "## Watch", "## Break it", "## Exercise"] {
            assert!(text.contains(part), "{name} has no `{part}`");
        }
        let blocks = text::blocks(text);
        let kinds: Vec<&str> = blocks.iter().map(|block| block.kind.as_str()).collect();
        assert!(kinds.contains(&"exercise") && kinds.contains(&"break"), "{name}: {kinds:?}");
    }
}

#[test]
fn every_hole_and_every_break_fits_the_code() {
    for chapter in chapters() {
        for block in text::blocks(&chapter.text) {
            let file = block.get("file");
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            let fields: &[&str] = match block.kind.as_str() {
                "exercise" => {
                    let holed = text::blank(&text, block.get("blank"), file, "here").unwrap();
                    assert!(holed.contains("todo!(\"here\")"), "{}", chapter.name);
                    let number = format!("ex{}", &chapter.name[..2]);
                    assert!(
                        block.get("test").ends_with(&format!("--test exercises {number}")),
                        "{}: {}",
                        chapter.name,
                        block.get("test")
                    );
                    let tests = fs::read_to_string(
                        root().join(format!("tests/exercises/ch{}.rs", &chapter.name[..2])),
                    )
                    .unwrap();
                    assert!(
                        tests.contains(&format!("fn {number}_")),
                        "{} has no test",
                        chapter.name
                    );
                    &["ask", "file", "blank", "test", "hint"]
                }
                "break" => {
                    if !file.is_empty() {
                        text::find_once(&text, block.get("old"), file).unwrap();
                        assert_ne!(block.get("old").trim(), block.get("new").trim());
                    }
                    &["what", "run", "see"]
                }
                other => panic!("{}: `{other}`: there is exercise, and break", chapter.name),
            };
            for field in fields {
                assert!(
                    !block.get(field).is_empty(),
                    "{}: a block without `{field}`",
                    chapter.name
                );
            }
        }
    }
}

#[test]
fn every_link_and_every_example_is_there() {
    for chapter in chapters() {
        for link in chapter.text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (path, _) = link.split_once('#').unwrap_or((link, ""));
            let fine =
                link.starts_with("https://") || root().join("docs/guide").join(path).exists();
            assert!(fine, "{} links to {link}, which is not there", chapter.name);
        }
        for example in chapter
            .text
            .split("--example ")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        {
            let examples = root().join("examples");
            let is_there =
                examples.join(format!("{example}.rs")).exists() || examples.join(example).exists();
            assert!(is_there, "{}: there is no example `{example}`", chapter.name);
        }
        assert!(
            !chapter.text.contains(".rs:") || chapter.text.contains("```text"),
            "{}: a line number in prose",
            chapter.name
        );
    }
    let number = |chapter: &Chapter| chapter.name[..2].parse::<usize>().unwrap();
    for (n, chapter) in chapters().iter().enumerate() {
        assert_eq!(number(chapter), n, "a chapter is missing before {}", chapter.name);
    }
}

/// What is still believed of async, and how the nearest neighbour of this runtime is broken: `M1` to `M11`, and `D-a` to `D-g`.
#[test]
fn every_misconception_and_every_defect_is_corrected_in_one_chapter() {
    let all = chapters();
    let misconceptions = (1..=11).map(|n| format!("(M{n})"));
    let defects = ('a'..='g').map(|c| format!("(D-{c})"));
    for name in misconceptions.chain(defects) {
        let there: Vec<&str> =
            all.iter().filter(|it| it.text.contains(&name)).map(|it| it.name.as_str()).collect();
        assert_eq!(there.len(), 1, "{name} is in {there:?}");
    }
}

/// A test that hangs is not cargo, but its child: nothing of it runs on when `cargo learn` says that it hangs.
#[test]
fn what_hangs_is_ended_with_all_that_it_has_started() {
    let mut child = Command::new("sh")
        .args(["-c", "sh -c 'sleep 1000 & echo $!; wait' ; true"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let stat = format!("/proc/{}/stat", line.trim());
    let runs = || fs::read_to_string(&stat).is_ok_and(|it| !it.contains(") Z "));
    assert!(runs());
    assert_eq!(learn::ended(child, Duration::from_millis(100)).unwrap(), None);
    let begin = Instant::now();
    while runs() {
        assert!(begin.elapsed() < Duration::from_secs(10), "a grandchild runs on");
    }
    let fine = Command::new("true").spawn().unwrap();
    assert_eq!(learn::ended(fine, Duration::from_secs(60)).unwrap(), Some(true));
}
