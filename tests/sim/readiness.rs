//! What is so of a descriptor, when that is told, and what a wait brings: epoll(7).

use super::{File, Item, Kernel, Kind, MOST_CALLS, MessageKind, Phase, Registration, Sort};
use libc::{EBADF, EEXIST, EINTR, ENOENT, EPOLL_CTL_ADD, EPOLL_CTL_DEL};
use libc::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use std::ffi::c_int;

/// What comes of waiting.
pub(crate) enum Waited {
    Found(Vec<(u32, u64)>),
    Failed(c_int),
    /// Nothing yet; others have done something.
    Again(bool),
}

/// Events after which a read may have something to say, and a write.
const READS: i32 = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
const WRITES: i32 = EPOLLOUT | EPOLLHUP | EPOLLERR;
/// Whoever tries again and again when nobody else has anything left to do tries in vain.
const MOST_IDLE: u32 = 300;
const UNASKED: i32 = EPOLLHUP | EPOLLERR;

fn if_so(bits: i32, so: bool) -> i32 {
    if so { bits } else { 0 }
}

impl File {
    fn now(&self) -> i32 {
        let error = if_so(EPOLLERR, self.error != 0);
        match &self.kind {
            Kind::Epoll => 0,
            Kind::TimerFd(_, rung) => if_so(EPOLLIN, *rung),
            Kind::EventFd(value) => if_so(EPOLLIN, *value > 0) | EPOLLOUT,
            Kind::Listener(listener) => if_so(EPOLLIN, !listener.queue.is_empty()),
            Kind::Messages(messages) => {
                let ended = match messages.kind {
                    MessageKind::Pipe => EPOLLHUP,
                    _ => EPOLLIN | EPOLLRDHUP,
                };
                let out = if_so(EPOLLOUT, messages.kind != MessageKind::Pipe);
                if_so(EPOLLIN, !messages.queue.is_empty())
                    | if_so(ended, messages.ended)
                    | out
                    | error
            }
            Kind::Stream(stream) => {
                if stream.plan.sort == Sort::Pipe {
                    let room = stream.unsent < stream.plan.room;
                    return if_so(EPOLLOUT, room) | if_so(EPOLLERR, stream.reset);
                }
                let urgent = if_so(EPOLLPRI, stream.queue.contains(&Item::Urgent));
                if stream.reset {
                    return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | urgent | error;
                }
                match stream.phase {
                    Phase::Fresh => EPOLLOUT | EPOLLHUP, // k10
                    Phase::Connecting => 0,
                    Phase::Connected => {
                        let bytes = stream.queue.iter().any(|item| matches!(item, Item::Bytes(_)));
                        let room = stream.plan.room - stream.unsent;
                        if_so(EPOLLIN, bytes || stream.fin)
                            | if_so(EPOLLRDHUP, stream.fin)
                            | if_so(EPOLLHUP, stream.fin && stream.shut)
                            | if_so(EPOLLOUT, stream.shut || 3 * room >= stream.plan.room)
                            | urgent
                            | error
                    }
                }
            }
        }
    }
}

impl Kernel {
    /// Something may have changed: whoever is to be told is put in line. `arrived`: and something has come.
    pub(super) fn touch(&mut self, fd: c_int, arrived: bool) {
        let generous = self.mood.generous;
        let Some(file) = self.file(fd) else { return };
        let (before, now) = (file.level, file.now());
        file.level = now;
        let mut news = now & !before;
        if let Kind::Stream(stream) = &mut file.kind {
            // k20: and who was not refused is not told.
            if news & EPOLLOUT != 0 && !stream.refused && !stream.reset {
                news &= !EPOLLOUT;
            }
            stream.refused &= now & EPOLLOUT == 0;
        }
        if arrived && (generous || matches!(file.kind, Kind::EventFd(_))) {
            news |= now;
        }
        let Some(registration) = file.registration else { return };
        if news & (self.registrations[registration].interest | UNASKED) != 0 {
            self.queue(registration, 0);
        }
    }

    /// An event, also with bits that are not so.
    pub(super) fn queue(&mut self, registration: usize, extra: i32) {
        let one = &mut self.registrations[registration];
        one.extra |= extra;
        if !one.queued {
            one.queued = true;
            self.ready.push_back(registration);
        }
    }

    /// Those that are registered, or were when they were closed with a duplicate.
    pub(super) fn registered(&self, ghosts: bool) -> Vec<usize> {
        let all = self.registrations.iter().enumerate();
        all.filter(|(_, one)| one.alive && one.is_ghost == ghosts).map(|(n, _)| n).collect()
    }

    pub(crate) fn epoll_create(&mut self, _flags: c_int) -> i64 {
        i64::from(self.open(Kind::Epoll, Vec::new()))
    }

    pub(crate) fn epoll_ctl(&mut self, op: c_int, fd: c_int, (bits, datum): (u32, u64)) -> i64 {
        self.counts.calls += 1;
        let ghosts = self.registrations.iter().any(|one| one.is_ghost);
        let count = self.registrations.len();
        let Some(file) = self.file(fd) else {
            if !ghosts {
                self.fail(format!("epoll_ctl of {fd}, which is not open"));
            }
            return -i64::from(EBADF);
        };
        let result = match (op, file.registration) {
            (EPOLL_CTL_ADD, Some(_)) => -i64::from(EEXIST),
            (EPOLL_CTL_ADD, None) => {
                file.registration = Some(count);
                let now = file.now();
                file.level = now;
                let interest = bits as i32;
                let (queued, extra, alive, is_ghost) = (false, 0, true, false);
                let one = Registration { fd, datum, interest, queued, extra, alive, is_ghost };
                self.registrations.push(one);
                if now & (interest | UNASKED) != 0 {
                    self.queue(count, 0);
                }
                0
            }
            (EPOLL_CTL_DEL, Some(registration)) => {
                file.registration = None;
                self.registrations[registration].alive = false;
                0
            }
            _ => -i64::from(ENOENT),
        };
        if result == -i64::from(ENOENT) {
            self.fail(format!("epoll_ctl({op}) of {fd}, which is not registered"));
        }
        self.note(if op == EPOLL_CTL_ADD { "register" } else { "deregister" }, fd, result);
        result
    }

    /// One look at what there is. With nothing there, others do something, or time passes.
    pub(crate) fn wait(&mut self, most: usize, timeout_ns: Option<u64>) -> Waited {
        self.counts.waits += 1;
        if self.verdict.is_none() && self.counts.waits + self.counts.calls > MOST_CALLS {
            self.fail(format!("it spins: {:?}", self.counts));
        }
        if self.verdict.is_some() {
            return Waited::Failed(EBADF);
        }
        if self.interrupted() {
            self.note("wait", super::FIRST_FD, -i64::from(EINTR));
            return Waited::Failed(EINTR);
        }
        self.ring();
        let found = self.collect(most);
        if !found.is_empty() || timeout_ns == Some(0) {
            self.counts.looks += u64::from(timeout_ns == Some(0));
            return Waited::Found(found);
        }
        self.counts.waits -= 1;
        let alarm_ns = self.next_alarm().map(|at| at.saturating_sub(self.now_ns));
        let first_ns = timeout_ns.into_iter().chain(alarm_ns).min();
        let too_late = first_ns.is_some() && self.random.one_in(4);
        let others = if too_late { None } else { self.others() };
        if let Some(wakes) = others {
            return Waited::Again(wakes);
        }
        self.counts.waits += 1;
        if !too_late {
            self.idle_timeouts += 1;
        }
        let Some(first_ns) = first_ns.filter(|_| self.idle_timeouts < MOST_IDLE) else {
            self.fail("it hangs: everybody else has done what they owe".to_owned());
            return Waited::Failed(EBADF);
        };
        self.now_ns += first_ns + self.random.below(50_000) as u64;
        if timeout_ns != Some(first_ns) {
            self.note("alarm", super::FIRST_FD, first_ns as i64);
            self.ring();
            return Waited::Found(self.collect(most));
        }
        self.counts.timeouts += 1;
        self.note("timeout", super::FIRST_FD, first_ns as i64);
        Waited::Found(Vec::new())
    }

    // ---- timerfd_create(2) ----------------------------------------------------------------------

    pub(crate) fn timerfd(&mut self, clock: c_int) -> i64 {
        assert_eq!(clock, libc::CLOCK_MONOTONIC);
        i64::from(self.open(Kind::TimerFd(None, false), Vec::new()))
    }

    /// Ready after `left_ns`, with 0 never.
    pub(crate) fn set_timer(&mut self, fd: c_int, left_ns: u64) -> i64 {
        self.counts.calls += 1;
        let at = (left_ns > 0).then_some(self.now_ns + left_ns);
        self.file(fd).unwrap().kind = Kind::TimerFd(at, false);
        self.touch(fd, false);
        self.note("set", fd, left_ns as i64);
        0
    }

    /// When the first one will be ready that is not.
    fn next_alarm(&self) -> Option<u64> {
        let kinds = self.files.iter().flatten().map(|file| &file.kind);
        kinds.filter_map(|kind| if let Kind::TimerFd(at, _) = kind { *at } else { None }).min()
    }

    /// Those whose time has come become ready.
    fn ring(&mut self) {
        for place in 0..self.files.len() {
            let (fd, now_ns) = (super::FIRST_FD + place as c_int, self.now_ns);
            let Some(file) = self.file(fd) else { continue };
            if matches!(file.kind, Kind::TimerFd(Some(at), _) if at <= now_ns) {
                file.kind = Kind::TimerFd(None, true);
                self.counts.alarms += 1;
                self.touch(fd, true);
            }
        }
    }

    fn collect(&mut self, most: usize) -> Vec<(u32, u64)> {
        let most = if self.mood.small_batches { 1 + self.random.below(most.min(3)) } else { most };
        let mut found = Vec::new();
        while found.len() < most {
            let Some(n) = self.ready.pop_front() else { break };
            let one = &mut self.registrations[n];
            one.queued = false;
            let (fd, datum, interest, extra) = (one.fd, one.datum, one.interest, one.extra);
            one.extra = 0;
            if !one.alive {
                continue;
            }
            if one.is_ghost {
                self.counts.stale += 1;
                self.note("stale event", fd, i64::from(extra));
                found.push((extra as u32, datum));
                continue;
            }
            let file = self.file(fd).unwrap();
            let bits = file.level & (interest | UNASKED) | extra & interest;
            if bits == 0 {
                continue;
            }
            file.is_blocked[0] &= bits & READS == 0;
            file.is_blocked[1] &= bits & WRITES == 0;
            self.counts.events += 1;
            if self.trace.is_some() {
                self.say(format!("  event({}): {}", fd - super::FIRST_FD, words(bits)));
            }
            self.hash = (self.hash ^ bits as u64).wrapping_mul(0x0100_0000_01b3);
            found.push((bits as u32, datum));
            if self.mood.generous && self.random.one_in(16) {
                self.queue(n, 0);
            }
        }
        found
    }

    /// Whether a signal comes now.
    pub(super) fn interrupted(&mut self) -> bool {
        let now = self.mood.interrupts > 0 && self.random.one_in(self.mood.interrupts);
        self.counts.interrupted += u64::from(now);
        now
    }
}

fn words(bits: i32) -> String {
    let names = [
        (EPOLLIN, "IN"),
        (EPOLLOUT, "OUT"),
        (EPOLLRDHUP, "RDHUP"),
        (EPOLLHUP, "HUP"),
        (EPOLLERR, "ERR"),
        (EPOLLPRI, "PRI"),
    ];
    let named = names.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name);
    named.collect::<Vec<_>>().join("|")
}
