//! What the calls on one descriptor do.

use super::pattern;
use super::{Act, FIRST_FD, Item, Kernel, Kind, MOST_CALLS, MessageKind, Phase, Sort, Stream};
use libc::{EAGAIN, EBADF, ECONNREFUSED, EINPROGRESS, EINTR, EINVAL, ENOTCONN, EPIPE};
use std::ffi::c_int;
use std::mem;

fn errno(errno: c_int) -> i64 {
    -i64::from(errno)
}

impl Kernel {
    /// Every call begins here: whether it goes on, and if not, why.
    fn begin(&mut self, what: &'static str, fd: c_int, interruptible: bool) -> Result<(), i64> {
        self.counts.calls += 1;
        if self.counts.calls > MOST_CALLS {
            self.fail(format!("it spins, at last by {what}({fd})"));
            return Err(errno(EBADF));
        }
        match self.file(fd) {
            None => {
                self.fail(format!("{what}({}), which is not open", fd - FIRST_FD));
                return Err(errno(EBADF));
            }
            Some(file) if interruptible && !file.non_blocking => {
                self.fail(format!("{what}({}) would block the thread", fd - FIRST_FD));
            }
            _ => {}
        }
        if interruptible && self.interrupted() {
            self.note(what, fd, errno(EINTR));
            return Err(errno(EINTR));
        }
        Ok(())
    }

    /// `EAGAIN`. Nobody asks twice without an event in between.
    fn would_block(&mut self, what: &'static str, fd: c_int) -> i64 {
        self.counts.would_block += 1;
        let file = self.file(fd).unwrap();
        let was_blocked = mem::replace(&mut file.is_blocked[usize::from(what == "write")], true);
        if was_blocked && !file.excused {
            self.note(what, fd, errno(EAGAIN));
            self.fail(format!("{what}({}) again, and no event in between", fd - FIRST_FD));
        }
        errno(EAGAIN)
    }

    fn end(&mut self, what: &'static str, fd: c_int, result: i64) -> i64 {
        self.touch(fd, false);
        self.note(what, fd, result);
        result
    }

    pub(crate) fn read(&mut self, fd: c_int, to: &mut [&mut [u8]], peek: bool) -> i64 {
        if let Err(error) = self.begin("read", fd, true) {
            return error;
        }
        let (generous, cuts) = (self.mood.generous, self.mood.cuts && self.random.one_in(3));
        let cut = if cuts { 1 + self.random.below(8) } else { usize::MAX };
        let room: usize = to.iter().map(|part| part.len()).sum();
        let file = self.file(fd).unwrap();
        if file.error != 0 && !matches!(file.kind, Kind::Stream(_)) {
            let error = mem::take(&mut file.error);
            return self.end("read", fd, errno(error));
        }
        let result = match &mut file.kind {
            Kind::Stream(stream) if stream.phase != Phase::Connected => Err(errno(ENOTCONN)),
            Kind::Stream(stream) => {
                // TCP gives all that it has, unless an event comes for the rest.
                let cut = if stream.plan.sort == Sort::Tcp && !generous { usize::MAX } else { cut };
                match stream.take(to, room.min(cut), peek) {
                    0 if file.error != 0 => Err(errno(mem::take(&mut file.error))),
                    0 if !stream.fin && room > 0 => Err(errno(EAGAIN)),
                    n => Ok(n),
                }
            }
            Kind::Messages(messages) => match messages.queue.pop_front() {
                Some(length) => {
                    let n = messages.read;
                    messages.read += 1;
                    let length = if messages.kind == MessageKind::Semaphore { 8 } else { length };
                    let mut bytes = (0..length).map(|at| match messages.kind {
                        MessageKind::Semaphore => u64::to_ne_bytes(1)[at as usize],
                        _ => pattern(n, u64::from(at)),
                    });
                    let room = to.iter_mut().flat_map(|part| part.iter_mut());
                    Ok(room.zip(&mut bytes).map(|(to, byte)| *to = byte).count())
                }
                None if messages.ended => Ok(0),
                None => Err(errno(EAGAIN)),
            },
            _ => Err(errno(EINVAL)),
        };
        let is_cut = matches!(&file.kind, Kind::Stream(stream) if stream.plan.sort == Sort::Tcp)
            && file.now_readable()
            && matches!(result, Ok(n) if n == cut && n < room);
        match result {
            Err(error) if error == errno(EAGAIN) => {
                let error = self.would_block("read", fd);
                self.end("read", fd, error)
            }
            Err(error) => self.end("read", fd, error),
            Ok(n) => {
                self.counts.short_reads += u64::from(n < room);
                let n = self.end("read", fd, n as i64);
                let registration = self.file(fd).unwrap().registration;
                registration.filter(|_| is_cut).into_iter().for_each(|it| self.queue(it, 0));
                n
            }
        }
    }

    pub(crate) fn write(&mut self, fd: c_int, from: &[&[u8]], flags: c_int) -> i64 {
        if let Err(error) = self.begin("write", fd, true) {
            return error;
        }
        let is_pipe = self.is_pipe(fd);
        if flags & libc::MSG_NOSIGNAL == 0 && !is_pipe {
            self.fail(format!("write({}) may raise SIGPIPE", fd - FIRST_FD));
        }
        let cut = if self.mood.cuts { 1 + self.random.below(12) as u64 } else { u64::MAX };
        let told = self.random.one_in(2);
        let length: u64 = from.iter().map(|part| part.len() as u64).sum();
        let file = self.file(fd).unwrap();
        let Kind::Stream(stream) = &mut file.kind else { return length as i64 };
        if file.error != 0 {
            let error = mem::take(&mut file.error);
            return self.end("write", fd, errno(error));
        }
        if stream.reset || stream.shut || stream.phase != Phase::Connected {
            return self.end("write", fd, errno(EPIPE));
        }
        let n = length.min(stream.plan.room - stream.unsent).min(cut);
        if n == 0 && length > 0 {
            stream.refused = true;
            let error = self.would_block("write", fd);
            return self.end("write", fd, error);
        }
        stream.refused |= n < length && told;
        let bytes = from.iter().flat_map(|part| part.iter()).take(n as usize);
        let (flow, at) = (stream.plan.flow_out, stream.written);
        let wrong = bytes.zip(at..).position(|(byte, at)| *byte != pattern(flow, at));
        stream.unsent += n;
        stream.written += n;
        self.counts.short_writes += u64::from(n < length);
        if let Some(wrong) = wrong {
            self.fail(format!(
                "byte {} that is written to {} is wrong",
                at + wrong as u64,
                fd - FIRST_FD
            ));
        }
        self.end("write", fd, n as i64)
    }

    fn is_pipe(&mut self, fd: c_int) -> bool {
        let kind = self.file(fd).map(|file| &file.kind);
        matches!(kind, Some(Kind::Stream(stream)) if stream.plan.sort == Sort::Pipe)
    }

    /// `MSG_OOB`: the urgent byte, and its mark stays; `EINVAL` when there is none.
    pub(crate) fn read_urgent(&mut self, fd: c_int) -> i64 {
        if let Err(error) = self.begin("read_urgent", fd, true) {
            return error;
        }
        let Kind::Stream(stream) = &mut self.file(fd).unwrap().kind else { return errno(EINVAL) };
        let urgent = stream.queue.iter_mut().find(|item| **item == Item::Urgent);
        let result = if urgent.is_some() { 1 } else { errno(EINVAL) };
        urgent.into_iter().for_each(|item| *item = Item::Mark);
        self.counts.read_apart += u64::from(result == 1);
        self.end("read_urgent", fd, result)
    }

    pub(crate) fn eventfd(&mut self, value: u32, flags: c_int) -> i64 {
        let fd = self.open(Kind::EventFd(value.into()), Vec::new());
        self.file(fd).unwrap().non_blocking = flags & libc::EFD_NONBLOCK != 0;
        i64::from(fd)
    }

    pub(crate) fn is_eventfd(&mut self, fd: c_int) -> bool {
        self.file(fd).is_some_and(|file| matches!(file.kind, Kind::EventFd(_)))
    }

    pub(crate) fn signal(&mut self, fd: c_int) -> i64 {
        if let Some(Kind::EventFd(value)) = self.file(fd).map(|file| &mut file.kind) {
            *value += 1;
        }
        self.touch(fd, true);
        self.note("signal", fd, 8);
        8
    }

    pub(crate) fn connect(&mut self, fd: c_int) -> i64 {
        if let Err(error) = self.begin("connect", fd, false) {
            return error;
        }
        let interrupted = self.interrupted();
        let at_once = self.random.one_in(8);
        let file = self.file(fd).unwrap();
        let Kind::Stream(stream) = &mut file.kind else { return errno(EINVAL) };
        stream.phase = Phase::Connecting;
        let result = match (interrupted, file.script.front()) {
            (true, _) => errno(EINTR),
            (_, Some(Act::Connected)) if at_once => {
                stream.phase = Phase::Connected;
                file.script.pop_front();
                0
            }
            (_, Some(Act::Unreachable)) if at_once => errno(ECONNREFUSED),
            _ => errno(EINPROGRESS),
        };
        self.end("connect", fd, result)
    }

    /// `SO_ERROR`.
    pub(crate) fn take_error(&mut self, fd: c_int) -> i64 {
        if let Err(error) = self.begin("take_error", fd, false) {
            return error;
        }
        let error = mem::take(&mut self.file(fd).unwrap().error);
        self.end("take_error", fd, i64::from(error))
    }

    /// `SO_ACCEPTCONN`.
    pub(crate) fn is_listening(&mut self, fd: c_int) -> i64 {
        if let Err(error) = self.begin("is_listening", fd, false) {
            return error;
        }
        let listens = matches!(self.file(fd).unwrap().kind, Kind::Listener(_));
        self.end("is_listening", fd, i64::from(listens))
    }

    pub(crate) fn peer_name(&mut self, fd: c_int) -> i64 {
        if let Err(error) = self.begin("peer_name", fd, false) {
            return error;
        }
        let there = matches!(&self.file(fd).unwrap().kind, Kind::Stream(stream)
            if stream.phase == Phase::Connected && !stream.reset);
        self.end("peer_name", fd, if there { 0 } else { errno(ENOTCONN) })
    }

    pub(crate) fn accept(&mut self, fd: c_int, flags: c_int) -> i64 {
        if let Err(error) = self.begin("accept", fd, true) {
            return error;
        }
        let now_ns = self.now_ns;
        let Kind::Listener(listener) = &mut self.file(fd).unwrap().kind else {
            return errno(EINVAL);
        };
        let (until, error) = listener.exhausted;
        if now_ns < until {
            self.counts.accept_errors += 1;
            return self.end("accept", fd, errno(error));
        }
        match listener.queue.pop_front() {
            None => {
                let error = self.would_block("accept", fd);
                self.end("accept", fd, error)
            }
            Some(Err(error)) => {
                self.counts.accept_errors += 1;
                self.end("accept", fd, errno(error))
            }
            Some(Ok(plan)) => {
                let client = self.open_as(plan, Phase::Connected);
                self.file(client).unwrap().non_blocking = flags & libc::SOCK_NONBLOCK != 0;
                self.touch(client, false);
                // What came while it was queued, its end included (k14).
                for _ in 0..self.random.below(4) {
                    self.act(client);
                }
                self.end("accept", fd, i64::from(client - FIRST_FD));
                i64::from(client)
            }
        }
    }

    pub(crate) fn shutdown(&mut self, fd: c_int, _how: c_int) -> i64 {
        if let Err(error) = self.begin("shutdown", fd, false) {
            return error;
        }
        let Kind::Stream(stream) = &mut self.file(fd).unwrap().kind else { return errno(EINVAL) };
        let result = if stream.reset { errno(ENOTCONN) } else { 0 };
        stream.shut = true;
        self.end("shutdown", fd, result)
    }

    pub(crate) fn close(&mut self, fd: c_int) -> i64 {
        if let Err(error) = self.begin("close", fd, false) {
            return error;
        }
        let file = self.files[(fd - FIRST_FD) as usize].take().unwrap();
        if let Some(registration) = file.registration {
            self.registrations[registration].is_ghost = true;
            let is_ours = matches!(file.kind, Kind::EventFd(_) | Kind::TimerFd(..));
            if !file.is_duplicated && !is_ours {
                self.fail(format!("close({}) before it was deregistered", fd - FIRST_FD));
            }
        }
        if matches!(file.kind, Kind::Epoll) {
            self.registrations.iter_mut().for_each(|one| one.alive = false);
        }
        self.note("close", fd, 0);
        0
    }

    pub(crate) fn fcntl(&mut self, fd: c_int, op: c_int, value: c_int) -> i64 {
        let Some(file) = self.file(fd) else { return errno(EBADF) };
        if op == libc::F_SETFL {
            file.non_blocking = value & libc::O_NONBLOCK != 0;
            return 0;
        }
        i64::from(if file.non_blocking { libc::O_NONBLOCK } else { 0 })
    }
}

impl super::File {
    fn now_readable(&self) -> bool {
        matches!(&self.kind, Kind::Stream(stream)
            if stream.queue.iter().any(|item| matches!(item, Item::Bytes(_))))
    }
}

impl Stream {
    /// Bytes in order, until `most` are there, or something lies between them.
    fn take(&mut self, to: &mut [&mut [u8]], most: usize, peek: bool) -> usize {
        let mut room = to.iter_mut().flat_map(|part| part.iter_mut());
        let (mut n, mut first, flow) = (0, 0, self.plan.flow_in);
        while n < most {
            match self.queue.get_mut(first) {
                Some(Item::Bytes(left)) => {
                    let now = (*left as usize).min(most - n);
                    for at in 0..now as u64 {
                        *room.next().unwrap() = pattern(flow, self.read + n as u64 + at);
                    }
                    n += now;
                    if peek {
                        first += 1;
                    } else {
                        *left -= now as u32;
                        if *left == 0 {
                            self.queue.pop_front();
                        }
                    }
                }
                Some(_) if n > 0 => break,
                Some(_) if peek => first += 1,
                Some(_) => drop(self.queue.pop_front()),
                None => break,
            }
        }
        if !peek {
            self.read += n as u64;
        }
        n
    }
}
