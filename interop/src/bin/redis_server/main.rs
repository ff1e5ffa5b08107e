//! A Redis server: strings, lists, expiry and publish/subscribe by RESP2, on waken and the standard library. A real protocol,
//! worked through; data lives in memory only.
//!
//! ```text
//! $ cargo run --release --bin redis_server [ADDR] [--OPTION NUMBER] …   # 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ redis-cli -p 7000                                                   # in another terminal
//! 127.0.0.1:7000> SET greeting hello EX 60
//! OK
//! 127.0.0.1:7000> GET greeting
//! "hello"
//! ```
//!
//! | option | when not given | |
//! |---|---:|---|
//! | `--clients` | 10000 | one more is told so, and closed |
//! | `--patience` | 60 | seconds of silence in the middle of a command, or without taking a byte of an answer |
//! | `--drain` | 10 | seconds for what is in flight, after SIGTERM or Ctrl-C |
//!
//! Reading order: `resp.rs` what comes in, `output.rs` what goes out, `store.rs` the data, `commands.rs` what may be done to them,
//! `pubsub.rs` who hears what; none of these waits or knows a socket. `connection.rs` is where all the waiting is done. What needs no
//! socket is tested without one, by `cargo test --bin redis_server`. Besides waken (feature `signal`) there are futures-lite
//! (`or`), socket2 (keep-alive) and libc (the numbers of two signals).
//!
//! All of it is one thread: a command is performed from beginning to end before the next one, so that each is atomic, and data
//! are shared by `Rc` and `RefCell` with no lock. There is no password, and no limit for all data together: it is for friends.
//! What it does not know, such as transactions and other types, is an unknown command.

mod bell;
mod commands;
mod connection;
mod glob;
mod output;
mod pubsub;
mod resp;
mod store;

use bell::Bell;
use connection::{Client, Connection};
use futures_lite::future::or;
use pubsub::PubSub;
use socket2::{SockRef, TcpKeepalive};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use store::Store;
use waken::signal::Signals;
use waken::time::{sleep, sleep_until};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on, spawn};

/// What one read takes at most. All connections share one such buffer: an idle one has none.
const READ: usize = 64 << 10;

/// What everybody shares.
pub struct Server {
    pub store: RefCell<Store>,
    pub pubsub: RefCell<PubSub>,
    pub clients: RefCell<BTreeMap<u64, Rc<Client>>>,
    pub commands: Cell<u64>,
    pub begin: Instant,
    begin_ms: u64,
    patience: Duration,
    buffer: RefCell<Box<[u8]>>,
    alarm: Cell<Option<u64>>, // what `expire` sleeps until
    sooner: Bell,
}

impl Server {
    /// Lets the store know the time, which whoever performs commands does first. Unix time when the server began, and from
    /// there by a clock that nobody sets.
    fn tick(&self) {
        let now = self.begin_ms + self.begin.elapsed().as_millis() as u64;
        self.store.borrow_mut().advance(now);
    }

    /// One timer for all keys, for the one that goes first: a key with a deadline costs a place in a tree, and no timer.
    async fn expire(self: Rc<Server>) {
        loop {
            self.tick();
            let next = self.store.borrow().next_deadline();
            self.alarm.set(next);
            let due = async {
                match next {
                    Some(ms) => {
                        let after = Duration::from_millis(ms - self.begin_ms);
                        sleep_until(self.begin + after).await;
                    }
                    None => std::future::pending().await,
                }
            };
            or(due, self.sooner.rung()).await;
        }
    }

    /// After commands, one of which may have brought a deadline before all others.
    fn check_alarm(&self) {
        let next = self.store.borrow().next_deadline();
        if next.is_some_and(|next| self.alarm.get().is_none_or(|alarm| next < alarm)) {
            self.sooner.ring();
        }
    }
}

fn main() -> io::Result<()> {
    let options = Options::of_the_command_line()?;
    block_on(async {
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
        let listener = AsyncTcpListener::bind(options.address).await?;
        // Connections have these from their listener. A peer without power says nothing: after five minutes it is asked.
        let socket = SockRef::from(&listener);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(300)))?;
        socket.set_tcp_nodelay(true)?;
        println!("listening on {}", listener.local_addr()?);

        let server = Rc::new(Server {
            store: RefCell::default(),
            pubsub: RefCell::default(),
            clients: RefCell::default(),
            commands: Cell::default(),
            begin: Instant::now(),
            begin_ms: UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_millis() as u64),
            patience: options.patience,
            buffer: RefCell::new(vec![0; READ].into()),
            alarm: Cell::new(None),
            sooner: Bell::default(),
        });
        spawn(server.clone().expire());

        let mut tasks = JoinSet::new();
        let accept = async {
            for number in 1.. {
                while tasks.try_join_next().is_some() {} // the group keeps who has ended until it is joined
                match listener.accept().await {
                    Ok((stream, _)) if tasks.len() >= options.clients => {
                        let _gone_already =
                            stream.try_write(b"-ERR max number of clients reached\r\n");
                    }
                    Ok((stream, peer)) => {
                        tasks.spawn(serve(server.clone(), number, stream, peer));
                    }
                    Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
                }
            }
        };
        or(async { _ = signals.next().await }, accept).await;

        drop(listener);
        // Reading ends: what has arrived is still performed and answered, and who is idle is done at once.
        for client in server.clients.borrow().values() {
            let _gone_already = client.stream.shutdown(Shutdown::Read);
        }
        let again = async { _ = signals.next().await };
        let all = async { while tasks.join_next().await.is_some() {} };
        let enough = or(sleep(options.drain), again);
        or(all, enough).await;
        Ok(()) // who is left is dropped with the group: aborted
    })
}

async fn serve(server: Rc<Server>, number: u64, stream: AsyncTcpStream, peer: SocketAddr) {
    let client = Rc::new(Client::new(number, stream));
    server.clients.borrow_mut().insert(number, client.clone());
    let presence = Presence { server, client };
    if let Err(error) = Connection::new(&presence.server, &presence.client).run().await {
        eprintln!("{peer}: {error}");
    }
}

/// A client is known for as long as its task is there, however that ends.
struct Presence {
    server: Rc<Server>,
    client: Rc<Client>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.server.pubsub.borrow_mut().leave(&self.client);
        self.server.clients.borrow_mut().remove(&self.client.number);
    }
}

struct Options {
    address: String,
    clients: usize,
    patience: Duration,
    drain: Duration,
}

impl Options {
    fn of_the_command_line() -> io::Result<Options> {
        const NAMES: [&str; 3] = ["--clients", "--patience", "--drain"];
        let (mut address, mut numbers) = ("127.0.0.1:7000".to_owned(), [10_000_u32, 60, 10]);
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let Some(option) = NAMES.iter().position(|name| *name == argument) else {
                address = argument;
                continue;
            };
            let number = arguments.next().and_then(|number| number.parse().ok());
            let wrong = || io::Error::other(format!("`{argument}` needs a whole number"));
            numbers[option] = number.ok_or_else(wrong)?;
        }
        let [clients, patience, drain] = numbers;
        let [patience, drain] = [patience, drain].map(|s| Duration::from_secs(s.into()));
        Ok(Options { address, clients: clients as usize, patience, drain })
    }
}
