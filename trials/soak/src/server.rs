//! The server and its judge. All of it is on one runtime, but for one thread that wakes.

use crate::measure::{allow_descriptors, descriptors, heap, resident_kib, slope, threads};
use crate::{Link, Plan};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use waken::net::{AsyncTcpListener, AsyncUnixStream};
use waken::task::yield_now;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, Runtime, spawn};

/// Tasks that another thread wakes.
const BELLS: usize = 256;
const SLACK: i64 = 64 * 1024;
const LONGEST_P99: Duration = Duration::from_millis(50);
const LARGEST_SLOPE: f64 = 1.0;
/// Of a long run, or a fifth of a shorter one: so long memory may grow.
const BEGINNING: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Counts {
    accepted: Cell<u64>,
    open: Cell<usize>,
    most: Cell<usize>,
    refused: Cell<u64>,
    timers: Cell<u64>,
    woken: Cell<u64>,
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

/// One connection: each of its reads has an idle timeout.
async fn echo(stream: AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 1024];
    loop {
        match timeout(Duration::from_secs(60), stream.read(&mut buf)).await?? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}

async fn accept(listener: Rc<AsyncTcpListener>, counts: Rc<Counts>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                add(&counts.accepted, 1);
                counts.open.set(counts.open.get() + 1);
                counts.most.set(counts.most.get().max(counts.open.get()));
                let counts = counts.clone();
                drop(spawn(async move {
                    let _peer_has_gone = echo(stream).await;
                    counts.open.set(counts.open.get() - 1);
                }));
            }
            Err(error) => {
                let expected =
                    [libc::EMFILE, libc::ENFILE].contains(&error.raw_os_error().unwrap_or(0));
                assert!(expected, "accept: {error}");
                add(&counts.refused, 1);
            }
        }
    }
}

/// So much by two thirds of the time, evenly, and on at that pace.
#[derive(Clone, Copy)]
struct Pace {
    start: Instant,
    time: Duration,
    goal: u64,
}

impl Pace {
    fn due(&self) -> u64 {
        let part = 1.5 * self.start.elapsed().as_secs_f64() / self.time.as_secs_f64();
        (self.goal as f64 * part) as u64
    }
}

/// Whether there is load, and who waits for it.
#[derive(Default)]
struct Load {
    runs: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

impl Load {
    fn set(&self, runs: bool) {
        self.runs.set(runs);
        self.waiter.take().into_iter().for_each(Waker::wake);
    }

    /// Without a timer: at rest there is none but the judge's own, so that their table is empty, and small, when he looks.
    async fn until_it_runs(&self) {
        poll_fn(|cx| {
            if self.runs.get() {
                return Poll::Ready(());
            }
            self.waiter.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Timers set and given up, a few moved, a few that expire.
async fn timers(counts: Rc<Counts>, load: Rc<Load>, pace: Pace) {
    loop {
        load.until_it_runs().await;
        if counts.timers.get() < pace.due() {
            let mut set = Vec::with_capacity(256);
            for n in 0..256 {
                let mut sleep = Box::pin(sleep(Duration::from_millis(1 + n % 50)));
                poll_fn(|cx| {
                    let _pending = sleep.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
                if n % 3 == 0 {
                    sleep.as_mut().get_mut().reset(Instant::now() + Duration::from_secs(60));
                }
                set.push(sleep);
            }
            add(&counts.timers, 256);
            drop(set);
        }
        sleep(Duration::from_micros(200)).await;
    }
}

/// What the other thread wakes, and how often it has.
struct Bell {
    waker: Mutex<Option<Waker>>,
    rung: AtomicU64,
    heard: AtomicU64,
    running: AtomicBool,
    over: AtomicBool,
}

/// Wakes all of them, and waits until that was heard: so that nearly each wake is a letter of its own.
fn ring(bells: &[Bell], pace: Pace) {
    let mut sent = 0u64;
    while !bells[0].over.load(SeqCst) {
        if !bells[0].running.load(SeqCst) || sent >= pace.due() {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        for bell in bells {
            bell.rung.fetch_add(1, SeqCst);
            let waker = bell.waker.lock().expect("nobody panics").clone();
            waker.into_iter().for_each(Waker::wake);
            sent += 1;
        }
        let last = &bells[bells.len() - 1];
        let since = Instant::now();
        while last.heard.load(SeqCst) != last.rung.load(SeqCst)
            && since.elapsed() < Duration::from_millis(5)
        {
            // Not by spinning: it would take the core from the echo.
            thread::sleep(Duration::from_micros(50));
        }
    }
}

async fn listen_to(bells: Arc<[Bell]>, n: usize, counts: Rc<Counts>) {
    poll_fn(|cx| {
        let bell = &bells[n];
        let mut waker = bell.waker.lock().expect("nobody panics");
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        drop(waker);
        bell.heard.store(bell.rung.load(SeqCst), SeqCst);
        add(&counts.woken, 1);
        Poll::<()>::Pending
    })
    .await;
}

/// Makes the runtime's tables larger than the load ever will: they keep their room while somebody lives in them, so
/// a burst at the wrong time would else look like a leak.
async fn warm_up(at_once: usize) {
    let mut tasks = waken::JoinSet::new();
    for _ in 0..4 * at_once {
        tasks.spawn(async {
            for _ in 0..3 {
                yield_now().await;
            }
        });
    }
    let pairs: io::Result<Vec<_>> = (0..2 * at_once).map(|_| AsyncUnixStream::pair()).collect();
    assert!(pairs.is_ok(), "descriptors for {} sockets: {pairs:?}", 4 * at_once);
    while tasks.join_next().await.is_some() {}
}

struct Base {
    descriptors: usize,
    heap: i64,
    threads: u64,
}

struct Judge {
    failures: Vec<String>,
    /// At most, at any of the looks.
    heap_grown: i64,
}

impl Judge {
    fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            println!("soak: FAILED: {what}");
            self.failures.push(what);
        }
    }
}

/// Runs it all; whether everything held.
pub fn run(plan: &Plan, mut link: Link) -> bool {
    watchdog(plan.limit + Duration::from_secs(60));
    let runtime = Runtime::new().expect("a runtime");
    let (counts, load) = (Rc::new(Counts::default()), Rc::new(Load::default()));
    let bells: Arc<[Bell]> = (0..BELLS)
        .map(|_| Bell {
            waker: Mutex::new(None),
            rung: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            running: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
        .collect();
    let ringing = bells.clone();
    let start = Instant::now();
    let pace = |goal| Pace { start, time: plan.time, goal };
    let wakes = pace(plan.wakes);
    let ringer = thread::spawn(move || ring(&ringing, wakes));
    let mut judge = Judge { failures: Vec::new(), heap_grown: 0 };
    let (mut all_trips, mut resident) = (Vec::<u32>::new(), Vec::new());
    // Room that lasts, so that the judge's own lists are not counted.
    all_trips.reserve_exact(1 << 20);
    resident.reserve_exact(1 << 16);
    let trips = RefCell::new(all_trips);
    let mut figures = (0, 0, 0);
    let mut episodes = 0;
    runtime.block_on(async {
        let listener = Rc::new(AsyncTcpListener::bind("0.0.0.0:0").await.expect("a listener"));
        let port = listener.local_addr().expect("bound").port();
        drop(spawn(accept(listener.clone(), counts.clone())));
        drop(spawn(timers(counts.clone(), load.clone(), pace(plan.timers))));
        warm_up(plan.at_once).await;
        for n in 0..bells.len() {
            drop(spawn(listen_to(bells.clone(), n, counts.clone())));
        }
        let (mut base, mut last_report) = (None::<Base>, Instant::now());
        loop {
            // ---- under load
            link.ask(&format!("go {port}"));
            load.set(true);
            bells[0].running.store(true, SeqCst);
            let begin = Instant::now();
            // The first time only until everything has been as large as it gets.
            let warm = base.is_some();
            let stretch = if warm { plan.episode } else { Duration::from_secs(2).min(plan.episode) };
            while begin.elapsed() < stretch {
                sleep(Duration::from_millis(100)).await;
            }
            // ---- out of descriptors, for a moment
            let refused = counts.refused.get();
            let limit = allow_descriptors(20);
            let since = Instant::now();
            while counts.refused.get() < refused + 3 && since.elapsed() < Duration::from_secs(20) {
                sleep(Duration::from_millis(10)).await;
            }
            allow_descriptors(limit);
            judge.hold(counts.refused.get() > refused, || "accept never ran out of descriptors".into());
            episodes += 1;
            let accepted = counts.accepted.get();
            while counts.accepted.get() == accepted && since.elapsed() < Duration::from_secs(40) {
                sleep(Duration::from_millis(10)).await;
            }
            judge.hold(counts.accepted.get() > accepted, || "nobody is accepted after an episode".into());
            // ---- at rest
            let answer = link.ask("count");
            figures = (answer[0], answer[1], answer[2]);
            {
                let mut trips = trips.borrow_mut();
                for trip in &answer[3..] {
                    // Long runs keep the last million.
                    if trips.len() == trips.capacity() {
                        trips.swap_remove(0);
                    }
                    trips.push(*trip as u32);
                }
            }
            drop(answer);
            load.set(false);
            bells[0].running.store(false, SeqCst);
            link.ask("stop");
            let since = Instant::now();
            // It may wait for an echo, so it is asked again and again.
            while link.ask("rests") != [1] && since.elapsed() < Duration::from_secs(60) {
                sleep(Duration::from_millis(5)).await;
            }
            let since = Instant::now();
            while counts.open.get() > 0 && since.elapsed() < Duration::from_secs(30) {
                sleep(Duration::from_millis(20)).await;
            }
            // Clients that have gone again while they waited to be accepted are accepted and end, too.
            sleep(Duration::from_millis(200)).await;
            while counts.open.get() > 0 && since.elapsed() < Duration::from_secs(30) {
                sleep(Duration::from_millis(20)).await;
            }
            let unheard = bells.iter().filter(|bell| bell.heard.load(SeqCst) != bell.rung.load(SeqCst)).count();
            judge.hold(unheard == 0, || format!("{unheard} of {} tasks have not seen their last wake", bells.len()));
            judge.hold(counts.open.get() == 0, || format!("{} connections do not end", counts.open.get()));
            let now = Base { descriptors: descriptors(), heap: heap(), threads: threads() };
            resident.push((start.elapsed().as_secs_f64(), resident_kib() as f64));
            let base = base.get_or_insert(Base { ..now });
            let off = now.heap - base.heap;
            judge.heap_grown = judge.heap_grown.max(off);
            judge.hold(now.descriptors == base.descriptors, || {
                format!("{} descriptors, and {} at the beginning", now.descriptors, base.descriptors)
            });
            // Less than at the beginning is no leak: something large may have been about then.
            judge.hold(off <= SLACK, || format!("{off} bytes of heap more than at the beginning"));
            judge.hold(now.threads == base.threads, || {
                format!("{} threads, and {} at the beginning", now.threads, base.threads)
            });
            if warm || last_report.elapsed() > Duration::from_secs(9) {
                last_report = Instant::now();
                println!(
                    "  {:.0} s: {} connections, {} wakes, {} timers, {} episodes, heap {off:+}, {} descriptors, {} KiB resident",
                    start.elapsed().as_secs_f64(), figures.0, sum(&bells), counts.timers.get(), episodes,
                    now.descriptors, resident_kib(),
                );
            }
            let reached = figures.0 >= plan.connections && sum(&bells) >= plan.wakes && counts.timers.get() >= plan.timers;
            if reached && start.elapsed() >= plan.time {
                break;
            }
            if start.elapsed() > plan.limit {
                judge.hold(false, || format!("the numbers are not reached in {:?}", plan.limit));
                break;
            }
        }
    });
    bells[0].over.store(true, SeqCst);
    ringer.join().expect("the thread that wakes");
    let metrics = runtime.metrics();
    drop(runtime);
    drop(link.to);
    judge.hold(metrics.remote_wakes >= plan.wakes / 2, || {
        format!("only {} wakes went by letter", metrics.remote_wakes)
    });
    judge.hold(figures.2 == 0, || format!("{} echoes came back wrong", figures.2));
    let mut trips = trips.into_inner();
    trips.sort_unstable();
    let at = |part: f64| {
        trips
            .get(((trips.len() as f64 * part) as usize).min(trips.len().saturating_sub(1)))
            .copied()
            .unwrap_or(u32::MAX)
    };
    let (p50, p99) = (at(0.5), at(0.99));
    judge.hold(Duration::from_micros(u64::from(p99)) < LONGEST_P99, || {
        format!("p99 of a round trip is {p99} µs")
    });
    judge.hold(counts.most.get() * 10 >= plan.at_once * 9, || {
        format!("only {} connections at once", counts.most.get())
    });
    // Without its beginning, in which the allocator's room grows to what it stays at.
    let whole = start.elapsed().as_secs_f64();
    let beginning = BEGINNING.as_secs_f64().min(whole / 5.0);
    let settled = resident.partition_point(|(at, _)| *at < beginning);
    let slope = slope(&resident[settled..]);
    // Over minutes it says nothing.
    if start.elapsed() > Duration::from_secs(1800) {
        judge.hold(slope < LARGEST_SLOPE, || {
            format!("resident memory grows by {slope:.2} KiB a minute")
        });
    }
    println!(
        "soak: {} in {:.0} s: {} connections ({} at once, {} echoes), {} cross-thread wakes ({} letters), {} timers set and given up, \
         {episodes} times out of descriptors ({} errors), at most {} bytes of heap more than at the beginning, p50 {p50} µs and p99 {p99} µs of {} \
         round trips, {slope:+.1} KiB resident a minute.",
        if judge.failures.is_empty() {
            "all held".to_owned()
        } else {
            format!("FAILED ({})", judge.failures.len())
        },
        start.elapsed().as_secs_f64(),
        figures.0,
        counts.most.get(),
        figures.1,
        sum(&bells),
        metrics.remote_wakes,
        counts.timers.get(),
        counts.refused.get(),
        judge.heap_grown,
        trips.len(),
    );
    judge.failures.is_empty()
}

fn sum(bells: &[Bell]) -> u64 {
    bells.iter().map(|bell| bell.rung.load(SeqCst)).sum()
}

/// Ends the process when it hangs.
fn watchdog(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("watchdog: not over after {limit:?}");
        std::process::abort();
    });
}
