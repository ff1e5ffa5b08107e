//! A waker is a number. The packing, the vtable behind it, and the way a number goes home.
//!
//! ```text
//!  63         48 47         32 31                     0
//! ┌─────────────┬─────────────┬────────────────────────┐
//! │   runtime   │ generation  │       task index       │   = Waker::data
//! └─────────────┴─────────────┴────────────────────────┘
//! ```
//!
//! Nothing is behind the number: a clone copies it, a drop does nothing, nobody can keep a task
//! alive by it or reach into one. A wake on the runtime's own thread is a flag and a push; from
//! anywhere else it is a letter. The generation is the low half of the slab's stamp, which counts all
//! tasks. So a *late* wake, of a task that has ended, can be taken for another's: when that has the same
//! index and was spawned a multiple of 65,536 tasks later. It costs a poll too many, which the contract allows.

use crate::current::{self, ROOT};
use crate::mailbox::Mailbox;
use crate::sys::{self, NumberTable, WakeNumber};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Waker;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u64);

impl Number {
    /// Of the runtime's serial the low 16 bits have room here.
    pub(crate) fn of_task(runtime: u32, index: u32, generation: u16) -> Number {
        Number((runtime as u64) << 48 | (generation as u64) << 32 | index as u64)
    }

    pub(crate) fn of_root(runtime: u32) -> Number {
        Number::of_task(runtime, ROOT, 0)
    }

    pub(crate) fn from_bits(bits: u64) -> Number {
        Number(bits)
    }

    /// The number behind `waker`, if it is one of ours.
    #[inline]
    pub(crate) fn behind(waker: &Waker) -> Option<Number> {
        TABLE.number_of(waker).map(Number)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn runtime(self) -> u16 {
        (self.0 >> 48) as u16
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn waker(self) -> Waker {
        sys::number_waker::<Task>(self.0)
    }

    /// Makes the task ready: at once on its own thread, by letter from elsewhere.
    #[inline(always)]
    pub(crate) fn wake(self) {
        if self.runtime() == current::runtime() as u16 {
            current::schedule(self.0);
        } else {
            self.post();
        }
    }

    #[cold]
    fn post(self) {
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        let mailbox = registry.mailboxes.get(&self.runtime()).map(|(_, mailbox)| mailbox.clone());
        drop(registry);
        if let Some(mailbox) = mailbox {
            mailbox.wake(self.0);
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

    fn wake(number: u64) {
        Number(number).wake();
    }
}

/// Wakes somebody's waker. A foreign one may panic; the others of its batch must not suffer.
pub(crate) fn wake_contained(waker: Waker) {
    match Number::behind(&waker) {
        Some(number) => number.wake(),
        None => {
            // Apart, since a second panic while the first one unwinds would end the process.
            contain(|| waker.wake_by_ref());
            contain(|| drop(waker));
        }
    }
}

/// Drops a waker that was kept for somebody. Its panic is nobody's business here.
pub(crate) fn drop_contained(waker: Waker) {
    if Number::behind(&waker).is_none() {
        contain(|| drop(waker));
    }
}

/// Runs code of the user's for which nobody waits: a destructor, a foreign waker. The panic hook
/// has printed the panic; here it ends. A payload that panics in its own destructor is leaked.
pub(crate) fn contain(code: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(code)) else {
        return;
    };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

// ---- the registry: runtime → mailbox ----------------------------------------------------------

/// The living runtimes of this process.
///
/// Each has a serial that no other one ever gets, by which sockets, timers and handles know it. A waker has
/// room for the low half only; that comes round, late, and then costs a spurious poll at most.
struct Registry {
    last: u32,
    mailboxes: BTreeMap<u16, (u32, Arc<Mailbox>)>,
}

static REGISTRY: RwLock<Registry> = RwLock::new(Registry { last: 0, mailboxes: BTreeMap::new() });

/// Gives a new runtime its serial. 0 is nobody's, nor is any that ends in 16 zeros.
pub(crate) fn register(mailbox: &Arc<Mailbox>) -> io::Result<u32> {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    if registry.mailboxes.len() == u16::MAX as usize {
        return Err(io::Error::other(
            "waken: 65,535 runtimes are alive in this process, and a waker has no room for more",
        ));
    }
    let mut serial = registry.last;
    loop {
        serial = serial.wrapping_add(1);
        if serial as u16 != 0 && !registry.mailboxes.contains_key(&(serial as u16)) {
            break;
        }
    }
    registry.last = serial;
    registry.mailboxes.insert(serial as u16, (serial, mailbox.clone()));
    Ok(serial)
}

pub(crate) fn unregister(serial: u32) {
    let _mailbox =
        REGISTRY.write().unwrap_or_else(PoisonError::into_inner).mailboxes.remove(&(serial as u16));
}

/// The mailbox of the runtime with this serial, while it lives.
pub(crate) fn mailbox_of(serial: u32) -> Option<Arc<Mailbox>> {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    match registry.mailboxes.get(&(serial as u16)) {
        Some((living, mailbox)) if *living == serial => Some(mailbox.clone()),
        _ => None,
    }
}
