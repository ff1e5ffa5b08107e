//! What was spent between two points: time, allocations, memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The system's allocator, counted by plain loads and stores: two instructions a call. (Of programs that are measured
/// on one thread. Where there are more, a few are lost.)
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

#[inline]
fn count(bytes: usize) {
    ALLOCATIONS.store(ALLOCATIONS.load(Relaxed) + 1, Relaxed);
    BYTES.store(BYTES.load(Relaxed) + bytes as u64, Relaxed);
}

// SAFETY: the system's allocator does all; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Begun before the work, asked after it.
pub struct Meter {
    allocations: u64,
    bytes: u64,
    resident: u64,
    cpu: u64,
    start: Instant,
}

impl Meter {
    pub fn start() -> Meter {
        Meter {
            allocations: ALLOCATIONS.load(Relaxed),
            bytes: BYTES.load(Relaxed),
            resident: 0,
            cpu: 0,
            start: Instant::now(),
        }
    }

    /// Also the process's CPU time and resident memory, which cost system calls to ask for.
    pub fn start_with_process() -> Meter {
        Meter { resident: resident(), cpu: cpu_ns(), ..Meter::start() }
    }

    /// Nanoseconds and allocations for each of `n`.
    pub fn each(&self, n: u64) -> String {
        let ns = self.start.elapsed().as_nanos() as f64;
        let n = n.max(1) as f64;
        let allocations = (ALLOCATIONS.load(Relaxed) - self.allocations) as f64 / n;
        let bytes = (BYTES.load(Relaxed) - self.bytes) as f64 / n;
        format!(r#"{{"ns":{:.2},"allocations":{allocations:.3},"bytes":{bytes:.1}}}"#, ns / n)
    }

    /// CPU time for each of `n`, and how late they were, in microseconds.
    pub fn lateness(&self, n: u64, late_us: &mut [u64]) -> String {
        let (cpu, wall) = (cpu_ns() - self.cpu, self.start.elapsed());
        late_us.sort_unstable();
        let quantile = |q: f64| late_us[((late_us.len() - 1) as f64 * q) as usize];
        format!(
            r#"{{"cpu_ns":{:.1},"wall_ms":{:.1},"late_p50_us":{},"late_p99_us":{},"late_max_us":{}}}"#,
            cpu as f64 / n as f64,
            wall.as_secs_f64() * 1e3,
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        )
    }

    /// Memory for each of `n`: resident, and asked for.
    pub fn memory(&self, n: u64) -> String {
        let n = n as f64;
        format!(
            r#"{{"resident":{:.1},"allocations":{:.3},"bytes":{:.1}}}"#,
            (resident() - self.resident) as f64 / n,
            (ALLOCATIONS.load(Relaxed) - self.allocations) as f64 / n,
            (BYTES.load(Relaxed) - self.bytes) as f64 / n
        )
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is there to be written to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
