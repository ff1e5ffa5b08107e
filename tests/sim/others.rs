//! Everybody else: peers that do what their scripts say, the clock, other threads, and events for nothing.

use super::{Act, FIRST_FD, Item, Kernel, Kind, MessageKind, Phase, Sort};
use libc::{ECONNREFUSED, ECONNRESET, EMFILE, ENFILE};
use libc::{EPOLLIN, EPOLLOUT};
use std::ffi::c_int;
use std::mem;

/// From here on nobody comes between calls any more; what is owed is done while the program sleeps.
const MOST_STEPS: u64 = 64;
/// In one schedule, so that it ends.
const MOST_FOR_NOTHING: u64 = 12;

impl Kernel {
    /// A call is about to be made, or to return. Whether somebody outside wakes a task now.
    pub(crate) fn comes_between(&mut self) -> bool {
        let now = self.mood.between > 0
            && self.counts.steps < MOST_STEPS
            && self.random.one_in(self.mood.between);
        if !now {
            return false;
        }
        self.counts.in_between += 1;
        self.others().unwrap_or(false)
    }

    /// One of the others does something; and that may be to wake a task. `None` when nothing is left to be done.
    pub(crate) fn others(&mut self) -> Option<bool> {
        if self.random.one_in(8) && self.for_nothing() {
            return Some(false);
        }
        let mut able: Vec<(c_int, bool)> = Vec::new();
        for place in 0..self.files.len() {
            let fd = FIRST_FD + place as c_int;
            if self.can_act(fd) {
                able.push((fd, true));
            }
            let kind = self.file(fd).map(|file| &file.kind);
            if matches!(kind, Some(Kind::Stream(stream)) if stream.unsent > 0 && !stream.reset) {
                able.push((fd, false));
            }
        }
        let wakes = self.waiting_outside;
        if able.is_empty() && wakes == 0 {
            return None;
        }
        self.now_ns += self.random.below(20_000) as u64;
        match able.get(self.random.below(able.len() + wakes)) {
            Some((fd, true)) => self.act(*fd),
            Some((fd, false)) => self.drain(*fd),
            None => {
                self.counts.wakes_outside += 1;
                self.waiting_outside -= 1;
                self.step("wake", FIRST_FD, 0);
                return Some(true);
            }
        }
        Some(false)
    }

    /// An event for nothing in particular, or for what was closed long ago.
    fn for_nothing(&mut self) -> bool {
        if self.counts.for_nothing >= MOST_FOR_NOTHING {
            return false;
        }
        let ghosts = self.registered(true);
        let ghostly = !ghosts.is_empty() && self.random.one_in(2);
        let from = if ghostly { ghosts } else { self.registered(false) };
        if from.is_empty() || !ghostly && !self.mood.generous {
            return false;
        }
        let one = from[self.random.below(from.len())];
        let extra = [EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT][self.random.below(3)];
        self.counts.for_nothing += 1;
        self.queue(one, extra);
        let fd = self.registrations[one].fd;
        self.step("for nothing", fd, i64::from(extra));
        true
    }

    fn drain(&mut self, fd: c_int) {
        let all = self.random.one_in(3);
        let some = 1 + self.random.below(40) as u64;
        let Kind::Stream(stream) = &mut self.file(fd).unwrap().kind else { return };
        let n = if all { stream.unsent } else { some.min(stream.unsent) };
        stream.unsent -= n;
        self.step("peer reads", fd, n as i64);
        self.touch(fd, false);
    }

    fn can_act(&mut self, fd: c_int) -> bool {
        let Some(file) = self.file(fd) else { return false };
        let Some(act) = file.script.front() else { return false };
        let Kind::Stream(stream) = &file.kind else { return true };
        match act {
            Act::Connected | Act::Unreachable => stream.phase == Phase::Connecting,
            _ if stream.phase != Phase::Connected || stream.reset => false,
            Act::AwaitRead => stream.read == stream.sent,
            Act::AwaitBytes(n) => stream.written - stream.unsent >= *n,
            Act::AwaitEnd => stream.shut,
            // One at a time: the mark of a second one would make the first one part of the stream, tcp(7).
            Act::Urgent => {
                !stream.queue.iter().any(|item| matches!(item, Item::Urgent | Item::Mark))
            }
            _ => true,
        }
    }

    /// The next act of its script, if it can be done now.
    pub(crate) fn act(&mut self, fd: c_int) {
        if !self.can_act(fd) {
            return;
        }
        let Some(file) = self.file(fd) else { return };
        let Some(act) = file.script.pop_front() else { return };
        let until = self.now_ns + self.random.below(200_000_000) as u64;
        let mut counts = mem::take(&mut self.counts);
        let file = self.file(fd).unwrap();
        let (mut value, mut arrived) = (0, true);
        match (&mut file.kind, act) {
            (Kind::Stream(stream), Act::Send(n)) => {
                stream.sent += u64::from(n);
                stream.queue.push_back(Item::Bytes(n));
                value = n.into();
            }
            (Kind::Stream(stream), Act::Urgent) => {
                counts.urgent += 1;
                stream.queue.push_back(Item::Urgent);
            }
            (Kind::Stream(stream), Act::Descriptor) => {
                counts.descriptors += 1;
                stream.queue.push_back(Item::Descriptor);
            }
            (Kind::Stream(stream), Act::Fin) => {
                counts.fins += 1;
                stream.fin = true;
            }
            (Kind::Stream(stream), Act::Reset) => {
                counts.resets += 1;
                (stream.fin, stream.reset) = (true, true);
                // A pipe that nobody will read stays full.
                if stream.plan.sort != Sort::Pipe {
                    stream.unsent = 0;
                    file.error = ECONNRESET;
                }
            }
            (Kind::Stream(stream), Act::Connected) => {
                (stream.phase, stream.refused) = (Phase::Connected, true);
            }
            (Kind::Stream(stream), Act::Unreachable) => {
                counts.refused += 1;
                (stream.fin, stream.reset) = (true, true);
                file.error = ECONNREFUSED;
            }
            (Kind::Messages(messages), Act::Send(n)) => {
                let several = messages.kind == MessageKind::Semaphore;
                for _ in 0..if several { n } else { 1 } {
                    messages.queue.push_back(n);
                    messages.sent += 1;
                }
                value = n.into();
            }
            (Kind::Messages(messages), Act::Fin) => {
                counts.fins += 1;
                messages.ended = true;
            }
            (Kind::Messages(_), Act::Refused) => {
                counts.refused += 1;
                file.error = ECONNREFUSED;
            }
            (Kind::Listener(listener), Act::Client) => {
                let plan = listener.clients.pop_front().unwrap();
                listener.queue.push_back(Ok(plan));
            }
            (Kind::Listener(listener), Act::AcceptError(error @ (EMFILE | ENFILE))) => {
                listener.exhausted = (until, error);
                (value, arrived) = (error.into(), false);
            }
            (Kind::Listener(listener), Act::AcceptError(error)) => {
                listener.queue.push_back(Err(error));
                value = error.into();
            }
            _ => arrived = false,
        }
        self.counts = counts;
        let name = match act {
            Act::Send(_) => "comes",
            Act::Urgent => "urgent",
            Act::Descriptor => "descriptor",
            Act::Fin => "fin",
            Act::Reset => "reset",
            Act::Refused => "refused",
            Act::Connected => "connected",
            Act::Unreachable => "unreachable",
            Act::Client => "client",
            Act::AcceptError(_) => "client lost",
            Act::AwaitRead | Act::AwaitBytes(_) | Act::AwaitEnd => "has seen",
        };
        self.step(name, fd, value);
        self.touch(fd, arrived);
    }
}
