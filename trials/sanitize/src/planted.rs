//! Bugs, to see that each tool sees its own: `planted overflow|leak|race|uninitialised`.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::thread;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("overflow") => after_its_end(),
        Some("leak") => std::mem::forget(black_box(vec![1u8; 1000])),
        Some("race") => race(),
        Some("uninitialised") => uninitialised(),
        _ => std::process::exit(64),
    }
    println!("planted: not seen");
}

fn after_its_end() {
    let bytes = black_box(vec![1u8; 100]);
    let last = bytes.as_ptr().wrapping_add(bytes.len());
    // SAFETY: none. That is the bug.
    println!("{}", unsafe { last.read_volatile() });
}

fn race() {
    static mut SHARED: u64 = 0;
    let add = || {
        for _ in 0..10_000 {
            // SAFETY: none. That is the bug.
            unsafe { (&raw mut SHARED).write_volatile((&raw mut SHARED).read_volatile() + 1) };
        }
    };
    let other = thread::spawn(add);
    add();
    drop(other.join());
}

fn uninitialised() {
    let layout = Layout::new::<[u8; 100]>();
    // SAFETY: of that layout it is, and not empty; but nobody has written to it. That is the bug.
    let bytes = unsafe { alloc(layout) };
    // SAFETY: none. That is the bug.
    if unsafe { bytes.read_volatile() } == 7 {
        println!("seven");
    }
    // SAFETY: made so above.
    unsafe { dealloc(bytes, layout) };
}
