//! The API as a stream of commands: bytes say what is spawned, woken, aborted, joined, dropped, and from where (a task,
//! a destructor, the root, another runtime, nobody's turn).
//!
//! Beside the runtime runs a model, which knows of every task whether it was woken, what it has become, and how often its
//! future and its output were dropped. What has to agree:
//!
//! - every future and every output is dropped exactly once, a future before anybody learns that its task has ended;
//! - a task that was woken is polled, one that was not is not, in the order of the wakes, and at most once a turn;
//! - an aborted task is gone when the next turn ends, and never in `abort` itself;
//! - a join says what the task has become; `is_finished`, `metrics` and the groups say the same;
//! - after the runtime's end nothing is left, and what was kept of it is harmless.
//!
//! The clock stands still but when a command moves it, so all of this repeats exactly.

use crate::clock::{self, Stopped};
use crate::input::Input;
use crate::{Planned, must_panic};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::panic_any;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use waken::runtime::{Next, PanicPolicy, RemoteJoinHandle};
use waken::task::{AbortHandle, AbortOnDrop, yield_now};
use waken::time::{Sleep, sleep, timeout};
use waken::{Builder, JoinError, JoinHandle, JoinSet, Remote, Runtime};

type Id = usize;

/// What a task has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Finished,
    Panicked,
    Cancelled,
}

/// What the model knows of one task.
struct Record {
    runtime: usize,
    /// In the ready queue since the wake with this number.
    queued: Option<u64>,
    /// Woken by letter since its last poll; and one may be under way still, until the runtime has nothing to do.
    posted: bool,
    letter: bool,
    /// It waits for more than its own wakers: a join, a timer, a budget. Then its wakes are not all known.
    loose: bool,
    polling: bool,
    /// What its future did last: it decides what a drop means.
    last: End,
    end: Option<End>,
    /// Aborted, before the turn of this number.
    aborted: Option<u64>,
    turn: u64,
    outputs: i32,
}

enum Handle {
    Join(JoinHandle<Output>),
    AbortOnDrop(AbortOnDrop<Output>),
}

struct Group {
    set: JoinSet<Output>,
    /// By our count, and by the runtime's.
    members: Vec<(Id, waken::task::Id)>,
    runtime: Option<usize>,
}

struct Place {
    runtime: Rc<Runtime>,
    remote: Remote,
    /// It runs: a turn of it would panic.
    running: Cell<bool>,
    /// Counts the turns that are ours to count.
    turn: Cell<u64>,
    unlimited: bool,
    propagates: bool,
    /// Tasks that came through `Remote` bring another one with them.
    remotes: Cell<u64>,
    spawned: Cell<u64>,
}

struct World {
    input: Input,
    clock: Stopped,
    records: RefCell<Vec<Record>>,
    wakes: Cell<u64>,
    wakers: RefCell<Vec<(Waker, Option<Id>, usize)>>,
    handles: RefCell<Vec<(Handle, Id)>>,
    aborts: RefCell<Vec<(AbortHandle, Id)>>,
    groups: RefCell<Vec<Group>>,
    sleeps: RefCell<Vec<Sleep>>,
    remotes: RefCell<Vec<RemoteJoinHandle<u32>>>,
    places: RefCell<Vec<Option<Rc<Place>>>>,
    /// Which one is current: `places` never shrinks.
    current: Cell<Option<usize>>,
    depth: Cell<u32>,
    /// These are being dropped, one inside of another.
    ending: RefCell<Vec<usize>>,
}

/// What a task returns. Counted.
struct Output {
    world: Rc<World>,
    id: Id,
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut records = self.world.records.borrow_mut();
        records[self.id].outputs -= 1;
        assert_eq!(records[self.id].outputs, 0, "the output of task {} is dropped twice", self.id);
    }
}

/// A spawned future: each poll does what the next bytes say.
struct Probe {
    world: Rc<World>,
    id: Id,
    dropped: bool,
}

/// From where a command comes.
enum Where<'a, 'b> {
    Outside,
    Poll(Option<Id>, &'a mut Context<'b>),
    Drop,
}

impl Future for Probe {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let (world, id) = (self.world.clone(), self.id);
        world.begin_poll(id);
        let decision = world.input.byte();
        for _ in 0..decision >> 6 {
            world.command(&mut Where::Poll(Some(id), cx));
        }
        let loose = |world: &World| world.records.borrow_mut()[id].loose = true;
        let polled = match decision & 15 {
            0 | 1 => Poll::Ready(()),
            2 => {
                world.records.borrow_mut()[id].last = End::Panicked;
                world.records.borrow_mut()[id].polling = false;
                panic_any(Planned(id as u32));
            }
            3..=5 => {
                world.woken(Some(id), world.runtime_of(id));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            6..=8 => Poll::Pending,
            9 => {
                // Leaves polled once and given up: nobody of them may wake it later, but for the yield.
                let mut future = pin!(timeout(Duration::from_nanos(5), yield_now()));
                world.woken(Some(id), world.runtime_of(id));
                let _pending = future.as_mut().poll(cx);
                Poll::Pending
            }
            10 => {
                loose(&world);
                let mut budget = pin!(waken::task::consume_budget());
                let _maybe = budget.as_mut().poll(cx);
                Poll::Pending
            }
            _ => {
                let wakers = &mut world.wakers.borrow_mut();
                if wakers.len() < 32 {
                    wakers.push((cx.waker().clone(), Some(id), world.runtime_of(id)));
                }
                Poll::Pending
            }
        };
        let mut records = world.records.borrow_mut();
        records[id].polling = false;
        if polled.is_pending() {
            return Poll::Pending;
        }
        records[id].last = End::Finished;
        records[id].outputs += 1;
        assert_eq!(records[id].outputs, 1, "task {id} was polled after it was ready");
        drop(records);
        Poll::Ready(Output { world, id })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert!(!std::mem::replace(&mut self.dropped, true), "a future is dropped twice");
        let (world, id) = (self.world.clone(), self.id);
        assert!(!world.records.borrow()[id].polling, "task {id} is dropped while it is polled");
        let decision = world.input.byte();
        if world.depth.get() < 3 {
            world.depth.set(world.depth.get() + 1);
            for _ in 0..decision >> 6 {
                world.command(&mut Where::Drop);
            }
            world.depth.set(world.depth.get() - 1);
        }
        let mut records = world.records.borrow_mut();
        let record = &mut records[id];
        assert!(record.end.is_none(), "task {id} ends twice");
        assert!(
            record.last != End::Cancelled
                || record.aborted.is_some()
                || world.is_over(record.runtime),
            "task {id} is cancelled, and nobody has aborted it"
        );
        record.end = Some(record.last);
        (record.queued, record.posted) = (None, false);
        drop(records);
        if decision & 15 == 1 && !thread::panicking() {
            panic_any(Planned(id as u32));
        }
    }
}

impl World {
    fn runtime_of(&self, id: Id) -> usize {
        self.records.borrow()[id].runtime
    }

    fn place(&self, runtime: usize) -> Option<Rc<Place>> {
        self.places.borrow()[runtime].clone()
    }

    fn is_over(&self, runtime: usize) -> bool {
        self.places.borrow()[runtime].is_none()
    }

    // ---- the model ------------------------------------------------------------------------------

    /// Somebody wakes the task (`None`: a root).
    fn woken(&self, id: Option<Id>, runtime: usize) {
        let Some(id) = id else { return };
        let mut records = self.records.borrow_mut();
        let record = &mut records[id];
        if record.end.is_some() || self.is_over(runtime) {
            return;
        }
        if self.current.get() == Some(runtime) {
            if record.queued.is_none() {
                self.wakes.set(self.wakes.get() + 1);
                record.queued = Some(self.wakes.get());
            }
        } else {
            // When it arrives is not known, only that it does.
            (record.posted, record.letter) = (true, true);
        }
    }

    fn begin_poll(&self, id: Id) {
        assert_eq!(self.current.get(), Some(self.runtime_of(id)), "polled under another runtime");
        let turn = self.place(self.runtime_of(id)).map_or(0, |place| place.turn.get());
        let mut records = self.records.borrow_mut();
        let record = &mut records[id];
        assert!(record.end.is_none(), "task {id} is polled after its end");
        assert!(!record.polling, "task {id} is polled inside its poll");
        assert!(turn == 0 || record.turn != turn, "task {id} is polled twice in one turn");
        assert!(
            record.queued.is_some() || record.letter || record.loose,
            "task {id} is polled and nobody has woken it"
        );
        if let (Some(seq), false, false) = (record.queued, record.letter, record.loose) {
            let runtime = record.runtime;
            let before = records.iter().position(|other| {
                let known = other.runtime == runtime && !other.letter && !other.loose;
                known && other.end.is_none() && other.queued.is_some_and(|other| other < seq)
            });
            assert_eq!(before, None, "task {id} is polled, and this one was woken before it");
        }
        let record = &mut records[id];
        (record.queued, record.posted) = (None, false);
        (record.polling, record.turn) = (true, turn);
        // Should the runtime drop it from here on: cancelled.
        record.last = End::Cancelled;
    }

    fn check_result(&self, id: Id, result: &Result<Output, JoinError>) {
        let end = match result {
            Ok(output) => {
                assert_eq!(output.id, id, "a join gives another task's output");
                End::Finished
            }
            Err(error) if error.is_panic() => End::Panicked,
            Err(error) => {
                assert!(error.is_cancelled());
                End::Cancelled
            }
        };
        let expected = self.records.borrow()[id].end;
        if self.ending.borrow().contains(&self.runtime_of(id)) {
            // Asked in a destructor: what was not dropped yet is as it was, the rest is gone.
            assert!(end == End::Cancelled || Some(end) == expected, "the join of task {id}");
        } else if self.is_over(self.runtime_of(id)) {
            assert_eq!(end, End::Cancelled, "task {id} joined after its runtime's end");
            assert!(expected.is_some(), "task {id} outlives its runtime");
        } else {
            assert_eq!(Some(end), expected, "the join of task {id}");
        }
    }

    /// What the runtime says of itself, when none of its code runs.
    fn check(&self, runtime: usize) {
        let Some(place) = self.place(runtime) else { return };
        let metrics = place.runtime.metrics();
        let records = self.records.borrow();
        let alive = records.iter().filter(|it| it.runtime == runtime && it.end.is_none()).count();
        if place.remotes.get() == 0 {
            assert_eq!(metrics.tasks_alive, alive as u64, "tasks alive");
            assert_eq!(metrics.tasks_spawned, place.spawned.get(), "tasks spawned");
            assert_eq!(place.runtime.tasks().len(), alive, "the wait graph");
            let panicked = |it: &&Record| it.runtime == runtime && it.end == Some(End::Panicked);
            let panicked = records.iter().filter(panicked).count() as u64;
            assert_eq!(metrics.tasks_panicked, panicked, "tasks that panicked");
        }
    }

    // ---- what commands are made of ---------------------------------------------------------------

    fn probe(self: &Rc<World>, runtime: usize) -> Option<Probe> {
        let mut records = self.records.borrow_mut();
        if records.len() >= 96 {
            return None;
        }
        let id = records.len();
        self.wakes.set(self.wakes.get() + 1);
        records.push(Record {
            runtime,
            queued: Some(self.wakes.get()),
            posted: false,
            letter: false,
            loose: false,
            polling: false,
            last: End::Cancelled,
            end: None,
            aborted: None,
            turn: 0,
            outputs: 0,
        });
        drop(records);
        if let Some(place) = self.place(runtime) {
            place.spawned.set(place.spawned.get() + 1);
        }
        Some(Probe { world: self.clone(), id, dropped: false })
    }

    /// The runtime that commands from here mean, if there is one that lives.
    fn here(&self) -> Option<(usize, Rc<Place>)> {
        let runtime = self.current.get()?;
        Some((runtime, self.place(runtime)?))
    }

    fn with_current<R>(&self, runtime: Option<usize>, act: impl FnOnce() -> R) -> R {
        let before = self.current.replace(runtime);
        let result = act();
        self.current.set(before);
        result
    }

    fn turn(self: &Rc<World>, runtime: usize, place: &Place) -> Next {
        place.running.set(true);
        self.with_turn(runtime, place, || {
            let next = place.runtime.turn(Some(Duration::ZERO)).expect("epoll works");
            place.running.set(false);
            next
        })
    }

    /// A turn, and what has to hold behind it.
    fn with_turn(
        self: &Rc<World>,
        runtime: usize,
        place: &Place,
        turn: impl FnOnce() -> Next,
    ) -> Next {
        place.turn.set(place.turn.get() + 1);
        let number = place.turn.get();
        let next = self.with_current(Some(runtime), || {
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn)) {
                Ok(next) => next,
                Err(payload) => {
                    assert!(place.propagates && payload.is::<Planned>(), "a turn panicked");
                    place.running.set(false);
                    place.runtime.next_turn()
                }
            }
        });
        let mut records = self.records.borrow_mut();
        let overdue = records.iter().position(|it| {
            it.runtime == runtime
                && it.end.is_none()
                && it.aborted.is_some_and(|turn| turn < number)
        });
        assert!(
            !place.unlimited || overdue.is_none(),
            "task {overdue:?} outlives its abort by a turn"
        );
        let out_of_step = records.iter().position(|it| {
            next != Next::Now
                && it.runtime == runtime
                && it.end.is_none()
                && (it.queued.is_some() || it.posted)
        });
        assert_eq!(out_of_step, None, "the runtime has nothing to do, and this task was woken");
        if next != Next::Now {
            records.iter_mut().filter(|it| it.runtime == runtime).for_each(|it| it.letter = false);
        }
        next
    }

    fn new_runtime(&self) {
        let decision = self.input.byte();
        let unlimited = decision & 3 != 3;
        let propagates = decision & 12 == 12;
        let mut builder = Builder::new()
            .events_per_poll(16)
            .spin(Duration::ZERO)
            .self_waking_fd(decision & 48 == 48);
        if !unlimited {
            builder = builder.polls_per_turn(2);
        }
        if decision & 192 == 192 {
            builder = builder.budget(1);
        }
        if propagates {
            builder = builder.panics(PanicPolicy::PropagateUnobserved);
        }
        let runtime = Rc::new(builder.build().expect("descriptors for a runtime"));
        self.places.borrow_mut().push(Some(Rc::new(Place {
            remote: runtime.remote(),
            runtime,
            running: Cell::new(false),
            turn: Cell::new(0),
            unlimited,
            propagates,
            remotes: Cell::new(0),
            spawned: Cell::new(0),
        })));
    }

    /// Ends a runtime that nobody uses.
    fn end_runtime(self: &Rc<World>, runtime: usize) {
        let place = {
            let mut places = self.places.borrow_mut();
            match places[runtime].take() {
                // Somebody uses it: its turn goes on, or it is current around this.
                Some(place) if Rc::strong_count(&place) > 1 || place.running.get() => {
                    places[runtime] = Some(place);
                    return;
                }
                None => return,
                Some(place) => place,
            }
        };
        // Current while its tasks are dropped. What they spawn is dropped as well.
        self.ending.borrow_mut().push(runtime);
        self.with_current(Some(runtime), || drop(place));
        self.ending.borrow_mut().pop();
        let records = self.records.borrow();
        let alive = records.iter().position(|it| it.runtime == runtime && it.end.is_none());
        assert_eq!(alive, None, "this task outlives its runtime");
    }

    // ---- the commands ----------------------------------------------------------------------------

    fn command(self: &Rc<World>, from: &mut Where<'_, '_>) {
        if self.input.is_over() {
            return;
        }
        let command = self.input.byte();
        match command % 32 {
            0..=3 => self.spawn(command),
            4..=7 => self.wake(),
            8 => self.drop_waker(),
            9 => self.drop_handle(),
            10 | 11 => self.abort(),
            12 => self.change_handle(),
            13 | 14 => self.join(from),
            15 => self.ask_handle(),
            16..=20 => self.group(command, from),
            21..=23 => self.time(command, from),
            24 => self.remote(from),
            25 => self.another_turn(),
            26 => self.misuse(),
            27 => {
                if let Where::Poll(id, cx) = from {
                    let runtime = self.current.get().expect("polls have a runtime");
                    self.wakers.borrow_mut().push((cx.waker().clone(), *id, runtime));
                }
            }
            28 => {
                if let Where::Poll(id, cx) = from {
                    self.woken(*id, self.current.get().expect("polls have a runtime"));
                    cx.waker().wake_by_ref();
                }
            }
            29 => {
                let at = self.input.below(3);
                if at < self.places.borrow().len() {
                    self.end_runtime(at);
                }
            }
            30 if self.places.borrow().len() < 3 => self.new_runtime(),
            _ => self.under_another(from),
        }
    }

    fn spawn(self: &Rc<World>, command: u8) {
        let Some((runtime, place)) = self.here() else { return };
        let Some(probe) = self.probe(runtime) else { return };
        let id = probe.id;
        let handle = match command >> 6 {
            0 => place.runtime.spawn(probe),
            1 => waken::task::Builder::new().name("named").spawn(probe),
            _ => waken::spawn(probe),
        };
        match command >> 4 & 3 {
            0 => drop(handle),
            1 => self.handles.borrow_mut().push((Handle::AbortOnDrop(handle.abort_on_drop()), id)),
            _ => self.handles.borrow_mut().push((Handle::Join(handle), id)),
        }
    }

    fn wake(self: &Rc<World>) {
        let Some(pick) = self.input.pick(self.wakers.borrow().len()) else { return };
        let (waker, id, runtime) = self.wakers.borrow()[pick].clone();
        self.woken(id, runtime);
        match pick % 2 {
            0 => waker.wake(),
            _ => waker.wake_by_ref(),
        }
    }

    fn drop_waker(&self) {
        let Some(pick) = self.input.pick(self.wakers.borrow().len()) else { return };
        let waker = self.wakers.borrow_mut().swap_remove(pick);
        drop(waker);
    }

    fn take_handle(&self) -> Option<(Handle, Id)> {
        let pick = self.input.pick(self.handles.borrow().len())?;
        Some(self.handles.borrow_mut().swap_remove(pick))
    }

    fn drop_handle(self: &Rc<World>) {
        let Some((handle, id)) = self.take_handle() else { return };
        if let Handle::AbortOnDrop(_) = handle {
            self.aborted(id);
        }
        // What goes with it may have a destructor that panics: the caller's own.
        self.never_in_here(id, || drop(handle));
    }

    /// Before an abort.
    fn aborted(&self, id: Id) {
        let runtime = self.runtime_of(id);
        let turn = self.place(runtime).map_or(0, |place| place.turn.get());
        // Its turn goes on, or comes next; by letter one later.
        let at = turn + u64::from(self.current.get() != Some(runtime));
        let record = &mut self.records.borrow_mut()[id];
        if record.end.is_none() {
            record.aborted = Some(record.aborted.map_or(at, |before| before.min(at)));
        }
        let here = self.place(runtime).is_some();
        let queue = here && record.end.is_none() && record.queued.is_none();
        if queue {
            // On this thread an abort makes its runtime current: never a letter.
            self.wakes.set(self.wakes.get() + 1);
            record.queued = Some(self.wakes.get());
        }
    }

    /// `act` aborts or detaches the task, but does not drop its future.
    fn never_in_here(&self, id: Id, act: impl FnOnce()) {
        let before = self.records.borrow()[id].end;
        act();
        assert_eq!(before, self.records.borrow()[id].end, "task {id} is dropped inside of a call");
    }

    fn abort(self: &Rc<World>) {
        let decision = self.input.byte();
        if decision & 1 == 0 {
            let Some(pick) = self.input.pick(self.handles.borrow().len()) else { return };
            let handles = self.handles.borrow();
            let (handle, id) = (&handles[pick].0, handles[pick].1);
            let abort = match handle {
                Handle::Join(handle) => handle.abort_handle(),
                Handle::AbortOnDrop(_) => return,
            };
            self.aborted(id);
            if let (Handle::Join(handle), 2) = (handle, decision & 2) {
                self.never_in_here(id, || handle.abort());
            } else {
                self.never_in_here(id, || abort.abort());
            }
            self.aborts.borrow_mut().push((abort, id));
        } else {
            let Some(pick) = self.input.pick(self.aborts.borrow().len()) else { return };
            let (abort, id) = self.aborts.borrow()[pick].clone();
            self.aborted(id);
            self.never_in_here(id, || abort.abort());
        }
    }

    fn change_handle(&self) {
        let Some((handle, id)) = self.take_handle() else { return };
        let handle = match handle {
            Handle::Join(handle) => Handle::AbortOnDrop(handle.abort_on_drop()),
            Handle::AbortOnDrop(handle) => Handle::Join(handle.detach()),
        };
        self.handles.borrow_mut().push((handle, id));
    }

    fn join(self: &Rc<World>, from: &mut Where<'_, '_>) {
        let Some((mut handle, id)) = self.take_handle() else { return };
        let runtime = self.runtime_of(id);
        let gone = self.is_over(runtime) && !self.ending.borrow().contains(&runtime);
        let usable = self.current.get() == Some(runtime) || gone;
        let own = matches!(from, Where::Poll(Some(own), _) if *own == id);
        let mut nobody = Context::from_waker(Waker::noop());
        let in_poll = matches!(from, Where::Poll(..));
        let ending = matches!(from, Where::Drop);
        let (who, cx) = match from {
            Where::Poll(who, cx) => (*who, &mut **cx),
            _ => (None, &mut nobody),
        };
        let mut poll = || match &mut handle {
            Handle::Join(handle) => Pin::new(handle).poll(cx),
            Handle::AbortOnDrop(handle) => Pin::new(handle).poll(cx),
        };
        if !usable {
            // In a poll, or a destructor, the budget may be used up, which is asked first.
            if !in_poll && !ending {
                must_panic("a join under another runtime", || drop(poll()));
            }
            self.handles.borrow_mut().push((handle, id));
            return;
        }
        if let Some(who) = who {
            self.records.borrow_mut()[who].loose = true;
        }
        let polled = poll();
        match polled {
            Poll::Pending => {
                // In a poll the budget may be used up; else only a task that lives makes one wait.
                let end = self.records.borrow()[id].end;
                assert!(own || in_poll || ending || end.is_none(), "task {id} has ended: {end:?}");
                self.handles.borrow_mut().push((handle, id));
            }
            Poll::Ready(result) => {
                self.check_result(id, &result);
                drop(result);
                if !in_poll && !ending {
                    must_panic("a join after a join", || drop(poll()));
                }
                if let Handle::AbortOnDrop(_) = handle {
                    self.aborted(id);
                }
            }
        }
    }

    fn ask_handle(&self) {
        let Some(pick) = self.input.pick(self.handles.borrow().len()) else { return };
        let handles = self.handles.borrow();
        let (Handle::Join(handle), id) = &handles[pick] else { return };
        let finished = handle.is_finished();
        let end = self.records.borrow()[*id].end;
        // Inside the destructor of the task itself it is about to end.
        assert!(
            !finished || end.is_some() || self.is_over(self.runtime_of(*id)),
            "task {id} has not ended"
        );
        assert!(finished || end.is_none() || self.depth.get() > 0 || self.current.get().is_some());
    }

    fn group(self: &Rc<World>, command: u8, from: &mut Where<'_, '_>) {
        let pick = self.input.below(3);
        // Taken out, as an `&mut` to it is held.
        let mut group = {
            let mut groups = self.groups.borrow_mut();
            match groups.len() {
                n if pick < n => groups.swap_remove(pick),
                _ => Group { set: JoinSet::new(), members: Vec::new(), runtime: None },
            }
        };
        assert_eq!(group.set.len(), group.members.len(), "the members of a group");
        assert_eq!(group.set.is_empty(), group.members.is_empty());
        let ours = match (group.runtime, self.current.get()) {
            (None, Some(_)) => true,
            (Some(runtime), current) => {
                let gone = self.is_over(runtime) && !self.ending.borrow().contains(&runtime);
                current == Some(runtime) || gone
            }
            (None, None) => false,
        };
        match command % 32 {
            16 | 17 => {
                if let (Some((runtime, _)), true) = (self.here(), ours) {
                    if group.runtime.is_none_or(|of| of == runtime) {
                        if let Some(probe) = self.probe(runtime) {
                            let id = probe.id;
                            group.runtime = Some(runtime);
                            let abort = group.set.spawn(probe);
                            group.members.push((id, abort.id()));
                            if command & 32 != 0 {
                                self.aborts.borrow_mut().push((abort, id));
                            }
                        }
                    }
                }
            }
            18 if ours => {
                let result = match (command >> 5, &mut *from) {
                    (0..=3, Where::Poll(who, cx)) => {
                        if let Some(who) = *who {
                            self.records.borrow_mut()[who].loose = true;
                        }
                        match command >> 5 {
                            0 | 1 => group.set.poll_join_next(cx),
                            _ => pin!(group.set.join_next()).poll(cx),
                        }
                    }
                    _ => {
                        group.set.try_join_next().map_or(Poll::Pending, |it| Poll::Ready(Some(it)))
                    }
                };
                match result {
                    Poll::Ready(Some(result)) => {
                        let fits = |member: &(Id, _)| match &result {
                            Ok(output) => output.id == member.0,
                            Err(error) => error.id() == member.1,
                        };
                        let member =
                            group.members.iter().position(fits).expect("it is of a member");
                        let (id, _) = group.members.swap_remove(member);
                        self.check_result(id, &result);
                    }
                    Poll::Ready(None) => assert!(group.members.is_empty(), "the group has members"),
                    Poll::Pending => {
                        let records = self.records.borrow();
                        let ended = group.members.iter().any(|(id, _)| records[*id].end.is_some());
                        let outside = matches!(from, Where::Outside);
                        assert!(!(ended && outside), "a member has ended, and cannot be joined");
                    }
                }
            }
            19 if ours => {
                group.members.iter().for_each(|(id, _)| self.aborted(*id));
                group.set.abort_all();
            }
            20 => match command >> 5 {
                0..=2 if ours => {
                    // Outputs of members that have ended are dropped here.
                    group.set.detach_all();
                    group.members.clear();
                    assert!(group.set.is_empty());
                }
                3..=5 => {
                    group.members.iter().for_each(|(id, _)| self.aborted(*id));
                    drop(group);
                    return;
                }
                _ => {}
            },
            _ => {}
        }
        self.groups.borrow_mut().push(group);
    }

    fn time(&self, command: u8, from: &mut Where<'_, '_>) {
        let ns = Duration::from_nanos(u64::from(self.input.byte()));
        match command >> 5 {
            0 | 1 => self.clock.advance(ns),
            2 => self.sleeps.borrow_mut().push(sleep(ns)),
            3 => {
                let Some(pick) = self.input.pick(self.sleeps.borrow().len()) else { return };
                let sleep = self.sleeps.borrow_mut().swap_remove(pick);
                drop(sleep);
            }
            4 => {
                let Some(pick) = self.input.pick(self.sleeps.borrow().len()) else { return };
                self.sleeps.borrow_mut()[pick].reset(Instant::now() + ns);
            }
            _ => {
                let Some(pick) = self.input.pick(self.sleeps.borrow().len()) else { return };
                let mut sleep = self.sleeps.borrow_mut().swap_remove(pick);
                if let Where::Poll(who, cx) = from {
                    if let Some(who) = *who {
                        self.records.borrow_mut()[who].loose = true;
                    }
                    let polled = Pin::new(&mut sleep).poll(cx);
                    assert!(polled.is_pending() || sleep.is_elapsed(), "a sleep is early");
                }
                self.sleeps.borrow_mut().push(sleep);
            }
        }
    }

    fn remote(self: &Rc<World>, from: &mut Where<'_, '_>) {
        let decision = self.input.byte();
        let at = decision as usize % self.places.borrow().len();
        let place = self.place(at);
        match (decision >> 5, place) {
            (0..=2, Some(place)) => {
                let answer = u32::from(decision);
                let spawned = place.remote.spawn(move || {
                    if answer % 7 == 3 {
                        panic_any(Planned(answer));
                    }
                    async move {
                        yield_now().await;
                        answer
                    }
                });
                place.remotes.set(place.remotes.get() + 1);
                match spawned {
                    Ok(handle) if self.remotes.borrow().len() < 8 => {
                        self.remotes.borrow_mut().push(handle)
                    }
                    spawned => drop(spawned.expect("the runtime lives")),
                }
            }
            (3 | 4, Some(place)) => place.remote.wake(),
            _ => {
                let Where::Poll(who, cx) = from else { return };
                let Some(pick) = self.input.pick(self.remotes.borrow().len()) else { return };
                let mut handle = self.remotes.borrow_mut().swap_remove(pick);
                if let Some(who) = *who {
                    self.records.borrow_mut()[who].loose = true;
                }
                match Pin::new(&mut handle).poll(cx) {
                    Poll::Pending => self.remotes.borrow_mut().push(handle),
                    Poll::Ready(result) => drop(result),
                }
            }
        }
    }

    /// A turn of a runtime inside of whatever runs here.
    fn another_turn(self: &Rc<World>) {
        let at = self.input.below(3);
        if at >= self.places.borrow().len() || self.depth.get() >= 3 {
            return;
        }
        let Some(place) = self.place(at) else { return };
        if place.running.get() {
            // Its own turn is refused; any call of it must leave things as they were.
            let runtime = place.runtime.clone();
            must_panic("a turn inside its own", || drop(runtime.turn(Some(Duration::ZERO))));
            return;
        }
        self.depth.set(self.depth.get() + 1);
        self.turn(at, &place);
        self.depth.set(self.depth.get() - 1);
    }

    fn misuse(self: &Rc<World>) {
        if self.current.get().is_none() {
            must_panic("spawn outside", || drop(waken::spawn(async {})));
            must_panic("a name outside", || drop(waken::runtime::remote()));
        }
    }

    /// The next command, with another runtime current, or made so again.
    fn under_another(self: &Rc<World>, from: &mut Where<'_, '_>) {
        let at = self.input.below(3);
        if at >= self.places.borrow().len() || self.depth.get() >= 3 {
            return;
        }
        let Some(place) = self.place(at) else { return };
        let _guard = place.runtime.enter();
        self.depth.set(self.depth.get() + 1);
        self.with_current(Some(at), || match from {
            // The context is that of the poll around, which is another runtime's now.
            Where::Poll(..) | Where::Outside => self.command(&mut Where::Outside),
            Where::Drop => self.command(&mut Where::Drop),
        });
        self.depth.set(self.depth.get() - 1);
    }

    // ---- the root --------------------------------------------------------------------------------

    fn block_on(self: &Rc<World>, runtime: usize, place: &Rc<Place>) {
        if place.propagates {
            return;
        }
        let mut polls = self.input.below(6);
        let world = self;
        // Turns are not ours to count in here.
        place.running.set(true);
        let turn = place.turn.replace(0);
        let result = self.with_current(Some(runtime), || {
            place.runtime.block_on(std::future::poll_fn(|cx| {
                world.command(&mut Where::Poll(None, cx));
                if polls == 0 {
                    return Poll::Ready(7);
                }
                polls -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }))
        });
        place.turn.set(turn + 1);
        place.running.set(false);
        assert_eq!(result, 7);
    }
}

pub fn run(bytes: &[u8]) {
    let world = Rc::new(World {
        input: Input::new(bytes),
        clock: clock::stop(),
        records: RefCell::default(),
        wakes: Cell::new(0),
        wakers: RefCell::default(),
        handles: RefCell::default(),
        aborts: RefCell::default(),
        groups: RefCell::default(),
        sleeps: RefCell::default(),
        remotes: RefCell::default(),
        places: RefCell::default(),
        current: Cell::new(None),
        depth: Cell::new(0),
        ending: RefCell::default(),
    });
    world.new_runtime();
    while !world.input.is_over() {
        let at = world.input.byte();
        let runtime = at as usize % world.places.borrow().len();
        let Some(place) = world.place(runtime) else {
            world.new_runtime_if_none();
            world.command(&mut Where::Outside);
            continue;
        };
        match at >> 5 {
            0 | 1 => drop(world.turn(runtime, &place)),
            2 => world.block_on(runtime, &place),
            3 => {
                drop(place);
                world.command(&mut Where::Outside);
                continue;
            }
            _ => {
                let _guard = place.runtime.enter();
                world.with_current(Some(runtime), || world.command(&mut Where::Outside));
            }
        }
        world.check(runtime);
    }
    world.finish();
    let left = Rc::strong_count(&world);
    assert_eq!(left, 1, "{} futures or outputs have leaked", left - 1);
}

impl World {
    fn new_runtime_if_none(&self) {
        let places = self.places.borrow();
        if places.iter().all(Option::is_none) && places.len() < 3 {
            drop(places);
            self.new_runtime();
        }
    }

    /// Everything that is ready runs, the runtimes end, and nothing is left.
    fn finish(self: &Rc<World>) {
        let count = self.places.borrow().len();
        for runtime in 0..count {
            let Some(place) = self.place(runtime) else { continue };
            let mut turns = 0;
            while self.turn(runtime, &place) == Next::Now {
                turns += 1;
                assert!(turns < 2000, "it never comes to rest");
            }
            self.check(runtime);
        }
        for runtime in 0..count {
            self.end_runtime(runtime);
            assert!(self.is_over(runtime));
        }
        // What was kept: nothing of it may reach into a runtime that is gone, or into another.
        for (waker, ..) in self.wakers.take() {
            waker.wake();
        }
        for (abort, id) in self.aborts.take() {
            abort.abort();
            assert!(abort.is_finished(), "task {id} outlives its runtime");
        }
        let mut nobody = Context::from_waker(Waker::noop());
        for (handle, id) in self.handles.take() {
            let result = match handle {
                Handle::Join(mut handle) => Pin::new(&mut handle).poll(&mut nobody),
                Handle::AbortOnDrop(mut handle) => Pin::new(&mut handle).poll(&mut nobody),
            };
            let Poll::Ready(result) = result else { panic!("task {id} cannot be joined any more") };
            self.check_result(id, &result);
        }
        for mut handle in self.remotes.take() {
            let polled = Pin::new(&mut handle).poll(&mut nobody);
            assert!(polled.is_ready(), "a remote join waits for a runtime that has ended");
        }
        drop(self.groups.take());
        drop(self.sleeps.take());
        for (id, record) in self.records.borrow().iter().enumerate() {
            assert!(record.end.is_some(), "task {id} was never dropped");
            assert_eq!(record.outputs, 0, "the output of task {id} has leaked");
        }
    }
}
