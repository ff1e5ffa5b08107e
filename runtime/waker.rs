//! What a number does when it is woken: the vtable behind our wakers, and the way home.
//!
//! Nothing is behind a number: a clone copies it, a drop does nothing, nobody can keep a task
//! alive by it or reach into one. A wake on the runtime's own thread is a mark and a push; from
//! anywhere else it is a letter.

use crate::current;
use crate::forgotten;
use crate::mailbox::Mailbox;
use crate::number::Number;
use crate::spawned::contain;
use crate::sys::{self, COUNTS_CLONES, NumberTable, WakeNumber};
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Waker;

impl Number {
    /// The number behind `waker`, if it is one of ours.
    #[inline]
    pub(crate) fn behind(waker: &Waker) -> Option<Number> {
        TABLE.number_of(waker).map(Number::from_bits)
    }

    pub(crate) fn waker(self) -> Waker {
        sys::number_waker::<Task>(self.to_bits())
    }

    /// Makes the task ready: at once on its own thread, by letter from elsewhere.
    #[inline(always)]
    pub(crate) fn wake(self) {
        if self.runtime() != current::runtime() as u16 {
            self.post();
        } else if !current::executor(|executor| executor.schedule(self)) {
            self.wake_late();
        }
    }

    #[cold]
    fn wake_late(self) {
        current::executor(|executor| executor.schedule_late(self));
    }

    #[cold]
    fn post(self) {
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        let mailbox = registry.get(self.runtime()).map(|(_, mailbox)| mailbox.clone());
        drop(registry);
        if let Some(mailbox) = mailbox {
            mailbox.wake(self);
        }
    }
}

/// The one kind of waker there is.
enum Task {}

/// One `static`, never a constant: `Waker::will_wake` compares its address.
static TABLE: NumberTable<Task> = NumberTable::new();

impl WakeNumber for Task {
    fn table() -> &'static NumberTable<Task> {
        &TABLE
    }

    #[inline(always)] // Two functions of the table are this one.
    fn wake(number: u64) {
        Number::from_bits(number).wake();
    }

    fn count(number: u64, made: bool) {
        let number = Number::from_bits(number);
        trace!(Counted { number, made });
        if !cfg!(debug_assertions) {
            return;
        }
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        if registry.get(number.runtime()).is_some() {
            forgotten::count(number, made);
        }
    }
}

/// Wakes somebody's waker. A foreign one may panic; the others of its batch must not suffer.
#[inline]
pub(crate) fn wake_contained(waker: Waker) {
    match Number::behind(&waker) {
        Some(number) => {
            forget(waker);
            number.wake();
        }
        None => wake_foreign(waker),
    }
}

#[cold]
fn wake_foreign(waker: Waker) {
    // Apart, since a second panic while the first one unwinds would end the process.
    contain(|| waker.wake_by_ref());
    contain(|| drop(waker));
}

/// Drops a waker that was kept for somebody. Its panic is nobody's business here.
#[inline]
pub(crate) fn drop_contained(waker: Waker) {
    match Number::behind(&waker) {
        Some(_) => forget(waker),
        None => drop_foreign(waker),
    }
}

#[cold]
#[inline(never)]
fn drop_foreign(waker: Waker) {
    contain(|| drop(waker));
}

/// A waker of ours is a number, so there is nothing to drop, but for the count of its clones.
#[inline]
fn forget(waker: Waker) {
    if !COUNTS_CLONES {
        mem::forget(waker);
    }
}

// ---- the registry: runtime → mailbox ----------------------------------------------------------

/// The living runtimes of this process.
///
/// Each has a serial that no other one ever gets, by which sockets, timers and handles know it. A waker has
/// room for the low half only; that comes round, late, and then costs a spurious poll at most.
struct Registry {
    last: u32,
    /// In the order of their low halves. A list, since there are few, and they begin and end seldom: a search tree
    /// would be ten KiB of code in every program.
    mailboxes: Vec<(u32, Arc<Mailbox>)>,
}

static REGISTRY: RwLock<Registry> = RwLock::new(Registry { last: 0, mailboxes: Vec::new() });

impl Registry {
    /// Where the runtime with this half of a serial is, or else would be.
    fn find(&self, half: u16) -> Result<usize, usize> {
        self.mailboxes.binary_search_by_key(&half, |(serial, _)| *serial as u16)
    }

    fn get(&self, half: u16) -> Option<&(u32, Arc<Mailbox>)> {
        self.find(half).ok().map(|place| &self.mailboxes[place])
    }
}

/// Gives a new runtime its serial. 0 is nobody's, nor is any that ends in 16 zeros.
pub(crate) fn register(mailbox: &Arc<Mailbox>) -> io::Result<u32> {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    if registry.mailboxes.len() == u16::MAX as usize {
        return Err(io::Error::other(
            "waken: 65,535 runtimes are alive in this process, and a waker has no room for more",
        ));
    }
    loop {
        registry.last = registry.last.wrapping_add(1);
        let serial = registry.last;
        if let (true, Err(place)) = (serial as u16 != 0, registry.find(serial as u16)) {
            registry.mailboxes.insert(place, (serial, mailbox.clone()));
            return Ok(serial);
        }
    }
}

pub(crate) fn unregister(serial: u32) {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let mailbox = registry.find(serial as u16).map(|place| registry.mailboxes.remove(place));
    if registry.mailboxes.is_empty() {
        registry.mailboxes = Vec::new();
    }
    drop(registry);
    drop(mailbox);
    if cfg!(debug_assertions) {
        forgotten::unregister(serial);
    }
}

/// The mailbox of the runtime with this serial, while it lives.
#[cold]
pub(crate) fn mailbox_of(serial: u32) -> Option<Arc<Mailbox>> {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    match registry.get(serial as u16) {
        Some((living, mailbox)) if *living == serial => Some(mailbox.clone()),
        _ => None,
    }
}
