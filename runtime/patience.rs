//! Whether to look once more before falling asleep, learnt from how the last waits went. Knows neither the
//! kernel nor the clock: it is told.
//!
//! To fall asleep and be woken takes tens of microseconds, more than everything else when few connections are
//! active. If the next event is nearer than that, the thread had better stay awake and *look* again and again, by an
//! `epoll_wait` that does not wait. But looking in vain costs somebody a core. So an account is kept, in
//! nanoseconds, and there is a look only while it is not overdrawn:
//!
//! ```text
//!   a look found something    + limit, the sleep that was saved, - the time it took
//!   a look found nothing      - the time it took, which is at most limit
//!   a sleep was short         + limit / 64
//!   the core was taken away   overdrawn by 4 limits: somebody else needs it
//! ```
//!
//! So looking never costs more than `limit` for each sleep that it saves. A runtime that is idle does not look at all: it is
//! out of credit after a few looks in vain, and only sleeps that an event ended soon bring it back.
//!
//! And there is a look only where it hastens somebody: in a conversation, of few. Bytes that pour in do not pour
//! faster because we are awake; and where many are under way, some of them come while others are served. (Also where each
//! wait finds few of them, since we are quicker than whoever sends: awake we would only serve them in smaller pieces.)

use std::cell::Cell;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Patience {
    limit_ns: i64,
    account: Cell<i64>,
    /// Without a look before them.
    sleeps: Cell<u8>,
    /// All events until the wait before.
    seen: Cell<u64>,
}

/// So long nobody stays away who was only interrupted. A thread that has lost its core to another one does.
const TAKEN_AWAY: Duration = Duration::from_micros(500);
/// Short sleeps that make up for one look in vain. One in eight is timed.
const SLEEPS: i64 = 64;
/// The credit for many looks that paid is worth so many that do not.
const CREDIT: i64 = 16;
/// Events between two waits, up to which looking makes answers come sooner. From eight connections on it did not.
const FEW: u64 = 4;
/// Descriptors that take turns, one or a few at a time: where more do, nobody looks. With 16 it may pay, with 1,000 it did not.
const CROWD: u32 = 32;

impl Patience {
    /// With zero there is never a look. Trust is earned: at first there is none either.
    pub(crate) fn new(limit: Duration) -> Patience {
        // An hour is for ever, and no sum of a few dozen of it overflows.
        let limit_ns = limit.min(Duration::from_secs(3600)).as_nanos() as i64;
        Patience {
            limit_ns,
            account: Cell::new(-limit_ns),
            sleeps: Cell::new(0),
            seen: Cell::new(0),
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.limit_ns == 0
    }

    /// Whether what comes next may be an answer that is waited for: somebody was talked with since the last wait, and
    /// of the events, `seen` so far in all, few came since then.
    pub(crate) fn expects(&self, talked: bool, seen: u64) -> bool {
        let before = self.seen.replace(seen);
        talked && seen - before <= FEW
    }

    /// Whether to look hastens anybody where so many descriptors take turns.
    pub(crate) fn hastens(&self, crowd: u32) -> bool {
        crowd <= CROWD
    }

    /// Whether to look at the clock for a sleep that begins without a look: for one in eight. It costs a few percent of a
    /// short one.
    pub(crate) fn is_to_time(&self) -> bool {
        self.sleeps.set(self.sleeps.get().wrapping_add(1));
        self.sleeps.get() % 8 == 0
    }

    /// For how long to look now, at most.
    pub(crate) fn limit(&self) -> Duration {
        match self.account.get() < 0 {
            true => Duration::ZERO,
            false => Duration::from_nanos(self.limit_ns as u64),
        }
    }

    /// A look has found something after so long.
    pub(crate) fn found(&self, after: Duration) {
        self.add(self.limit_ns - nanos(after));
    }

    /// A look has found nothing in so long.
    pub(crate) fn in_vain(&self, looked: Duration) {
        self.add(-nanos(looked));
    }

    /// The thread slept so long, until an event came. Being woken is a good part of a short sleep.
    pub(crate) fn slept(&self, asleep: Duration) {
        if nanos(asleep) < 2 * self.limit_ns {
            self.add((self.limit_ns / SLEEPS).max(1));
        }
    }

    /// So long passed from one look to the next. Says whether that was another thread's doing.
    pub(crate) fn was_away(&self, away: Duration) -> bool {
        let taken = away >= TAKEN_AWAY;
        if taken {
            self.account.set(-4 * self.limit_ns);
        }
        taken
    }

    fn add(&self, ns: i64) {
        self.account.set((self.account.get() + ns).min(CREDIT * self.limit_ns));
    }
}

fn nanos(time: Duration) -> i64 {
    time.as_nanos().min(i64::MAX as u128 >> 8) as i64
}

#[cfg(test)]
#[path = "../tests/inner/patience.rs"]
mod tests;
