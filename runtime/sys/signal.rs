//! A signal's handler. Part of `sys.rs`.

use super::EventFd;
pub(crate) use libc::SIGINT;
use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// Signals that have come and were not taken, a bit each, and a descriptor that has an edge for each that came.
#[derive(Debug)]
pub(crate) struct Caught {
    pending: AtomicU64,
    event: EventFd,
}

impl Caught {
    pub(crate) fn new() -> io::Result<Caught> {
        Ok(Caught { pending: AtomicU64::new(0), event: EventFd::new()? })
    }

    pub(crate) fn event(&self) -> &EventFd {
        &self.event
    }

    /// Takes a signal out, the lowest first.
    pub(crate) fn take(&self) -> Option<c_int> {
        let signal = self.pending.load(Acquire).trailing_zeros();
        if signal == u64::BITS {
            return None;
        }
        self.pending.fetch_and(!(1 << signal), AcqRel);
        Some(signal as c_int + 1)
    }

    fn put(&self, signal: c_int) {
        self.pending.fetch_or(1 << (signal - 1), AcqRel);
        self.event.signal();
    }
}

/// One registered handler. Dropping it takes that away; what the signal did before anybody handled it does not
/// come back.
#[derive(Debug)]
pub(crate) struct Handler(signal_hook_registry::SigId);

impl Handler {
    #[doc(alias = "sigaction")]
    pub(crate) fn new(signal: c_int, caught: Arc<Caught>) -> io::Result<Handler> {
        if !(1..=64).contains(&signal) || signal_hook_registry::FORBIDDEN.contains(&signal) {
            let why = format!("signal {signal} cannot be handled, signal(7)");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // SAFETY: the handler does nothing that signal-safety(7) forbids: an atomic, and a `write` to a descriptor that
        // lives as long as it does. That cannot fail (an eventfd has room for 2^64 - 2 of them), so `errno` stays.
        // With the feature `trace` the `write` has a hook: it reads an atomic, which the making of that descriptor has set, and then a
        // `write` is none of its events (`is_noise`): no lock, no allocation, nothing of the thread's own.
        let id = unsafe { signal_hook_registry::register(signal, move || caught.put(signal)) };
        id.map(Handler)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.0);
    }
}
