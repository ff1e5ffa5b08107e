//! What every scenario shares: the beginning, the notes, and the line at the end. It makes no call that the matrix
//! makes fail, but for what a runtime makes.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use waken::Runtime;
use waken::runtime::Metrics;

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LEFT: Mutex<[u64; 3]> = Mutex::new([0; 3]);
static DONE: AtomicUsize = AtomicUsize::new(0);
static OF: AtomicUsize = AtomicUsize::new(0);

/// More than any scenario takes when nothing hangs, back-off and a busy machine included.
const PATIENCE_S: u32 = 60;

/// How often a scenario tries what has failed: a fault of now and then must not be for ever.
pub const TRIES: usize = 8;

/// Says that it is there, and waits until the tracer is.
pub fn begin() {
    extern "C" fn hangs(_: i32) {
        // SAFETY: a signal handler may call `_exit`.
        unsafe { libc::_exit(97) };
    }
    // SAFETY: plain calls with valid pointers, before there is a second thread.
    unsafe {
        // Where only a parent may trace, anybody may trace this.
        libc::prctl(libc::PR_SET_PTRACER, -1i64);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGALRM, hangs as *const () as usize);
        libc::alarm(60); // Nobody may ever come.
        say("ready\n");
        // To be attached to interrupts it.
        while libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) == -1 {}
        libc::alarm(PATIENCE_S);
    }
}

/// By a call that the runtime does not make, so that it never fails.
fn say(line: &str) {
    let part = libc::iovec { iov_base: line.as_ptr().cast_mut().cast(), iov_len: line.len() };
    // SAFETY: one valid buffer, which is only read.
    unsafe { libc::pwritev2(1, &raw const part, 1, -1, 0) };
}

/// Which descriptors are open, of the first 512.
pub fn descriptors() -> usize {
    let all = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut fds: Vec<libc::pollfd> = (0..512).map(all).collect();
    // SAFETY: a valid array of that length.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 0) };
    fds.iter().filter(|fd| fd.revents & libc::POLLNVAL == 0).count()
}

fn cpu() -> Duration {
    // SAFETY: zero is a valid `rusage`, and the call fills it.
    let used = unsafe {
        let mut used = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut used);
        used
    };
    let of = |it: libc::timeval| Duration::new(it.tv_sec as u64, it.tv_usec as u32 * 1000);
    of(used.ru_utime) + of(used.ru_stime)
}

/// An error came out of `api`.
pub fn told(api: &str, error: &io::Error) {
    let what = match error.raw_os_error() {
        Some(errno) => errno.to_string(),
        None => format!("{:?}", error.kind()),
    };
    TOLD.lock().unwrap().push(format!("{api}:{what}"));
}

/// Tries until it works, and tells of every failure.
pub fn attempt<R>(api: &str, mut make: impl FnMut() -> io::Result<R>) -> R {
    for _ in 0..TRIES {
        match make() {
            Ok(made) => return made,
            Err(error) => told(api, &error),
        }
    }
    panic!("{api} has failed {TRIES} times");
}

/// The same for a future.
pub async fn attempt_async<R>(api: &str, mut make: impl AsyncFnMut() -> io::Result<R>) -> R {
    for _ in 0..TRIES {
        match make().await {
            Ok(made) => return made,
            Err(error) => told(api, &error),
        }
    }
    panic!("{api} has failed {TRIES} times");
}

/// There is something to do.
pub fn expect(n: usize) {
    OF.fetch_add(n, SeqCst);
}

/// And it is done, and as it should be.
pub fn done() {
    DONE.fetch_add(1, SeqCst);
}

/// What is still alive when a scenario has nothing left to do.
pub fn look(runtime: &Runtime) {
    // A task that was aborted is dropped in the next turn.
    for _ in 0..3 {
        runtime.block_on(waken::task::yield_now());
    }
    let Metrics { tasks_alive, sources_alive, timers_alive, .. } = runtime.metrics();
    let mut left = LEFT.lock().unwrap();
    for (sum, one) in left.iter_mut().zip([tasks_alive, sources_alive, timers_alive]) {
        *sum += one;
    }
}

pub fn end(fds: usize, panic: Option<String>) {
    // A thread that has just woken us may still hold the eventfd for a moment.
    for _ in 0..100 {
        if descriptors() <= fds {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let told = TOLD.lock().unwrap().join(",");
    let [tasks, sources, timers] = *LEFT.lock().unwrap_or_else(|it| it.into_inner());
    let panic = panic.unwrap_or_default().replace(char::is_whitespace, "_");
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    say(&format!(
        "done={} of={} told={} panic={} left={tasks},{sources},{timers} fds={:+} cpu={}\n",
        DONE.load(SeqCst),
        OF.load(SeqCst),
        or_none(told),
        or_none(panic),
        descriptors() as i64 - fds as i64,
        cpu().as_millis()
    ));
}
