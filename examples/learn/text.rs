//! What the chapters of the guide have for `cargo learn`, as text: the blocks of a chapter, a place in a file, a hole there.

use std::collections::BTreeMap;
use std::io;

/// One block: an exercise, or something to break.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) kind: String,
    fields: BTreeMap<String, String>,
}

impl Block {
    pub(crate) fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

/// A line of a block is a word, blanks, and its text; one that begins with a blank goes on with the text before.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, String)> = None;
    for line in text.lines() {
        match &mut open {
            None => {
                if let Some(kind) = line.strip_prefix("```learn ") {
                    open =
                        Some((Block { kind: kind.to_owned(), ..Block::default() }, String::new()));
                }
            }
            Some(_) if line == "```" => blocks.extend(open.take().map(|it| it.0)),
            Some((block, last)) => {
                if line.starts_with(' ') {
                    let text = block.fields.entry(last.clone()).or_default();
                    text.push('\n');
                    text.push_str(line);
                } else {
                    let (word, text) = line.split_once(' ').unwrap_or((line, ""));
                    *last = word.to_owned();
                    block.fields.insert(word.to_owned(), text.trim_start().to_owned());
                }
            }
        }
    }
    blocks
}

pub(crate) fn error(text: String) -> io::Error {
    io::Error::other(text)
}

/// Where `part` is in `text`, if it is there once. Blanks at the begin of its lines do not count.
pub(crate) fn find_once(text: &str, part: &str, file: &str) -> io::Result<std::ops::Range<usize>> {
    let wanted: Vec<&str> = part.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut lines = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        lines.push((at, line));
        at += line.len();
    }
    // A hook of the trace is no part of what is looked for.
    let lines: Vec<(usize, &str)> = lines
        .into_iter()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with("trace!("))
        .collect();
    let fits = |window: &&[(usize, &str)]| {
        window.iter().zip(&wanted).all(|((_, line), wanted)| line.trim() == *wanted)
    };
    let found: Vec<_> = lines.windows(wanted.len().max(1)).filter(fits).collect();
    match found[..] {
        [window] => Ok(window[0].0..window[window.len() - 1].0 + window[window.len() - 1].1.len()),
        _ => Err(error(format!(
            "{} places in {file} are like this, and not one:\n{part}",
            found.len()
        ))),
    }
}

/// Takes the body of the function out that begins with the line `header`.
pub(crate) fn blank(text: &str, header: &str, file: &str, note: &str) -> io::Result<String> {
    let found = find_once(text, header, file)?;
    let open = text[found.start..]
        .find('{')
        .map(|at| found.start + at)
        .ok_or_else(|| error(format!("no body: {header}")))?;
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            let (before, after) = (&text[..=open], &text[open + at..]);
            return Ok(format!("{before}\n        todo!({note:?})\n    {after}"));
        }
    }
    Err(error(format!("the body does not end: {header}")))
}
