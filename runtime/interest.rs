//! What to wait for, and what a descriptor is ready for: the two words of the readiness layer.

use crate::source::{Read, Source, Write};
use crate::sys::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use std::ops::BitOr;

/// What to wait for: [`READABLE`](Interest::READABLE), [`WRITABLE`](Interest::WRITABLE), urgent data
/// ([`PRIORITY`](Interest::PRIORITY)), or any of them, joined by `|`.
///
/// ```
/// use waken::io::Interest;
/// let either = Interest::READABLE | Interest::WRITABLE;
/// assert_ne!(either, Interest::READABLE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// There may be something to read, an end of file and an error included.
    pub const READABLE: Interest = Interest(1);
    /// There may be room to write.
    pub const WRITABLE: Interest = Interest(2);
    /// There is urgent data (`EPOLLPRI`, see epoll_ctl(2)), or there will be none any more. A call that
    /// reads it (`recv` with `MSG_OOB`) says `EINVAL` when none is there: make that `WouldBlock` for
    /// `async_io`.
    pub const PRIORITY: Interest = Interest(4);

    pub(crate) const ALL: Interest = Interest(7);

    pub(crate) fn has(self, other: Interest) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn has_all(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// The events to ask epoll for.
    pub(crate) fn bits(self) -> i32 {
        let pairs = [
            (Interest::READABLE, EPOLLIN | EPOLLRDHUP),
            (Interest::WRITABLE, EPOLLOUT),
            // The end of what the peer sends is the end of its urgent data too.
            (Interest::PRIORITY, EPOLLPRI | EPOLLRDHUP),
        ];
        pairs
            .iter()
            .filter(|(interest, _)| self.has(*interest))
            .fold(0, |all, (_, bits)| all | bits)
    }

    pub(crate) fn reads(self) -> bool {
        self.has(Interest::READABLE | Interest::PRIORITY)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// What a socket is ready for. A hint, as epoll(7) gives it: the operation itself has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u8);

impl Ready {
    const READ_CLOSED: u8 = 8;
    const WRITE_CLOSED: u8 = 16;
    const ERROR: u8 = 32;

    /// A read may have something to say.
    pub fn is_readable(self) -> bool {
        self.0 & Interest::READABLE.0 != 0
    }

    /// A write may find room.
    pub fn is_writable(self) -> bool {
        self.0 & Interest::WRITABLE.0 != 0
    }

    /// The peer writes no more (`EPOLLRDHUP` or `EPOLLHUP`). There may still be bytes to read.
    pub fn is_read_closed(self) -> bool {
        self.0 & Ready::READ_CLOSED != 0
    }

    /// Writing is over (`EPOLLHUP` or `EPOLLERR`).
    pub fn is_write_closed(self) -> bool {
        self.0 & Ready::WRITE_CLOSED != 0
    }

    /// The socket has an error (`EPOLLERR`); the next operation returns it.
    pub fn is_error(self) -> bool {
        self.0 & Ready::ERROR != 0
    }

    /// There is urgent data (`EPOLLPRI`).
    pub fn is_priority(self) -> bool {
        self.0 & Interest::PRIORITY.0 != 0
    }

    /// What `source` is ready for of `interest`; `None` when that is nothing.
    pub(crate) fn of(source: &Source, interest: Interest) -> Option<Ready> {
        let mut ready = 0;
        if source.is_ready::<Read>() {
            ready |= Interest::READABLE.0;
        }
        if source.is_ready::<Write>() {
            ready |= Interest::WRITABLE.0;
        }
        if source.is_priority() {
            ready |= Interest::PRIORITY.0;
        }
        ready &= interest.0;
        if ready == 0 {
            return None;
        }
        let last = source.last_event();
        if last & EPOLLPRI == 0 {
            // The wait for urgent data is over, but there is none.
            ready &= !Interest::PRIORITY.0;
        }
        let closed = [
            (EPOLLRDHUP | EPOLLHUP, Ready::READ_CLOSED),
            (EPOLLHUP | EPOLLERR, Ready::WRITE_CLOSED),
        ];
        for (bits, meaning) in closed.into_iter().chain([(EPOLLERR, Ready::ERROR)]) {
            if last & bits != 0 {
                ready |= meaning;
            }
        }
        Some(Ready(ready))
    }
}
