//! One client's connection: reading, performing, writing, and when to stop doing which. The only file that waits.
//!
//! ```text
//! socket → shared buffer → parser → commands → output → socket
//!                                                ↑
//!                                what other clients publish
//! ```
//!
//! * All commands that came in one read are answered by one write: that is what pipelining is for.
//! * Whoever does not take its answers is not read from any more: TCP tells it to wait. It can still send a long pipeline first
//!   and read afterwards, as clients do, up to [`HELD`].
//! * Whoever does not take what it has subscribed to cannot be told to wait, since others are speaking. At [`HELD`] it is cut off.

use crate::Server;
use crate::bell::Bell;
use crate::commands;
use crate::output::{LONGEST_ANSWER, Output};
use crate::pubsub::Subscriptions;
use crate::resp::{LONGEST_COMMAND, Parser};
use futures_lite::future::or;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::AsyncTcpStream;
use waken::io::Interest;
use waken::task::yield_now;
use waken::time::{timeout, timeout_at};

/// The unsent answers and messages that are kept for one client.
const HELD: usize = 32 << 20;

/// What the rest of the server knows of a client.
pub struct Client {
    pub number: u64,
    pub stream: AsyncTcpStream,
    pub output: Output,
    pub subscriptions: RefCell<Subscriptions>,
    told: Bell,
    cut: Cell<bool>,
}

impl Client {
    pub fn new(number: u64, stream: AsyncTcpStream) -> Client {
        Client {
            number,
            stream,
            output: Output::default(),
            subscriptions: RefCell::default(),
            told: Bell::default(),
            cut: Cell::new(false),
        }
    }

    /// Something that it has subscribed to. Its own task will write it, with all else that comes until then.
    pub fn tell(&self, message: &[u8]) {
        if self.cut.get() {
            return;
        }
        self.output.append(message);
        if self.output.len() > HELD {
            self.cut.set(true);
            self.output.clear(); // now, and not when its task comes to it
        }
        self.told.ring();
    }
}

pub struct Connection<'a> {
    server: &'a Server,
    client: &'a Rc<Client>,
    parser: Parser,
    rest: Vec<u8>,   // what has come and is not performed: half a command, or held back
    held_back: bool, // more can be performed when there is room for answers
    heard: Instant,  // since when the rest is what it is, if there is one
    stalled: Option<Instant>, // the last progress of the output, if the kernel has not taken all
    last: bool,      // nothing is read any more, and only answers are left
}

impl<'a> Connection<'a> {
    pub fn new(server: &'a Server, client: &'a Rc<Client>) -> Connection<'a> {
        Connection {
            server,
            client,
            parser: Parser::default(),
            rest: Vec::new(),
            held_back: false,
            heard: server.begin,
            stalled: None,
            last: false,
        }
    }

    /// Until the client goes, is to go, or has to.
    pub async fn run(mut self) -> io::Result<()> {
        loop {
            self.write()?;
            if self.last && self.client.output.is_empty() {
                self.part().await;
                return Ok(());
            }
            if self.held_back && self.may_take_more() {
                self.perform_rest();
                continue;
            }
            if self.wait().await? && self.may_take_more() && self.read()? {
                yield_now().await; // more is there than one read takes: the others first
            }
        }
    }

    fn may_take_more(&self) -> bool {
        !self.last && self.client.output.len() < HELD
    }

    /// Waits until the socket is ready for what is wanted of it, or somebody publishes. Whether there may be something to read.
    async fn wait(&mut self) -> io::Result<bool> {
        let interest = match (self.may_take_more(), self.client.output.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, _) => Interest::WRITABLE,
        };
        let ready = async { Ok(self.client.stream.ready(interest).await?.is_readable()) };
        let told = async {
            self.client.told.rung().await;
            Ok(false)
        };
        // Idle clients may be silent for ever, so most waits need no timer.
        let Some(deadline) = self.deadline() else { return or(ready, told).await };
        if let Ok(event) = timeout_at(deadline, or(ready, told)).await {
            return event;
        }
        // The kernel tells of room when there is much of it. Of a little it has to be asked.
        self.write()?;
        if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "too slow"));
        }
        Ok(false)
    }

    /// When the client's next progress is due, if it owes us one.
    fn deadline(&self) -> Option<Instant> {
        let half = self.may_take_more() && !self.rest.is_empty();
        let heard = half.then_some(self.heard);
        let since = heard.into_iter().chain(self.stalled).min()?;
        Some(since + self.server.patience)
    }

    /// Reads once, and performs what has come. Whether there may be more.
    fn read(&mut self) -> io::Result<bool> {
        let buffer = &mut **self.server.buffer.borrow_mut();
        let came = match self.client.stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            result => &buffer[..result?],
        };
        if came.is_empty() {
            self.last = true;
            return Ok(false);
        }
        if self.rest.is_empty() {
            let done = self.perform(came);
            if done < came.len() {
                self.rest.extend_from_slice(&came[done..]);
                self.heard = Instant::now();
            }
        } else {
            if self.rest.len() > LONGEST_COMMAND {
                return Err(io::Error::other("too large a command"));
            }
            self.rest.extend_from_slice(came);
            self.perform_rest();
        }
        Ok(came.len() == buffer.len())
    }

    fn perform_rest(&mut self) {
        let mut rest = std::mem::take(&mut self.rest);
        let done = self.perform(&rest);
        if done < rest.len() {
            rest.drain(..done);
            self.rest = rest;
            self.heard = Instant::now();
        }
    }

    /// Performs the commands that `bytes` begins with, as long as there is room for answers. How many of the bytes are done with.
    fn perform(&mut self, bytes: &[u8]) -> usize {
        self.server.tick();
        let mut done = 0;
        self.held_back = false;
        while !self.last && !self.held_back {
            match self.parser.next(&bytes[done..]) {
                Ok(Some((words, length))) => {
                    done += length;
                    self.last = commands::perform(self.server, self.client, words).is_break();
                    self.held_back = self.client.output.len() >= HELD;
                }
                Ok(None) => break,
                Err(error) => {
                    self.client.output.error(&format!("ERR Protocol error: {error}"));
                    self.last = true;
                }
            }
        }
        self.server.check_alarm();
        if self.last { bytes.len() } else { done }
    }

    /// Hands to the kernel what it takes of the output.
    fn write(&mut self) -> io::Result<()> {
        let client = self.client;
        if client.cut.get() {
            return Err(io::Error::other("does not take what it has subscribed to"));
        }
        if client.output.is_empty() {
            return Ok(());
        }
        if client.output.len() > LONGEST_ANSWER {
            return Err(io::Error::other("too large an answer"));
        }
        match client.output.send(|bytes| client.stream.try_write(bytes)) {
            Ok(_) => self.stalled = (!client.output.is_empty()).then(Instant::now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stalled.get_or_insert_with(Instant::now);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// To close a socket on bytes that nobody has read is a reset, and may take our last answer with it: so says tcp(7). They
    /// are read, for a moment.
    async fn part(&self) {
        let stream = &self.client.stream;
        let _gone_already = stream.shutdown(Shutdown::Write);
        let read_to_the_end = async {
            while stream.readable().await.is_ok() {
                let n = stream.try_read(&mut self.server.buffer.borrow_mut());
                match n {
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => break,
                }
            }
        };
        let _it_was_enough = timeout(Duration::from_secs(1), read_to_the_end).await;
    }
}
