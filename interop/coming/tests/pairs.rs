//! Runs what stands in programs/, and compares: what the sides of a pair print is the same, and where the page says that they differ,
//! they do, in this way.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

// How a test is written is shown too.
#[path = "../programs/tests/tokio.rs"]
mod tested_on_tokio;
#[path = "../programs/tests/waken.rs"]
mod tested_on_waken;

const LONGEST: Duration = Duration::from_secs(60);

/// A program, killed when it is dropped, and when it takes too long.
struct Program {
    child: Arc<Mutex<Child>>,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
    late: Arc<AtomicBool>,
    name: String,
}

impl Program {
    fn start(topic: &str, side: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coming"));
        command.args([topic, side]).env("RUST_BACKTRACE", "0");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let errors = child.stderr.take().unwrap();
        let (child, late) = (Arc::new(Mutex::new(child)), Arc::new(AtomicBool::new(false)));
        let (watched, is_late) = (Arc::downgrade(&child), late.clone());
        thread::spawn(move || {
            thread::sleep(LONGEST);
            if let Some(child) = watched.upgrade() {
                is_late.store(true, Relaxed);
                let _ended_already = child.lock().unwrap().kill();
            }
        });
        Program { child, output, errors, late, name: format!("{topic}/{side}.rs") }
    }

    /// The next line, without its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{} ended, or stood still: {line:?}", self.name);
        line.trim_end().to_owned()
    }

    /// One that has said where it listens.
    fn connect(&mut self) -> TcpStream {
        let line = self.line();
        let address =
            line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{}: {line}", self.name));
        connect(address)
    }

    fn signal(&self, signal: i32) {
        let id = self.child.lock().unwrap().id().to_string();
        let sent = Command::new("kill").args([format!("-{signal}"), id]).status().unwrap();
        assert!(sent.success());
    }

    /// What else it prints; and if it does not end well, what it says of that.
    fn end(mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let status = self.child.lock().unwrap().wait().unwrap();
        assert!(!self.late.load(Relaxed), "{} stood still", self.name);
        if !status.success() {
            text += "and fails: ";
            self.errors.read_to_string(&mut text).unwrap();
        }
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ended_already = child.kill();
        child.wait().unwrap();
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    stream
}

fn echoes(stream: &mut TcpStream, what: &[u8]) {
    let mut back = vec![0; what.len()];
    stream.write_all(what).unwrap();
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, what);
}

/// Those that end by themselves, and what all sides of them print.
const PAIRS: &[(&str, &str)] = &[
    ("hello", "hello\n"),
    ("tasks", "42\ncancelled: true\npanicked: true\n"),
    ("time", "slept\nin time: false\ntick 0\ntick 1\ntick 2\n"),
    ("halves", "ping\npong\n"),
    ("select", "sweep\nnothing to do\n"),
    ("channels", "1\n2\n3\n6\n"),
    ("blocking", "coming\n"),
    ("local", "1\n"),
];

/// Those that a test of their own talks to; `tests` is above.
const OTHERS: &[&str] = &["echo", "cores", "signals", "drain", "web", "tests"];

/// The files of a folder, without what comes after the dot.
fn names(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| !path.ends_with("rustfmt.toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// On which runtimes there is such a program, at least ours and another.
fn sides(topic: &str) -> Vec<String> {
    let sides = names(&format!("programs/{topic}"));
    assert!(sides.len() >= 2 && sides.iter().any(|side| side == "waken"), "{topic}: {sides:?}");
    sides
}

#[test]
fn nothing_is_shown_that_is_not_run() {
    let mut run: Vec<&str> = PAIRS.iter().map(|(topic, _)| *topic).collect();
    run.extend(OTHERS);
    run.extend(SAID.iter().map(|(topic, _, _)| *topic));
    run.sort();
    run.dedup();
    assert_eq!(run, names("programs"));
}

#[test]
fn both_sides_print_the_same() {
    for (topic, expected) in PAIRS {
        for side in sides(topic) {
            assert_eq!(Program::start(topic, &side).end(), *expected, "{topic}/{side}.rs");
        }
    }
}

#[test]
fn the_servers_echo() {
    let all =
        ["echo", "cores"].map(|topic| sides(topic).into_iter().map(move |side| (topic, side)));
    for (topic, side) in all.into_iter().flatten() {
        let mut program = Program::start(topic, &side);
        let mut first = program.connect();
        let address = first.peer_addr().unwrap().to_string();
        let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(&address)).collect();
        for client in clients.iter_mut().chain([&mut first]) {
            echoes(client, b"hello");
            echoes(client, &[7; 3000]);
        }
        // A client that has gone harms nobody, and one that ends its sending is sent the end.
        clients.pop();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0, "{topic}/{side}.rs");
        clients.iter_mut().for_each(|client| echoes(client, b"still there"));
    }
}

#[test]
fn signals_are_told_of() {
    for side in sides("signals") {
        let mut program = Program::start("signals", &side);
        assert_eq!(program.line(), "ready");
        program.signal(libc::SIGHUP);
        assert_eq!(program.line(), "reloading", "{side}");
        program.signal(libc::SIGTERM);
        assert_eq!(program.end(), "bye\n", "{side}");
    }
}

#[test]
fn who_is_there_is_served_to_the_end() {
    for side in sides("drain") {
        let mut program = Program::start("drain", &side);
        let mut client = program.connect();
        echoes(&mut client, b"before");
        program.signal(libc::SIGTERM);
        let address = client.peer_addr().unwrap();
        while TcpStream::connect(address).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        echoes(&mut client, b"after");
        drop(client);
        assert_eq!(program.end(), "all served: true\n", "{side}");
    }
}

#[test]
fn the_web_servers_answer_alike() {
    for side in sides("web") {
        let mut program = Program::start("web", &side);
        let mut stream = program.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{side}: {head}");
        assert_eq!(body, "hello\n", "{side}");
    }
}

/// "Differences that bite", line by line.
const SAID: &[(&str, &str, &str)] = &[
    ("dropped", "tokio", "it runs\nthe end\n"),
    ("dropped", "smol", "the end\n"),
    ("dropped", "monoio", "it runs\nthe end\n"),
    ("dropped", "waken", "it runs\nthe end\n"),
    ("panicked", "tokio", "the others run on\n"),
    ("panicked", "smol", "the others run on\n"),
    ("panicked", "monoio", "and fails: oh"),
    ("panicked", "waken", "the others run on\n"),
    ("nested", "tokio", "and fails: Cannot start a runtime from within a runtime."),
    ("nested", "smol", "inside\n"),
    ("nested", "monoio", "and fails: Can not start a runtime inside a runtime"),
    (
        "nested",
        "waken",
        "and fails: `block_on` inside `block_on`: the thread is running a runtime already; `.await` the future",
    ),
    ("outside", "tokio", "and fails: there is no reactor running"),
    ("outside", "smol", "made: true\n"),
    ("outside", "waken", "made: false\n"),
    ("ticks", "tokio", "at once: true\n"),
    ("ticks", "smol", "at once: false\n"),
    ("ticks", "monoio", "at once: true\n"),
    ("ticks", "waken", "at once: true\n"),
];

#[test]
fn they_differ_as_the_page_says() {
    for (topic, _, _) in SAID {
        let mut said: Vec<&str> = SAID.iter().filter(|it| it.0 == *topic).map(|it| it.1).collect();
        said.sort();
        assert_eq!(said, sides(topic), "{topic}");
    }
    let found = SAID.iter().map(|(topic, side, _)| Program::start(topic, side).end());
    for ((topic, side, expected), found) in SAID.iter().zip(found) {
        // Before the message stands where that was, and what comes after it is of no interest.
        let fails = |(before, error): (&str, &str)| {
            let message = error.split_once(":\n").map_or(error, |(_, message)| message);
            format!("{before}and fails: {message}")
        };
        let found = found.split_once("and fails: ").map(fails).unwrap_or(found);
        let fits = match expected.contains("and fails: ") {
            true => found.starts_with(expected),
            false => found == *expected,
        };
        assert!(fits, "{topic}/{side}.rs prints {found:?}, and not {expected:?}");
    }
}

macro_rules! is_send {
    ($type:ty) => {{
        // The inherent constant is there if the type is `Send`, and wins then.
        #[allow(dead_code)]
        trait Other {
            const IS: bool = false;
        }
        impl<T> Other for Of<T> {}
        struct Of<T>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: Send> Of<T> {
            const IS: bool = true;
        }
        Of::<$type>::IS
    }};
}

/// The line of that table about `Send`.
#[test]
fn sockets_cross_threads_or_do_not() {
    assert!(is_send!(tokio::net::TcpStream) && is_send!(tokio::time::Sleep));
    assert!(is_send!(smol::net::TcpStream) && is_send!(smol::Timer));
    assert!(!is_send!(monoio::net::TcpStream) && !is_send!(monoio::time::Sleep));
    assert!(is_send!(waken::AsyncTcpStream) && is_send!(waken::time::Sleep));
}
