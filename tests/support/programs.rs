//! The examples as programs: how a test starts one, talks to it, and ends it.
//!
//! They are run as they were built by `cargo test` (or `cargo build --examples`), beside the test.
#![allow(dead_code, unreachable_pub, unsafe_code)] // Each test file uses some of it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

pub const ANY: &str = "127.0.0.1:0";

pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: `cargo build --examples`", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A child that does not survive this test, however that ends.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server among the examples.
pub struct Server {
    child: Killed,
    out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(name: &str, arguments: &[&str]) -> Server {
        Server::spawned(example(name).args(arguments))
    }

    pub fn spawned(command: &mut Command) -> Server {
        let mut child = Killed(command.spawn().unwrap());
        let mut out = BufReader::new(child.0.stdout.take().unwrap());
        let err = BufReader::new(child.0.stderr.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").expect(&line).trim().parse().unwrap();
        Server { child, out, err, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// How many descriptors it may have.
    pub fn most_fds(&self) -> usize {
        self.exchange_most_fds(None)
    }

    /// Lets it have no more than `most` descriptors, until that is changed again. Returns what it was.
    pub fn limit_fds(&self, most: usize) -> usize {
        self.exchange_most_fds(Some(most))
    }

    fn exchange_most_fds(&self, most: Option<usize>) -> usize {
        let process = self.child.0.id() as libc::pid_t;
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit lives; no new one is given.
        let known = unsafe {
            libc::prlimit(process, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before)
        };
        assert_eq!(known, 0, "{}", std::io::Error::last_os_error());
        if let Some(most) = most {
            let limit = libc::rlimit { rlim_cur: most as u64, ..before };
            // SAFETY: the limit lives; the old one is not asked for.
            let set = unsafe {
                libc::prlimit(process, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
            };
            assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        }
        before.rlim_cur as usize
    }

    /// Waits for the next line on its standard error.
    pub fn error(&mut self) -> String {
        let mut line = String::new();
        self.err.read_line(&mut line).unwrap();
        line
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a system call without memory. The child is ours, and not waited for yet.
        let sent = unsafe { libc::kill(self.child.0.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    /// Waits until the server has ended by itself: how, and what it has still said on its standard error.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.err.read_to_string(&mut err).unwrap();
        self.out.read_to_string(&mut out).unwrap();
        assert_eq!(out, "", "one line on standard output, and no more");
        (self.child.0.wait().unwrap(), err)
    }

    /// Ends the server, which must be running, and must have printed nothing more to its standard output.
    pub fn stop(mut self) -> String {
        let ended = self.child.0.try_wait().unwrap();
        self.child.0.kill().unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.err.read_to_string(&mut err).unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{err}");
        assert_eq!(out, "", "one line on standard output, and no more");
        err
    }
}

/// What comes back for `bytes`.
pub fn ask(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// All that still comes until the end, which must be an end and no reset.
pub fn rest_of(mut stream: &TcpStream) -> String {
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    let rest = String::from_utf8(rest).unwrap();
    assert!(ended.is_ok(), "{ended:?} after {rest:?}");
    rest
}

/// Whether there is nothing to be read, not even the end.
pub fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Closes by a reset instead of an end.
pub fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel reads `size` bytes of `linger`.
    let result = unsafe {
        let (option, value) = (libc::SO_LINGER, (&raw const linger).cast());
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, option, value, size)
    };
    assert_eq!(result, 0);
}
