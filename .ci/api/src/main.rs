//! Prints the public items of a crate, from rustdoc's JSON: what a release promises, auto traits included.

use std::collections::BTreeSet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args().nth(1).ok_or("which JSON?")?;
    // Blanket impls are the same for every type, and none of ours.
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build()?;
    let lines: BTreeSet<String> = api.items().map(|item| item.to_string()).collect();
    // `Freeze` is the compiler's own affair, and `coming_from` is a page.
    let ours = |line: &&String| {
        !line.contains("core::marker::Freeze for") && !line.contains("waken::coming_from")
    };
    lines.iter().filter(ours).for_each(|line| println!("{line}"));
    Ok(())
}
