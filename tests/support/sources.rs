//! The files of this repository, for tests that read them.
#![allow(dead_code, unreachable_pub)] // Each test file uses some of it.

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder`, in order, without what was built, or found by a fuzzer.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                files.push(path);
            } else if !path.ends_with("target") && !path.ends_with("corpus") {
                folders.push(path);
            }
        }
    }
    // Nothing below a folder that was moved: whoever looks at each file has looked at none.
    assert!(!files.is_empty(), "no file in {folder}");
    files.sort();
    files
}

/// A file of Rust.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// Those below `folder`.
pub fn sources(folder: &str) -> Vec<Source> {
    let rust =
        files(folder).into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs"));
    let read = |path: PathBuf| Source { text: fs::read_to_string(&path).unwrap(), path };
    rust.map(read).collect()
}

impl Source {
    /// Its path in the repository.
    pub fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    /// Its lines, without their indentation.
    pub fn lines(&self) -> Vec<&str> {
        self.text.lines().map(str::trim).collect()
    }
}
