//! In place of `runtime/patience.rs`, which decides by the clock: with any patience at all this looks twice before
//! every sleep, so that a letter can come before, between and after the looks.

use std::real::cell::Cell;
use std::time::Duration;

pub(crate) struct Patience {
    limit: Duration,
    looks: Cell<u8>,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience { limit, looks: Cell::new(0) }
    }

    pub(crate) fn hastens(&self, _crowd: u32) -> bool {
        true
    }

    pub(crate) fn is_none(&self) -> bool {
        self.limit.is_zero()
    }

    pub(crate) fn expects(&self, _: bool, _: u64) -> bool {
        true
    }

    pub(crate) fn is_to_time(&self) -> bool {
        false
    }

    pub(crate) fn limit(&self) -> Duration {
        self.looks.set(0);
        Duration::from_secs(3600)
    }

    pub(crate) fn found(&self, _: Duration) {}

    pub(crate) fn in_vain(&self, _: Duration) {}

    pub(crate) fn slept(&self, _: Duration) {}

    pub(crate) fn was_away(&self, _: Duration) -> bool {
        self.looks.set(self.looks.get() + 1);
        self.looks.get() == 2
    }
}
