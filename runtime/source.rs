//! What the reactor keeps for one descriptor: which directions are ready, and who waits for them.
//!
//! A source is plain numbers in relaxed atomics, so a socket can hold it and be `Send + Sync`, although
//! only the runtime's own thread ever uses it. It has a place for one reader: the *number* of its waker (see
//! `waker.rs`): a few stores, no reference count. Nearly always that is all, so everybody else stands aside, in a table
//! of the thread's: a second reader, one with a foreign waker, and a writer, who waits when the peer is slow.
//!
//! No edge can slip between a call that returns `WouldBlock` and the waiter that is then stored: edges
//! are read in `Reactor::wait` alone, on this thread, and this thread is here. (A foreign waker, when it is cloned or
//! dropped, may run a turn: who stands aside looks again.)

use crate::current;
use crate::forgotten;
use crate::number::Number;
use crate::sorted::Sorted;
use crate::sys::{AtomicLocation, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use crate::waker::drop_contained;
use std::cell::RefCell;
use std::iter;
use std::mem::ManuallyDrop;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;

/// Reading or writing. A type, so that the compiler knows which, wherever we do.
pub(crate) trait Direction: 'static {
    const IS_READ: bool;
    /// Bits of the state: it is ready; somebody may stand aside.
    const READY: u32 = if Self::IS_READ { READ_READY } else { WRITE_READY };
    const ASIDE: u32 = Self::READY << TO_ASIDE;
}

pub(crate) enum Read {}
pub(crate) enum Write {}

impl Direction for Read {
    const IS_READ: bool = true;
}

impl Direction for Write {
    const IS_READ: bool = false;
}

/// The line that waits. `None` through the poll traits, where it is in other people's code.
pub(crate) type At = Option<&'static Location<'static>>;

pub(crate) struct Source {
    /// The bits of the last event (they fit into 14), and what we remember, from `READ_READY` on.
    state: AtomicU32,
    fd: RawFd,
    runtime: u32,
    /// Where it is in the reactor's table.
    pub(crate) index: u32,
    /// How many events there had been when it had one last, as far as the reactor has asked.
    pub(crate) seen: AtomicU32,
    // The place of the reader: who stands there, whose place it is or was last, and where in the program.
    number: AtomicU64,
    ticket: AtomicU32,
    at: AtomicLocation,
}

/// Runtime, source, whether to write, ticket: in that order they are woken.
type Claimed = (u32, u32, bool, u32);

struct Aside {
    others: Sorted<Claimed, (Waker, At)>,
    last_ticket: u32,
}

thread_local! {
    /// Of all sources here, since most have none and all would pay for the room. Without destructor, like all that
    /// `current.rs` keeps; a runtime that ends takes its own out.
    static ASIDE_HERE: RefCell<ManuallyDrop<Aside>> =
        const { RefCell::new(ManuallyDrop::new(Aside { others: Sorted::new(), last_ticket: 0 })) };
}

fn aside<R>(visit: impl FnOnce(&mut Aside) -> R) -> R {
    ASIDE_HERE.with(|aside| visit(&mut aside.borrow_mut()))
}

/// Wakers that stood aside, to be woken or dropped when no borrow is held: foreign ones, most of them.
pub(crate) type Foreign = Vec<Waker>;

/// One pending future's claim to be woken. Taken when it waits, given back when it is dropped.
///
/// ```text
///   0   none        ends in 01   of a place, which counts them: no two in 2^30 are the same
///   2   `POLL`      ends in 00   of one who stands aside
/// ```
#[derive(Debug, Default)]
pub(crate) struct Ticket(u32);

impl Ticket {
    /// The claim of the poll traits, where no future is there to be dropped: the last one who polled has it. A place
    /// knows it by the end, 11.
    pub(crate) const POLL: Ticket = Ticket(2);

    pub(crate) fn is_taken(&self) -> bool {
        self.0 != 0
    }

    /// Takes a place that is free. (`POLL` has the second bit, and no future's ticket does.)
    #[inline]
    fn take(&mut self, place: &AtomicU32) {
        self.0 = (place.load(Relaxed) & !3).wrapping_add(5) | self.0 & 2;
        place.store(self.0, Relaxed);
    }
}

/// What an event says of reading, of urgent data, and of writing, we remember so many bits further up.
const TO_READY: u32 = 16;
const READ_READY: u32 = (EPOLLIN as u32) << TO_READY;
const PRIORITY_READY: u32 = (EPOLLPRI as u32) << TO_READY;
const WRITE_READY: u32 = (EPOLLOUT as u32) << TO_READY;
/// And from "it is ready" so many further "somebody may stand aside", and for a reader "the place is taken".
const TO_ASIDE: u32 = 5;
const TO_WAITS: u32 = 4;
const WAITS: u32 = READ_READY << TO_WAITS;
/// The peer has sent urgent data at least once.
const WAS_URGENT: u32 = 1 << 24;
/// The user had `&mut` to what owns the descriptor.
const LENT: u32 = 1 << 25;
const LAST_EVENT: u32 = READ_READY - 1;

/// All bits of an event but IN and OUT. They all mean that a read may have something to say, and who waits for urgent data
/// learns that none will come any more. HUP and ERR, which come unasked, concern writing as well.
const URGES: i32 = EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
/// Bits after which a short read does not prove that the socket is empty: behind the bytes is an
/// end of file, an error, or the rest of the stream beyond an urgent byte. No further edge comes for it.
const MORE_BEHIND: u32 = (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI) as u32 | WAS_URGENT;

impl Source {
    pub(crate) fn new(runtime: u32, index: u32, fd: RawFd, seen: u32) -> Source {
        Source {
            state: AtomicU32::new(READ_READY | WRITE_READY),
            fd,
            runtime,
            index,
            seen: AtomicU32::new(seen),
            number: AtomicU64::new(0),
            ticket: AtomicU32::new(0),
            at: AtomicLocation::default(),
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    #[inline]
    pub(crate) fn runtime(&self) -> u32 {
        self.runtime
    }

    // ---- readiness ----------------------------------------------------------------------------

    #[inline]
    pub(crate) fn is_ready<D: Direction>(&self) -> bool {
        self.state.load(Relaxed) & D::READY != 0
    }

    /// A call has said `WouldBlock`: whatever was reported before, the next try waits for an edge.
    #[inline]
    pub(crate) fn clear_ready<D: Direction>(&self) {
        trace!(NotReady { source: self.index, reads: D::IS_READ, short: false });
        self.state.store(self.state.load(Relaxed) & !D::READY, Relaxed);
    }

    pub(crate) fn is_priority(&self) -> bool {
        self.state.load(Relaxed) & PRIORITY_READY != 0
    }

    pub(crate) fn clear_priority(&self) {
        self.state.store(self.state.load(Relaxed) & !PRIORITY_READY, Relaxed);
    }

    /// Urgent data was read, perhaps before an event could tell of it: where it was, reads will end.
    #[cold]
    pub(crate) fn was_urgent(&self) {
        self.state.store(self.state.load(Relaxed) | WAS_URGENT, Relaxed);
    }

    /// Its owner may put another descriptor into its place, and close this one: then its number is anybody's.
    pub(crate) fn lend(&self) {
        self.state.store(self.state.load(Relaxed) | LENT, Relaxed);
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.state.load(Relaxed) & LENT != 0
    }

    /// A plain TCP stream gave fewer bytes than were asked for: that was all, unless the last event
    /// said that something else is behind them. Saves one `EAGAIN` read a request.
    #[inline]
    pub(crate) fn short_read(&self) {
        let state = self.state.load(Relaxed);
        if state & MORE_BEHIND == 0 {
            trace!(NotReady { source: self.index, reads: true, short: true });
            self.state.store(state & !READ_READY, Relaxed);
        }
    }

    /// The bits of the last event.
    pub(crate) fn last_event(&self) -> i32 {
        (self.state.load(Relaxed) & LAST_EVENT) as i32
    }

    /// Remembers an event and wakes everybody whom it concerns, nearly always the reader alone; `false` when that was nobody.
    #[inline(always)]
    pub(crate) fn dispatch(&self, bits: i32, foreign: &mut Foreign) -> bool {
        let mut news =
            bits as u32 & LAST_EVENT | ((bits & (EPOLLIN | EPOLLOUT)) as u32) << TO_READY;
        if bits & URGES != 0 {
            news |= urgency(bits);
        }
        let state = self.state.load(Relaxed);
        let concerned = news & (READ_READY | WRITE_READY);
        let woken = state & (concerned << TO_WAITS | concerned << TO_ASIDE);
        self.state.store(state & !(LAST_EVENT | woken) | news, Relaxed);
        if woken != WAITS {
            if woken & !WAITS != 0 {
                self.take_others(woken & Read::ASIDE == 0, woken & Write::ASIDE != 0, foreign);
            }
            if woken & WAITS == 0 {
                return woken != 0;
            }
        }
        trace!(Taken { source: self.index });
        self.reader().wake();
        true
    }

    // ---- waiters ------------------------------------------------------------------------------

    /// The next event of this direction wakes `waker`. Called at every poll that stays pending.
    #[inline]
    pub(crate) fn wait<D: Direction>(&self, ticket: &mut Ticket, waker: &Waker, at: At) {
        let state = self.state.load(Relaxed);
        let free = state & (WAITS | Read::ASIDE) == 0;
        match Number::behind(waker) {
            Some(number) if D::IS_READ && (free || self.has_place(state, ticket)) => {
                if free {
                    ticket.take(&self.ticket);
                    self.state.store(state | WAITS, Relaxed);
                }
                self.number.store(number.to_bits(), Relaxed);
                self.at.set(at);
                trace!(Wait { place: self.claimed(false, 0), number: Some(number), at });
                if cfg!(debug_assertions) {
                    current::leave_number();
                    if number.runtime() != self.runtime as u16 {
                        forgotten::count(number, true);
                    }
                }
            }
            _ => self.wait_aside::<D>(ticket, waker, at),
        }
    }

    #[cold]
    fn wait_aside<D: Direction>(&self, ticket: &mut Ticket, waker: &Waker, at: At) {
        if ticket.is_taken() && self.stands_aside::<D>(ticket, waker, at) {
            return;
        }
        let was_ready = self.is_ready::<D>();
        self.stop_waiting::<D>(&mut Ticket(ticket.0)); // A copy: it may be kept.
        // A waker's clone and drop may be the user's code: never under a borrow.
        let other = (waker.clone(), at);
        let old = aside(|aside| {
            if ticket.0 != Ticket::POLL.0 {
                aside.last_ticket = aside.last_ticket.wrapping_add(4).max(4);
                ticket.0 = aside.last_ticket;
            }
            let claimed = self.claimed(!D::IS_READ, ticket.0);
            trace!(Wait { place: claimed, number: Number::behind(waker), at });
            aside.others.insert(claimed, other)
        });
        self.state.store(self.state.load(Relaxed) | D::ASIDE, Relaxed);
        old.into_iter().for_each(|(old, _)| drop_contained(old));
        // That code may have run a turn, and taken the edge that this is to wait for.
        if !was_ready && self.is_ready::<D>() {
            self.stop_waiting::<D>(ticket);
            waker.wake_by_ref();
        }
    }

    /// Whether this waker stands there already: it is not cloned again, however often its future is polled.
    fn stands_aside<D: Direction>(&self, ticket: &Ticket, waker: &Waker, at: At) -> bool {
        let claimed = self.claimed(!D::IS_READ, ticket.0);
        aside(|aside| match aside.others.get_mut(&claimed) {
            Some((kept, line)) if kept.will_wake(waker) => {
                trace!(Wait { place: claimed, number: Number::behind(waker), at });
                *line = at;
                true
            }
            _ => false,
        })
    }

    /// A pending future is dropped, or done: it leaves no waker behind.
    pub(crate) fn stop_waiting<D: Direction>(&self, ticket: &mut Ticket) {
        let state = self.state.load(Relaxed);
        if D::IS_READ && self.has_place(state, ticket) {
            trace!(GiveUp { place: self.claimed(false, 0) });
            self.state.store(state & !WAITS, Relaxed);
        } else if state & D::ASIDE != 0 {
            let old = aside(|aside| aside.others.remove(&self.claimed(!D::IS_READ, ticket.0)));
            old.into_iter().for_each(|(old, _)| {
                trace!(GiveUp { place: self.claimed(!D::IS_READ, ticket.0) });
                drop_contained(old);
            });
        }
        ticket.0 = 0;
    }

    /// Gives back the claim of the poll traits, if it is that of `waker`: another task may have come meanwhile.
    pub(crate) fn stop_kept<D: Direction>(&self, waker: &Waker) {
        let key = self.claimed(!D::IS_READ, Ticket::POLL.0);
        let is_ours = match D::IS_READ && self.has_place(self.state.load(Relaxed), &Ticket::POLL) {
            true => Number::behind(waker) == Some(self.reader()),
            false => {
                aside(|aside| aside.others.get_mut(&key).is_some_and(|(it, _)| it.will_wake(waker)))
            }
        };
        if is_ours {
            self.stop_waiting::<D>(&mut { Ticket::POLL });
        }
    }

    /// Who stands in the place, or was the last to.
    #[inline(always)]
    fn reader(&self) -> Number {
        Number::from_bits(self.number.load(Relaxed))
    }

    fn has_place(&self, state: u32, ticket: &Ticket) -> bool {
        let holder = self.ticket.load(Relaxed);
        let is_poll = ticket.0 == Ticket::POLL.0 && holder & 2 != 0;
        state & WAITS != 0 && (holder == ticket.0 || is_poll)
    }

    fn claimed(&self, writes: bool, ticket: u32) -> Claimed {
        (self.runtime, self.index, writes, ticket)
    }

    /// Takes out who stands aside here, from one direction to another.
    #[cold]
    fn take_others(&self, from: bool, to: bool, out: &mut Foreign) {
        let range = self.claimed(from, 0)..=self.claimed(to, u32::MAX);
        out.extend(aside(|aside| take(aside, range)));
        trace!(TakenAside { of: (self.runtime, self.index), reads: !from, writes: to });
    }

    /// The reactor has forgotten it: no edge will come. Gives back the wakers of those who stand aside.
    pub(crate) fn close(&self) -> Foreign {
        let (mut others, state) = (Foreign::new(), self.state.load(Relaxed));
        if state & (Read::ASIDE | Write::ASIDE) != 0 {
            self.state.store(state & !(Read::ASIDE | Write::ASIDE), Relaxed);
            self.take_others(false, true, &mut others);
        }
        others
    }

    /// Shows everybody who waits here: whether to read (or to write), and where.
    pub(crate) fn for_each(&self, mut show: impl FnMut(Option<Number>, bool, At)) {
        if self.state.load(Relaxed) & WAITS != 0 {
            show(Some(self.reader()), true, self.at.get());
        }
        aside(|aside| {
            let range = self.claimed(false, 0)..=self.claimed(true, u32::MAX);
            for ((_, _, writes, _), (waker, at)) in aside.others.range(range) {
                show(Number::behind(waker), !writes, *at);
            }
        });
    }
}

/// The runtime ends: the wakers of all who stand aside on this thread, for the caller to drop.
pub(crate) fn close_all(runtime: u32) -> Foreign {
    let all = (runtime, 0, false, 0)..=(runtime, u32::MAX, true, u32::MAX);
    let wakers = aside(|aside| take(aside, all));
    // When the thread ends nobody frees it.
    aside(|aside| aside.others.give_back());
    wakers
}

fn take(aside: &mut Aside, range: RangeInclusive<Claimed>) -> Foreign {
    iter::from_fn(|| aside.others.take_first(&range)).map(|(waker, _)| waker).collect()
}

/// What an event with any of `URGES` adds to the state.
#[cold]
fn urgency(bits: i32) -> u32 {
    let writes = if bits & (EPOLLHUP | EPOLLERR) != 0 { WRITE_READY } else { 0 };
    let was = if bits & EPOLLPRI != 0 { WAS_URGENT } else { 0 };
    READ_READY | PRIORITY_READY | writes | was
}
