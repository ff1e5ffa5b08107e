//! Descriptors: registered, tried, waited for, told of by the kernel.

use super::{Cause, Fd, Number, RawFd, Story, Touched};
use crate::slab::NONE;
use crate::sys::{EPOLLERR, EPOLLHUP, EPOLLOUT, errno_name, is_would_block};
use crate::trace::recorder::At;
use crate::trace::state::{Holder, able, name};
use crate::trace::step::Step;
use crate::trace::tell::bits;

impl Story {
    pub(super) fn register(&mut self, step: &mut Step, fd: RawFd, interest: i32, key: u64) {
        self.keys.insert(key, fd);
        self.touched.insert(Touched::Fd(fd));
        self.fds.insert(fd, Fd { interest, is_ready: [true; 2], ..Fd::default() });
        let why = "Registered once for its whole life, edge-triggered. It counts as ready: to try is the cheapest way to ask.";
        step.tell("register", format!("epoll_ctl(ADD, fd {fd}, {}|ET) = 0", bits(interest)), why);
    }

    pub(super) fn deregister(&mut self, step: &mut Step, fd: RawFd) {
        self.touched.insert(Touched::Fd(fd));
        self.fds.remove(&fd);
        self.keys.retain(|_, it| *it != fd);
        self.let_go(Holder::Fd(fd, true), None);
        self.let_go(Holder::Fd(fd, false), None);
        let why = "Before the descriptor is closed: its number may be another's at once.";
        step.tell("deregister", format!("epoll_ctl(DEL, fd {fd})"), why);
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
            let fd = RawFd::try_from(first).ok().and_then(|fd| self.fds.get_mut(&fd));
            fd.into_iter().for_each(|fd| fd.last_call = Some(result));
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
        if let Some(fd) = self.keys.get(&datum).copied() {
            self.cause = Cause::Event(fd, events);
            if let Some(fd) = self.fd_mut(fd) {
                fd.is_ready[0] |= events & !EPOLLOUT != 0;
                fd.is_ready[1] |= events & (EPOLLOUT | EPOLLHUP | EPOLLERR) != 0;
            }
            let why = format!(
                "An edge: this has changed at fd {fd}. It is told once, so it is remembered until a call says `WouldBlock`."
            );
            step.tell("event", format!("fd {fd} {}", bits(events)), why);
        } else if datum as u32 == NONE {
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

    pub(super) fn not_ready(&mut self, step: &mut Step, fd: RawFd, reads: bool, short: bool) {
        if let Some(fd) = self.fd_mut(fd) {
            fd.is_ready[usize::from(!reads)] = false;
        }
        let what = format!("fd {fd} is not {} any more", able(reads));
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
        fd: RawFd,
        reads: bool,
        number: Option<Number>,
        at: At,
    ) {
        self.hold(step, Holder::Fd(fd, reads), number, at);
        self.fds.get_mut(&fd).into_iter().for_each(|fd| fd.urgent_only &= !reads);
        let slot = if reads { "read" } else { "write" };
        let why = format!(
            "Whoever waits leaves its number at the descriptor. The next edge that makes fd {fd} {} wakes it.",
            able(reads)
        );
        step.tell("wait", format!("waker -> fd {fd} {slot} slot"), why);
    }

    pub(super) fn waits_for(&mut self, step: &mut Step, fd: RawFd, urgent_only: bool) {
        if let Some(fd) = self.fd_mut(fd) {
            fd.urgent_only = urgent_only;
        }
        let what = if urgent_only { "urgent data alone" } else { "whatever makes it ready" };
        step.tell(
            "waits for",
            format!("fd {fd}: {what}"),
            "An interest that is chosen: of several, the first that comes wakes.",
        );
        step.is_detail = true;
    }

    pub(super) fn give_up(
        &mut self,
        step: &mut Step,
        fd: RawFd,
        reads: bool,
        number: Option<Number>,
    ) {
        self.let_go(Holder::Fd(fd, reads), number.and_then(|number| self.id(number)));
        self.drop_place();
        let slot = if reads { "read" } else { "write" };
        let why = "The future that has waited here is dropped, or done: it leaves no waker behind.";
        step.tell("give up", format!("fd {fd} {slot} slot is left"), why);
    }

    pub(super) fn take_reader(&mut self, step: &mut Step, fd: RawFd, number: Number) {
        self.let_go(Holder::Fd(fd, true), self.id(number));
        let why = "An edge is told once, so a waiter is woken once: it leaves the slot, and comes back if it has to.";
        step.tell("taken", format!("fd {fd} read slot: its waker is taken out"), why);
        step.is_detail = true;
    }

    pub(super) fn take_aside(&mut self, step: &mut Step, fd: RawFd, who: &[Number]) {
        let ids: Vec<u64> = who.iter().filter_map(|number| self.id(*number)).collect();
        for id in &ids {
            self.let_go(Holder::Fd(fd, true), Some(*id));
            self.let_go(Holder::Fd(fd, false), Some(*id));
            self.taken.insert(*id, self.cause.clone());
        }
        let why = "Who is not the one reader stands aside, in a table: a writer, a second reader. They are woken when all events are read.";
        step.tell(
            "taken",
            format!("fd {fd}: the wakers of {} who stand aside are taken out", who.len()),
            why,
        );
        step.is_detail = true;
    }

    /// Who waits at a descriptor, in one direction.
    pub(in crate::trace) fn waiters(&self, fd: RawFd, reads: bool) -> String {
        let there = self.holders.iter().filter(|it| it.0 == Holder::Fd(fd, reads));
        there.map(|it| name(it.1)).collect::<Vec<_>>().join(" ")
    }
}
