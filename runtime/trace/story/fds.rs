//! Descriptors: registered, tried, waited for, told of by the kernel.

use super::{BTreeSet, Cause, Fd, Number, RawFd, Story, Touched};
use crate::alarm::RINGS;
use crate::slab::{Key, NONE};
use crate::sys::{EPOLLERR, EPOLLHUP, EPOLLOUT, errno_name, is_would_block};
use crate::trace::holders::{Claim, PLACE};
use crate::trace::recorder::At;
use crate::trace::state::{Holder, able, name};
use crate::trace::step::Step;
use crate::trace::tell::bits;

impl Story {
    pub(super) fn register(&mut self, step: &mut Step, number: RawFd, interest: i32, key: Key) {
        self.touched.insert(Touched::Fd(key.index));
        let fd = Fd { number, key: key.to_bits(), interest, is_ready: [true; 2], ..Fd::default() };
        self.fds.insert(key.index, fd);
        self.registered.insert(number, key.index);
        let why = "Registered once for its whole life, edge-triggered. It counts as ready: to try is the cheapest way to ask.";
        step.tell(
            "register",
            format!("epoll_ctl(ADD, fd {number}, {}|ET) = 0", bits(interest)),
            why,
        );
    }

    /// On another thread. What waits there waits until the letter has come.
    pub(super) fn removed(&mut self, step: &mut Step, number: RawFd, thread: u32) {
        self.registered.remove(&number);
        let why = "A socket is dropped on another thread. It is taken out of epoll before its number may be another's; the runtime is told by letter.";
        step.by(format!("thread {thread}")).tell(
            "deregister",
            format!("epoll_ctl(DEL, fd {number})"),
            why,
        );
        step.depth = 0;
    }

    pub(super) fn deregister(&mut self, step: &mut Step, source: u32) {
        for holder in [self.holder(source, true), self.holder(source, false)] {
            let claims: Vec<Claim> = self.holders.at(holder).map(|it| it.0).collect();
            claims.into_iter().for_each(|claim| self.let_go(holder, claim));
        }
        self.touched.insert(Touched::Fd(source));
        let number = self.fds.remove(&source).map_or(-1, |fd| fd.number);
        if self.registered.get(&number) == Some(&source) {
            self.registered.remove(&number);
            let why = "Before the descriptor is closed: its number may be another's at once.";
            step.tell("deregister", format!("epoll_ctl(DEL, fd {number})"), why);
        } else {
            let why = "It is out of epoll already: it was dropped on another thread, or its owner has closed it. Its number may be another's by now, so it is known by its key.";
            step.tell("deregister", format!("what was fd {number} is forgotten"), why);
        }
    }

    pub(super) fn call(
        &mut self,
        step: &mut Step,
        call: &str,
        first: i64,
        result: Result<i64, i32>,
    ) {
        // A call that moves nothing says nothing of readiness.
        if !["fcntl", "getsockname", "getsockopt", "setsockopt"].contains(&call) {
            let source = RawFd::try_from(first).ok().and_then(|fd| self.registered.get(&fd));
            if let Some((source, fd)) = source.and_then(|it| Some((*it, self.fds.get_mut(it)?))) {
                if fd.last_call.replace(result).is_none() {
                    self.called.push(source);
                }
            }
        }
        let (told, why) = match result {
            Ok(n) => (n.to_string(), "A system call, which does not wait."),
            Err(code) if is_would_block(code) => (
                errno_name(code),
                "Nothing is there at the moment. That is no error: it means, wait for the next edge.",
            ),
            Err(code) => (errno_name(code), "An error: whoever asked is told."),
        };
        step.tell("syscall", format!("{call}({first}) = {told}"), why);
    }

    /// An event, by the datum that epoll carries for us.
    pub(super) fn ready(&mut self, step: &mut Step, datum: u64, events: i32) {
        step.by("rt");
        let source = datum as u32;
        let is_there = self.fds.get(&source).is_some_and(|fd| fd.key == datum);
        if let Some(fd) = if is_there { self.fd_mut(source) } else { None } {
            fd.is_ready[0] |= events & !EPOLLOUT != 0;
            fd.is_ready[1] |= events & (EPOLLOUT | EPOLLHUP | EPOLLERR) != 0;
            let fd = fd.number;
            self.cause = Cause::Event(fd, events);
            let why = format!(
                "An edge: this has changed at fd {fd}. It is told once, so it is remembered until a call says `WouldBlock`."
            );
            step.tell("event", format!("fd {fd} {}", bits(events)), why);
        } else if datum == RINGS.to_bits() {
            self.cause = Cause::Outside;
            let why = "It was set for a timer that is far away, so that the loop need not look at the clock until now.";
            step.tell("event", "the alarm: look at the timers", why);
        } else if source == NONE {
            self.cause = Cause::Letters;
            let why =
                "Another thread has written the eventfd, to end the sleep. There are letters.";
            step.tell("event", "the eventfd: look up", why);
        } else {
            self.cause = Cause::Outside;
            let why = "Its key means no descriptor any more: a duplicate of a closed one. The stamp in the key tells.";
            step.tell("event", format!("a stale event, {}: ignored", bits(events)), why);
        }
    }

    pub(super) fn not_ready(&mut self, step: &mut Step, source: u32, reads: bool, short: bool) {
        let number = self.fd_mut(source).map_or(-1, |fd| {
            fd.is_ready[usize::from(!reads)] = false;
            fd.number
        });
        let what = format!("fd {number} is not {} any more", able(reads));
        let (what, why) = match short {
            true => (
                what + ": a short read",
                "Fewer bytes than there was room for: that was all. What comes later is a new edge, so no second call is needed to know.",
            ),
            false => (
                what,
                "The kernel said `WouldBlock`. From here on an edge will tell when to try again; before, none would have come.",
            ),
        };
        step.tell("not ready", what, why);
        step.is_detail = !short;
    }

    // ---- who waits

    pub(super) fn wait(
        &mut self,
        step: &mut Step,
        holder: Holder,
        claim: Claim,
        number: Option<Number>,
        at: At,
    ) {
        let waker = self.hold(step, holder, claim, number, at);
        let Holder::Fd(number, reads, source) = holder else { return };
        self.fds.get_mut(&source).into_iter().for_each(|fd| fd.urgent_only &= !reads);
        let slot = if reads { "read" } else { "write" };
        let why = match waker {
            "waker" => format!(
                "Whoever waits leaves its number at the descriptor. The next edge that makes fd {number} {} wakes it.",
                able(reads)
            ),
            _ => format!(
                "What waits has {waker}: of a collection of futures, or of somebody else's executor. The next edge that makes fd {number} {} calls it; whom that wakes only its maker knows.",
                able(reads)
            ),
        };
        step.tell("wait", format!("{waker} -> fd {number} {slot} slot"), why);
    }

    pub(super) fn waits_for(&mut self, step: &mut Step, source: u32, urgent_only: bool) {
        let number = self.fd_mut(source).map_or(-1, |fd| {
            fd.urgent_only = urgent_only;
            fd.number
        });
        let what = if urgent_only { "urgent data alone" } else { "whatever makes it ready" };
        step.tell(
            "waits for",
            format!("fd {number}: {what}"),
            "An interest that is chosen: of several, the first that comes wakes.",
        );
        step.is_detail = true;
    }

    pub(super) fn give_up(&mut self, step: &mut Step, holder: Holder, claim: Claim) {
        self.let_go(holder, claim);
        self.drop_place();
        let Holder::Fd(number, reads, _) = holder else { return };
        let slot = if reads { "read" } else { "write" };
        let why = "The future that has waited here is dropped, or done: it leaves no waker behind.";
        step.tell("give up", format!("fd {number} {slot} slot is left"), why);
    }

    pub(super) fn take_reader(&mut self, step: &mut Step, source: u32) {
        let holder = self.holder(source, true);
        self.let_go(holder, PLACE);
        let why = "An edge is told once, so a waiter is woken once: it leaves the slot, and comes back if it has to.";
        let Holder::Fd(number, ..) = holder else { return };
        step.tell("taken", format!("fd {number} read slot: its waker is taken out"), why);
        step.is_detail = true;
    }

    /// To read, to write.
    pub(super) fn take_aside(&mut self, step: &mut Step, source: u32, ways: [bool; 2]) {
        let mut taken = 0;
        for (reads, _) in [true, false].into_iter().zip(ways).filter(|(_, is_taken)| *is_taken) {
            let holder = self.holder(source, reads);
            let aside: Vec<_> = self.holders.at(holder).filter(|it| it.0 != PLACE).collect();
            for (claim, task) in &aside {
                self.let_go(holder, *claim);
                self.taken.insert(*task, self.cause.clone());
            }
            taken += aside.len();
        }
        step.is_detail = true;
        let Some(Fd { number, .. }) = self.fds.get(&source) else {
            let why = "No edge will come any more. What the runtime kept for it is dropped, and nobody is woken.";
            return step.tell("taken", "who stood aside at a descriptor that is closed", why);
        };
        let why = "Who is not the one reader stands aside, in a table: a writer, a second reader. They are woken when all events are read.";
        step.tell(
            "taken",
            format!("fd {number}: the wakers of {taken} who stand aside are taken out"),
            why,
        );
    }

    /// Who waits at a descriptor, in one direction.
    pub(in crate::trace) fn waiters(&self, source: u32, reads: bool) -> String {
        let there = self.holders.at(self.holder(source, reads)).map(|it| it.1);
        there.collect::<BTreeSet<u64>>().into_iter().map(name).collect::<Vec<_>>().join(" ")
    }
}
