//! Timers against a sorted list: set, moved, given up, polled by another, on two runtimes, from now to the end of time.
//!
//! The clock stands still but when a command moves it, so nothing is "about": `next_turn` names the earliest deadline to
//! the nanosecond, a turn wakes exactly what is due, in the order of the deadlines, and equal ones in the order in which
//! they were set.

use crate::clock::{self, Stopped};
use crate::input::Input;
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use waken::runtime::Next;
use waken::time::{
    Interval, MissedTickBehavior, Sleep, interval_at, sleep, sleep_until, timeout_at,
};
use waken::{Builder, Runtime};

/// A waker that writes down that it was woken.
struct Logged {
    log: Arc<Mutex<Vec<u32>>>,
    id: u32,
}

impl Wake for Logged {
    fn wake(self: Arc<Self>) {
        self.log.lock().unwrap().push(self.id);
    }
}

/// One of ours, and what the model knows of it.
struct Timer {
    sleep: Sleep,
    /// `None`: never.
    deadline: Option<Instant>,
    /// Where it waits: the runtime, its place among equal deadlines, and who is to be woken.
    set: Option<(usize, u64, u32)>,
}

struct World {
    input: Input,
    clock: Stopped,
    runtimes: Vec<Runtime>,
    log: Arc<Mutex<Vec<u32>>>,
    timers: Vec<Timer>,
    order: u64,
    wakers: u32,
    fired: Vec<u64>,
}

impl World {
    /// A distance: mostly so small that deadlines are equal, or are passed by, often.
    fn distance(&self) -> Duration {
        let kind = self.input.byte();
        match kind >> 3 {
            0..=19 => Duration::from_nanos(u64::from(kind & 15)),
            20..=22 => Duration::from_millis(u64::from(kind & 7)),
            23 => Duration::from_secs(u64::from(kind & 7) << 28),
            24 => Duration::MAX,
            25 => Duration::MAX - Duration::from_nanos(u64::from(kind & 7)),
            26 => Duration::from_secs(u64::MAX),
            27 => {
                Duration::from_secs(u64::from(u32::MAX)) + Duration::from_nanos(u64::from(kind & 7))
            }
            28 => Duration::from_secs(i64::MAX as u64 - u64::from(kind & 7)),
            29 => Duration::from_nanos(i64::MAX as u64) + Duration::from_nanos(u64::from(kind & 7)),
            30 => Duration::from_nanos(u64::MAX),
            _ => Duration::from_nanos(self.input.u64()),
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        match self.input.byte() {
            246 => self.clock.end_of_time() - Duration::from_nanos(1),
            // In the past, as far as there is one.
            b if b & 7 == 7 => now.checked_sub(self.distance()).unwrap_or(now),
            254 => self.clock.end_of_time(),
            _ => now.checked_add(self.distance()).unwrap_or_else(|| self.clock.end_of_time()),
        }
    }

    fn pick(&self) -> Option<usize> {
        self.input.pick(self.timers.len())
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Polls with a new waker, on one of the runtimes.
    fn poll(&mut self, pick: usize, runtime: usize) {
        self.wakers += 1;
        let id = self.wakers;
        let waker = Waker::from(Arc::new(Logged { log: self.log.clone(), id }));
        let order = self.next_order();
        let timer = &mut self.timers[pick];
        let guard = self.runtimes[runtime].enter();
        let mut cx = Context::from_waker(&waker);
        let polled = Pin::new(&mut timer.sleep).poll(&mut cx);
        drop(guard);
        let due = timer.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match timer.set {
            // It waits, and is not asked for the time: the turn that is due will tell.
            Some((at, order, _)) if at == runtime => {
                assert!(polled.is_pending(), "a timer that waits is ready before it has fired");
                timer.set = Some((at, order, id));
            }
            _ => {
                assert_eq!(polled.is_ready(), due, "deadline {:?}", timer.deadline);
                timer.set = (!due && timer.deadline.is_some()).then_some((runtime, order, id));
            }
        }
        assert_eq!(timer.sleep.is_elapsed(), due);
        assert_eq!(timer.sleep.deadline(), timer.deadline);
    }

    /// What a turn of this runtime has to do now: who is due, in order; then, a turn.
    fn turn(&mut self, runtime: usize) {
        let now = Instant::now();
        let mut due: Vec<(Instant, u64, u32)> = Vec::new();
        for timer in &mut self.timers {
            if let (Some((at, order, id)), Some(deadline)) = (timer.set, timer.deadline) {
                if at == runtime && deadline <= now {
                    due.push((deadline, order, id));
                    timer.set = None;
                }
            }
        }
        due.sort();
        let next = self.runtimes[runtime].turn(Some(Duration::ZERO)).expect("epoll works");
        let woken = std::mem::take(&mut *self.log.lock().unwrap());
        let due: Vec<u32> = due.into_iter().map(|(_, _, id)| id).collect();
        assert_eq!(woken, due, "who was woken, and who was due");
        self.fired[runtime] += due.len() as u64;
        assert_eq!(next, self.expected(runtime), "what the turn says comes next");
    }

    fn expected(&self, runtime: usize) -> Next {
        let here = self.timers.iter().filter(|timer| timer.set.is_some_and(|set| set.0 == runtime));
        match here.filter_map(|timer| timer.deadline).min() {
            Some(deadline) if deadline <= Instant::now() => Next::Now,
            Some(deadline) => Next::At(deadline),
            None => Next::Event,
        }
    }

    fn check(&self) {
        for (n, runtime) in self.runtimes.iter().enumerate() {
            assert_eq!(runtime.next_turn(), self.expected(n), "what comes next");
            let alive =
                self.timers.iter().filter(|it| it.set.is_some_and(|set| set.0 == n)).count();
            let metrics = runtime.metrics();
            assert_eq!(metrics.timers_alive, alive as u64, "timers alive");
            assert_eq!(metrics.timers_fired, self.fired[n], "timers fired");
        }
        assert!(self.log.lock().unwrap().is_empty(), "somebody was woken outside of a turn");
    }

    /// One command; whether it was a turn.
    fn command(&mut self) -> bool {
        let command = self.input.byte();
        let runtime = usize::from(command >> 7) % self.runtimes.len();
        match command & 15 {
            0..=2 if self.timers.len() < 200 => {
                let (sleep, deadline) = match command >> 4 & 3 {
                    0 => {
                        let deadline = self.deadline();
                        (sleep_until(deadline), Some(deadline))
                    }
                    _ => {
                        let distance = self.distance();
                        (sleep(distance), Instant::now().checked_add(distance))
                    }
                };
                self.timers.push(Timer { sleep, deadline, set: None });
                if command & 16 == 0 {
                    self.poll(self.timers.len() - 1, runtime);
                }
            }
            3 | 4 => {
                let Some(pick) = self.pick() else { return false };
                self.poll(pick, runtime);
            }
            5..=7 => {
                let Some(pick) = self.pick() else { return false };
                let deadline = self.deadline();
                let order = self.next_order();
                let timer = &mut self.timers[pick];
                match command >> 4 & 1 {
                    0 => timer.sleep.reset(deadline),
                    // Under the wrong runtime, or the right one.
                    _ => {
                        let _guard = self.runtimes[runtime].enter();
                        timer.sleep.reset(deadline);
                    }
                }
                // Whoever is moved stands behind its new equals; whoever is not keeps its place.
                let moved = timer.deadline.replace(deadline) != Some(deadline);
                if let (Some(set), true) = (&mut timer.set, moved) {
                    set.1 = order;
                }
            }
            8 | 9 => {
                let Some(pick) = self.pick() else { return false };
                drop(self.timers.swap_remove(pick));
            }
            10 => self.clock.advance(Duration::from_nanos(u64::from(self.input.byte()))),
            11 => self.clock.advance(Duration::from_micros(u64::from(self.input.u16()))),
            12 => self.intervals(runtime),
            13 => self.timeouts(runtime),
            _ => {
                self.turn(runtime);
                return true;
            }
        }
        false
    }

    /// An interval beside its own arithmetic.
    fn intervals(&self, runtime: usize) {
        let period = Duration::from_nanos(1 + u64::from(self.input.byte() & 15));
        let mut due = Instant::now() + Duration::from_nanos(u64::from(self.input.byte() & 15));
        let mut interval: Interval = interval_at(due, period);
        let behavior = match self.input.below(3) {
            0 => MissedTickBehavior::Burst,
            1 => MissedTickBehavior::Delay,
            _ => MissedTickBehavior::Skip,
        };
        interval.set_missed_tick_behavior(behavior);
        assert_eq!((interval.period(), interval.missed_tick_behavior()), (period, behavior));
        let _guard = self.runtimes[runtime].enter();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..self.input.below(12) {
            self.clock.advance(Duration::from_nanos(u64::from(self.input.byte() & 31)));
            let now = Instant::now();
            match interval.poll_tick(&mut cx) {
                Poll::Ready(tick) => {
                    assert_eq!(tick, due, "a tick says when it was due");
                    assert!(due <= now, "a tick is early");
                    due = match behavior {
                        MissedTickBehavior::Burst => due + period,
                        MissedTickBehavior::Delay if now < due + period => due + period,
                        MissedTickBehavior::Delay => now + period,
                        MissedTickBehavior::Skip => {
                            let mut next = due + period;
                            while next <= now {
                                next += period;
                            }
                            next
                        }
                    };
                }
                // It waits with the runtime, whose turn would tell; asked anew, it looks at the clock.
                Poll::Pending => {
                    interval.reset();
                    due = now + period;
                }
            }
        }
    }

    /// A future that is ready at its `n`th poll, with a deadline.
    fn timeouts(&self, runtime: usize) {
        let (polls, deadline) = (Cell::new(self.input.below(4)), self.deadline());
        let guard = self.runtimes[runtime].enter();
        let future = poll_fn(|_| match polls.get() {
            0 => Poll::Ready(7),
            n => {
                polls.set(n - 1);
                Poll::Pending
            }
        });
        let mut timeout = pin!(timeout_at(deadline, future));
        let mut cx = Context::from_waker(Waker::noop());
        let mut waits = false;
        for _ in 0..4 {
            let (wins, due) = (polls.get() == 0, deadline <= Instant::now());
            match timeout.as_mut().poll(&mut cx) {
                Poll::Ready(Ok(7)) => return assert!(wins, "ready before its time"),
                Poll::Ready(_) => {
                    return assert!(due && !wins, "the time is not up, or it was ready");
                }
                // A timer that waits is not asked for the time.
                Poll::Pending => assert!(!wins && (!due || waits), "neither ready nor over"),
            }
            waits = true;
        }
        drop(guard);
    }
}

pub fn run(bytes: &[u8]) {
    let clock = clock::stop();
    let input = Input::new(bytes);
    let settings = input.byte();
    let build = |self_waking| {
        let builder =
            Builder::new().events_per_poll(16).spin(Duration::ZERO).self_waking_fd(self_waking);
        let runtime = builder.build().expect("descriptors for a runtime");
        // So that one is never idle, which is said before anything else.
        drop(runtime.spawn(pending::<()>()));
        runtime.turn(Some(Duration::ZERO)).expect("epoll works");
        runtime
    };
    let mut runtimes = vec![build(settings & 7 == 7)];
    if settings & 8 != 0 {
        runtimes.push(build(false));
    }
    let fired = vec![0; runtimes.len()];
    let (log, timers) = (Arc::default(), Vec::new());
    let mut world = World { input, clock, runtimes, log, timers, order: 0, wakers: 0, fired };
    // A self-waking runtime sets an alarm of the kernel's at each look at it.
    let seldom = settings & 7 == 7;
    while !world.input.is_over() {
        let is_turn = world.command();
        if !seldom || is_turn {
            world.check();
        }
    }
    // What is due in an hour, and what is due never.
    world.clock.advance(Duration::from_secs(3600));
    for runtime in 0..world.runtimes.len() {
        world.turn(runtime);
    }
    world.check();
    let mut waiting: Vec<u32> =
        world.timers.iter().filter_map(|it| it.set).map(|set| set.2).collect();
    waiting.sort();
    let kept = if settings & 16 != 0 { std::mem::take(&mut world.timers) } else { Vec::new() };
    if kept.is_empty() {
        world.timers.clear();
        waiting.clear();
    }
    world.runtimes.clear();
    let mut woken = std::mem::take(&mut *world.log.lock().unwrap());
    woken.sort();
    assert_eq!(woken, waiting, "the end of a runtime wakes who waits there");
    // A sleep may outlive its runtime.
    for mut timer in kept {
        if let Some(deadline) = timer.deadline {
            timer.sleep.reset(deadline);
        }
    }
    assert!(world.log.lock().unwrap().is_empty(), "woken behind the end");
    assert_eq!(Arc::strong_count(&world.log), 1, "a waker has leaked");
}
