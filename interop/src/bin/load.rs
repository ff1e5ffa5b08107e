//! Asks a server again and again, at a steady rate, and counts every request by itself: none that was sent may be without an answer.
//!
//! ```text
//! $ cargo run --release --bin load -- ADDR [--OPTION …]…       # ends after --seconds, or at SIGTERM or Ctrl-C
//! {"requests": 33000, "answered": 33000, "failed": {}, "seconds": 10.000, …
//! ```
//!
//! | option | when not given | |
//! |---|---:|---|
//! | `--connections` | 32 | at once |
//! | `--rate` | 3300 | requests a second, of all together. One that is late is made up for |
//! | `--new` | no | a new connection for each request |
//! | `--method` | GET | or POST, which no proxy may try twice |
//! | `--path` | / | what is asked for, with a number of its own behind it, which the answer has to contain |
//! | `--seconds` | 60 | after which no request is begun |
//!
//! A connection that the server closes *between* requests is no failure: HTTP allows it, and a new one is made. It is counted: as
//! `announced` when the answer before has said `connection: close`, and as `closed_between` when it had not. Everything
//! else is a failure, and nothing is tried twice: a request that was sent just as the server closed is lost to who may not repeat it.
//!
//! Uses futures-lite, libc.

use futures_lite::future::or;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use waken::signal::Signals;
use waken::time::{interval_at, sleep, timeout};
use waken::{AsyncTcpStream, JoinSet, block_on};

/// Who is not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST_ANSWER: usize = 64 << 10;

struct Options {
    address: SocketAddr,
    connections: u32,
    rate: f64,
    is_new: bool,
    method: String,
    path: String,
    seconds: f64,
}

/// What all clients have seen.
#[derive(Default)]
struct Seen {
    requests: Cell<u64>,
    answered: Cell<u64>,
    connections: Cell<u64>,
    announced: Cell<u64>,
    closed_between: Cell<u64>,
    failed: RefCell<BTreeMap<String, u64>>,
    instances: RefCell<BTreeMap<String, u64>>,
    micros: RefCell<Vec<u32>>,
}

fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

/// Lives as long as the process: every client has it.
struct Load {
    options: Options,
    seen: Seen,
    is_over: Cell<bool>,
}

fn main() -> io::Result<()> {
    let options = options()?;
    block_on(async {
        let mut signals = Signals::new([libc::SIGTERM, libc::SIGINT])?;
        let seconds = Duration::from_secs_f64(options.seconds);
        let load: &'static Load =
            Box::leak(Box::new(Load { options, seen: Seen::default(), is_over: Cell::new(false) }));
        let begin = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..load.options.connections {
            clients.spawn(load.client(number));
        }
        let told = async {
            signals.next().await;
        };
        or(sleep(seconds), told).await;
        load.is_over.set(true);
        let took = begin.elapsed();
        while let Some(ended) = clients.join_next().await {
            ended?;
        }
        println!("{}", load.seen.report(took));
        Ok(())
    })
}

impl Load {
    /// Begins its requests at times of its own, however long the answers take: the others do not wait for it, nor it for them.
    async fn client(&'static self, number: u32) {
        let period =
            Duration::from_secs_f64(f64::from(self.options.connections) / self.options.rate);
        let begin = Instant::now()
            + period.mul_f64(f64::from(number) / f64::from(self.options.connections));
        let mut ticks = interval_at(begin, period);
        let mut kept = None;
        loop {
            ticks.tick().await;
            if self.is_over.get() {
                return;
            }
            let number = self.seen.requests.get();
            add_one(&self.seen.requests);
            let begin = Instant::now();
            let answered = timeout(PATIENCE, self.request(&mut kept, number)).await;
            match answered.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))) {
                Ok(()) => add_one(&self.seen.answered),
                Err(what) => {
                    kept = None;
                    *self.seen.failed.borrow_mut().entry(what).or_default() += 1;
                }
            }
            self.seen.micros.borrow_mut().push(begin.elapsed().as_micros() as u32);
        }
    }

    async fn request(&self, kept: &mut Option<AsyncTcpStream>, number: u64) -> Result<(), String> {
        let (stream, age) = match self.still_open(kept.take())? {
            Some(stream) => (stream, "used before"),
            None => (self.connect().await.map_err(|error| format!("connect: {error}"))?, "new"),
        };
        let path = format!("{}{number}", self.options.path);
        let close = if self.options.is_new { "connection: close\r\n" } else { "" };
        let method = &self.options.method;
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: load\r\n{length}{close}\r\n");
        let of_connection = |what: String| format!("on a connection {age}: {what}");
        let written = stream.write_all(request.as_bytes()).await;
        written.map_err(|error| of_connection(format!("not sent: {error}")))?;
        let answer = answer(&stream).await.map_err(of_connection)?;
        if let Some(instance) = answer.header("x-instance") {
            *self.seen.instances.borrow_mut().entry(instance.to_owned()).or_default() += 1;
        }
        let status = answer.status();
        if status != "200" {
            return Err(format!("status {status}"));
        }
        if !answer.body.contains(&path) {
            return Err("an answer to something else".to_owned());
        }
        if !self.options.is_new {
            match answer.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close")) {
                true => add_one(&self.seen.announced),
                false => *kept = Some(stream),
            }
        }
        Ok(())
    }

    /// Whether it can be used once more: looks before each request, as every client should. What is closed right after that look,
    /// nobody can see.
    fn still_open(&self, kept: Option<AsyncTcpStream>) -> Result<Option<AsyncTcpStream>, String> {
        let Some(stream) = kept else { return Ok(None) };
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(stream)),
            Ok(n) if n > 0 => Err("an answer that nobody asked for".to_owned()),
            Ok(_) | Err(_) => {
                add_one(&self.seen.closed_between);
                Ok(None)
            }
        }
    }

    async fn connect(&self) -> io::Result<AsyncTcpStream> {
        let stream = AsyncTcpStream::connect(self.options.address).await?;
        stream.set_nodelay(true)?;
        add_one(&self.seen.connections);
        Ok(stream)
    }
}

struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("none")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

async fn answer(stream: &AsyncTcpStream) -> Result<Answer, String> {
    let (mut bytes, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        let what = if bytes.is_empty() { "no answer" } else { "cut in an answer" };
        match stream.read(&mut buf).await {
            Ok(0) => return Err(format!("{what}: closed")),
            Ok(n) => bytes.extend_from_slice(&buf[..n]),
            Err(error) => return Err(format!("{what}: {}", error.kind())),
        }
        if let Some(answer) = whole(&bytes)? {
            return Ok(answer);
        }
    }
}

/// As much of HTTP/1 as it takes to know that an answer is whole: its length has to be said. None while there is more to come.
fn whole(bytes: &[u8]) -> Result<Option<Answer>, String> {
    if bytes.len() > LONGEST_ANSWER {
        return Err("an answer too long".to_owned());
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let answer = Answer { head: text(head), body: text(body) };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    match body.len().cmp(&length.ok_or("an answer of no length")?) {
        Ordering::Less => Ok(None),
        Ordering::Equal => Ok(Some(answer)),
        Ordering::Greater => Err("more than an answer".to_owned()),
    }
}

impl Seen {
    /// One line of JSON. Its strings are all of this file, or numbers.
    fn report(&self, took: Duration) -> String {
        let mut micros = self.micros.borrow_mut();
        micros.sort_unstable();
        let millis = |part: f64| {
            let at = ((micros.len() as f64 * part) as usize).min(micros.len().saturating_sub(1));
            f64::from(micros.get(at).copied().unwrap_or(0)) / 1000.0
        };
        format!(
            "{{\"requests\": {}, \"answered\": {}, \"failed\": {:?}, \"seconds\": {:.3}, \"connections\": {}, \
             \"announced\": {}, \"closed_between\": {}, \"instances\": {:?}, \
             \"p50_ms\": {:.2}, \"p99_ms\": {:.2}, \"longest_ms\": {:.2}}}",
            self.requests.get(),
            self.answered.get(),
            self.failed.borrow(),
            took.as_secs_f64(),
            self.connections.get(),
            self.announced.get(),
            self.closed_between.get(),
            self.instances.borrow(),
            millis(0.5),
            millis(0.99),
            millis(1.0),
        )
    }
}

fn options() -> io::Result<Options> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let mut options = Options {
        address: ([127, 0, 0, 1], 7000).into(),
        connections: 32,
        rate: 3300.0,
        is_new: false,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        seconds: 60.0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--new" {
            options.is_new = true;
            continue;
        }
        let is_option = argument.starts_with("--");
        let value = if is_option { arguments.next().unwrap_or_default() } else { argument.clone() };
        let is_set = match argument.as_str() {
            "--connections" => value.parse().map(|it| options.connections = it).is_ok(),
            "--rate" => value.parse().map(|it| options.rate = it).is_ok(),
            "--method" | "--path" if value.is_empty() => false,
            "--method" => {
                options.method = value.clone();
                true
            }
            "--path" => {
                options.path = value.clone();
                true
            }
            "--seconds" => value.parse().map(|it| options.seconds = it).is_ok(),
            _ if !is_option => value.parse().map(|it| options.address = it).is_ok(),
            _ => false,
        };
        if !is_set {
            return Err(wrong(format!("`{argument} {value}` makes no sense")));
        }
    }
    Ok(options)
}
