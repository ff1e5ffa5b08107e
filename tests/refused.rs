//! What does not compile, and why: each misuse in `refused/` is refused at its line, with its code, and nothing else is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// A line, and the code of an error, or what it says where it has no code.
type Fault = (usize, String);

/// What the compiler finds fault with in `source`, as a crate that uses waken.
fn faults(name: &str, source: &Path) -> BTreeSet<Fault> {
    // Beside the tests are their dependencies. Of several builds of waken the last one is the one that was asked for.
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let waken = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libwaken-") && name.ends_with(".rlib")
        })
        .max_by_key(|path| built(path).unwrap_or(SystemTime::UNIX_EPOCH))
        .expect("the library, beside this test");
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--error-format=short", "--cap-lints=allow"])
        .args(["--emit=metadata", "--crate-name", name, "--out-dir", env!("CARGO_TARGET_TMPDIR")])
        // A library that was built for a sanitizer is of use only to what is built likewise.
        .args(std::env::var("RUSTFLAGS").unwrap_or_default().split_whitespace())
        .arg("-L")
        .arg(format!("dependency={}", folder.display()))
        .arg("--extern")
        .arg(format!("waken={}", waken.display()))
        .arg(source)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let faults: BTreeSet<Fault> = said
        .lines()
        .filter_map(|line| {
            let (place, message) = line.split_once(": error")?;
            let number = place.rsplit(':').nth(1)?.parse().ok()?;
            let fault = match message.strip_prefix('[') {
                Some(code) => code.split(']').next()?,
                None => message.trim_start_matches(": ").split(':').next()?,
            };
            Some((number, fault.to_owned()))
        })
        .collect();
    assert_eq!(output.status.success(), faults.is_empty(), "{}: {said}", source.display());
    faults
}

/// The misuses in `refused/{name}.rs` are refused, every one; without them it compiles. Says how many there are.
fn refused(name: &str) -> usize {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused").join(name);
    let file = file.with_extension("rs");
    let text = fs::read_to_string(&file).unwrap();
    let expected: BTreeSet<Fault> = text
        .lines()
        .zip(1..)
        .filter_map(|(line, number)| Some((number, line.split_once("//~ ")?.1.to_owned())))
        .collect();
    let found = faults(name, &file);
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty(), "{name}.rs: this compiles now: {missing:?}");
    assert!(more.is_empty(), "{name}.rs: this is refused as well: {more:?}");
    expected.len()
}

/// U02, U03, U04, U10, T03, R04, P04, N08: what the types and the borrow checker refuse.
#[test]
fn fifty_misuses_do_not_compile() {
    let (types, borrows) = (refused("types"), refused("borrows"));
    println!("{types} by their types, {borrows} by their borrows");
    assert!(types + borrows >= 50, "{types} and {borrows}");
}
