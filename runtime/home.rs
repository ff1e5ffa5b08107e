//! The parts of a runtime, and the way home to them. A socket, a timer and a handle hold numbers; here they find
//! what the numbers mean, from the runtime's own thread or from any other. The loop is in `runtime.rs`.

use crate::alarm::{Alarm, RINGS};
use crate::current::{self, Outer};
use crate::executor::Executor;
use crate::mailbox::{Job, Mailbox};
use crate::number::Number;
use crate::patience::Patience;
use crate::reactor::{Reactor, UNPARK};
use crate::sys::{self, EPOLLIN, Epoll, TimerFd};
use crate::waker;
use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub(crate) struct Parts {
    pub(crate) id: u32,
    pub(crate) process: u32,
    pub(crate) reactor: Reactor,
    pub(crate) mailbox: Arc<Mailbox>,
    /// While it is not lent to the thread.
    executor: RefCell<Option<Executor>>,
    pub(crate) settings: Settings,
    pub(crate) patience: Patience,
    /// Waits that a look has ended, instead of a sleep.
    pub(crate) looks: Cell<u64>,
    /// The loop has run since the last `rest`.
    pub(crate) ran: Cell<bool>,
    /// Somebody runs the loop.
    pub(crate) running: Cell<bool>,
}

/// What `Builder` sets.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) events_per_poll: usize,
    pub(crate) polls_per_turn: usize,
    pub(crate) budget: i32,
    /// How long to look, at most, before falling asleep.
    pub(crate) spin: Duration,
    pub(crate) self_waking_fd: bool,
    /// A panic that nobody will ever join comes out of the loop.
    pub(crate) propagates: bool,
    pub(crate) on_long_poll: Option<OnLongPoll>,
}

/// What to call when a poll took at least as long: with the number of the task, and how long it took.
pub(crate) type OnLongPoll = (Duration, Arc<dyn Fn(&Parts, Number, Duration) + Send + Sync>);

impl Parts {
    pub(crate) fn new(settings: Settings) -> io::Result<Parts> {
        sys::count_forks();
        let epoll = Arc::new(Epoll::new()?);
        let mailbox = Arc::new(Mailbox::new(Arc::downgrade(&epoll))?);
        // What is left over is announced by an event, which must not fill the room of the next ones again.
        let events = settings.events_per_poll + usize::from(settings.self_waking_fd);
        // Without an alarm a timeout does; but not for whoever sleeps on our descriptor.
        let timer = TimerFd::new();
        let alarm = Alarm::new(if settings.self_waking_fd { Some(timer?) } else { timer.ok() });
        let id = waker::register(&mailbox)?;
        let reactor = Reactor::new(id, epoll, events, alarm);
        let watch = |fd, key| reactor.watch(fd, EPOLLIN, key);
        let watched = watch(mailbox.event_fd(), UNPARK)
            .and_then(|()| reactor.alarm.fd().map_or(Ok(()), |fd| watch(fd, RINGS)));
        watched.inspect_err(|_| waker::unregister(id))?;
        let mut executor = Executor::new(id, settings.budget);
        trace!(Start { runtime: id, epoll: reactor.epoll().fd(), eventfd: mailbox.event_fd() });
        executor.clock = sys::coarse_clock();
        executor.propagates = settings.propagates;
        Ok(Parts {
            id,
            process: sys::process(),
            reactor,
            mailbox,
            executor: RefCell::new(Some(executor)),
            patience: Patience::new(settings.spin),
            settings,
            looks: Cell::new(0),
            ran: Cell::new(false),
            running: Cell::new(false),
        })
    }

    /// Nobody runs the loop for the moment. Called while this is still current.
    fn rest(&self) {
        // In a forked child the alarm is the parent's, as all else is.
        if self.process != sys::process() {
            return;
        }
        match self.settings.self_waking_fd {
            false => self.mailbox.rest(false, self.ran.take()),
            true => self.rest_and_tell(),
        }
    }

    /// For a loop that sleeps on our descriptor alone: it becomes readable when there is something to do.
    #[cold]
    #[inline(never)]
    fn rest_and_tell(&self) {
        let (ready, next) =
            current::executor(|executor| (executor.has_ready(), executor.timers.earliest()));
        self.mailbox.rest(ready || self.reactor.more.get(), self.ran.take());
        self.reactor.alarm.announce(next);
    }

    /// Makes this the thread's current runtime, until the result is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let (outer, poll) = (current::runtime(), current::suspend_poll());
        make_current(self.id);
        Entered { parts: self, outer, poll }
    }
}

/// See [`Parts::enter`].
pub(crate) struct Entered<'a> {
    parts: &'a Parts,
    /// Who was current before.
    outer: u32,
    poll: Outer,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let in_order = current::runtime() == self.parts.id;
        // Also when it stays current: a guard may be held around a foreign loop.
        if in_order && !self.parts.running.get() {
            self.parts.rest();
        }
        make_current(if in_order { self.outer } else { 0 });
        // Otherwise the poll that goes on is nobody's, and whoever polls sees that something is wrong.
        if in_order {
            current::resume_poll(&self.poll);
        }
        assert!(
            in_order || thread::panicking(),
            "`EnterGuard`s are to be dropped in the reverse order of their making"
        );
    }
}

thread_local! {
    /// All that live on this thread, current or not: a handle may be dropped outside of `block_on`. Without
    /// destructor, like all that `current.rs` keeps; the last runtime that leaves leaves nothing.
    static HERE: RefCell<ManuallyDrop<Vec<Rc<Parts>>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// Makes the runtime `id` current, or with 0 nobody. An executor stays with the thread until another one goes there.
fn make_current(id: u32) {
    if id != 0 && current::executor(|executor| executor.runtime) != id {
        lend(id);
    }
    current::set_runtime(id);
}

#[cold]
fn lend(id: u32) {
    let next = on_this_thread(id).and_then(|next| next.executor.take());
    let last = current::exchange(next);
    if let Some(owner) = on_this_thread(last.runtime) {
        *owner.executor.borrow_mut() = Some(last);
    }
}

#[inline]
pub(crate) fn current_parts() -> Option<Rc<Parts>> {
    on_this_thread(current::runtime())
}

/// The runtime `id`, if it lives on this thread. Cloned, so that no borrow is held while the caller uses it.
#[inline(never)]
pub(crate) fn on_this_thread(id: u32) -> Option<Rc<Parts>> {
    HERE.with(|here| here.borrow().iter().rev().find(|parts| parts.id == id).cloned())
}

/// Runs `job` while the runtime `id` is current, if it lives on this thread.
#[inline]
pub(crate) fn under<R>(id: u32, job: impl FnOnce() -> R) -> Option<R> {
    if current::runtime() == id {
        return Some(job());
    }
    let parts = on_this_thread(id)?;
    let _current = parts.enter();
    Some(job())
}

/// Runs `job` under the runtime `id`: now, if it lives on this thread, by letter, if on another. When it
/// has ended there is nothing left to be done there, and the job is dropped.
pub(crate) fn at_home(id: u32, job: impl FnOnce(&Parts) + Send + 'static) {
    if let Some(parts) = on_this_thread(id) {
        let _current = enter_unless_current(&parts);
        job(&parts);
    } else if let Some(mailbox) = waker::mailbox_of(id) {
        let there = move || {
            if let Some(parts) = on_this_thread(id) {
                job(&parts);
            }
        };
        post(&mailbox, Box::new(there));
    }
}

/// Not part of `at_home`, which is compiled anew for every job; nor is `post`.
#[inline(never)]
fn enter_unless_current(parts: &Parts) -> Option<Entered<'_>> {
    (current::runtime() != parts.id).then(|| parts.enter())
}

#[cold]
fn post(mailbox: &Mailbox, job: Job) {
    let _ended = mailbox.post(job);
}

/// The current runtime, for what cannot do without.
#[track_caller]
pub(crate) fn expect_current(what: &str) -> Rc<Parts> {
    current_parts().unwrap_or_else(|| panic_outside(what))
}

#[cold]
#[track_caller]
pub(crate) fn panic_outside(what: &str) -> ! {
    panic!(
        "`{what}` outside of a runtime: call it inside `waken::block_on(async {{ … }})`, or under `Runtime::enter`"
    );
}

/// A new runtime lives here.
pub(crate) fn settle(parts: &Rc<Parts>) {
    HERE.with(|here| here.borrow_mut().push(parts.clone()));
}

/// It has ended: the handles that are left find nothing from here on.
pub(crate) fn leave(id: u32) {
    HERE.with(|here| {
        let mut here = here.borrow_mut();
        here.retain(|parts| parts.id != id);
        if here.is_empty() {
            **here = Vec::new();
        }
    });
    drop(current::exchange(None)); // It is current.
}
