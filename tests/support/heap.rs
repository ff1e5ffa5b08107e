//! What a test has asked for from the allocator and not given back: of this thread, and of the process, by sizes.
#![allow(dead_code, unreachable_pub, unsafe_code)] // Each test file uses some of it; a global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicIsize, Ordering::Relaxed};

/// The system's allocator, and counts.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// How often this thread has asked for memory.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// What this thread has asked for and not given back, in bytes.
pub fn live() -> i64 {
    LIVE.get()
}

/// Sizes from here on are counted as one.
const LARGE: usize = 4096;

static BYTES: AtomicIsize = AtomicIsize::new(0);
static BLOCKS: [AtomicI32; LARGE + 1] = [const { AtomicI32::new(0) }; LARGE + 1];

/// What the whole process has now. Nothing of this is itself on the heap.
pub struct Heap {
    pub bytes: isize,
    blocks: [i32; LARGE + 1],
}

impl Heap {
    pub fn now() -> Heap {
        let mut blocks = [0; LARGE + 1];
        for (now, count) in blocks.iter_mut().zip(&BLOCKS) {
            *now = count.load(Relaxed);
        }
        Heap { bytes: BYTES.load(Relaxed), blocks }
    }

    /// Which blocks there are now that were not there `before`: what one searches for when something is kept.
    pub fn more_than(&self, before: &Heap) -> String {
        let mut kinds = Vec::new();
        for (size, (now, before)) in self.blocks.iter().zip(&before.blocks).enumerate() {
            let at_least = if size == LARGE { "≥ " } else { "" };
            if now != before {
                kinds.push(format!("{:+} of {at_least}{size} bytes", now - before));
            }
        }
        kinds.join(", ")
    }
}

fn count(blocks: i32, size: usize) {
    let bytes = blocks as isize * size as isize;
    // A thread that ends frees memory when its own variables may be gone.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes as i64));
    BYTES.fetch_add(bytes, Relaxed);
    BLOCKS[size.min(LARGE)].fetch_add(blocks, Relaxed);
}

fn count_allocation() {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: the system's allocator does all; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation();
        count(1, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocation();
        count(1, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-1, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_allocation();
        count(-1, layout.size());
        count(1, size);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
