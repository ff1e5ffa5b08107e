//! What can be set, and what holds when it is not.
//!
//! | option | when not given | |
//! |---|---:|---|
//! | `--reuse-port` | no | other processes may listen on the address as well, and the kernel divides the clients |
//! | `--proxy` | no | each connection begins with a PROXY header, version 2; without one it is refused |
//! | `--forwarded` | no | the last address of `x-forwarded-for` is the client's: only behind a proxy that sets it |
//! | `--h2c` | no | HTTP/2 without TLS, and nothing else, as proxies speak it to their servers |
//! | `--connections` | 1000 | at once. The others wait in the kernel's queue |
//! | `--first` | 10 | seconds from the connection to the end of its first request's headers |
//! | `--idle` | 75 | seconds from an answer to the end of the next headers: longer than the proxy keeps a connection |
//! | `--answer` | 15 | seconds that an answer may take to be found; then it is 503 |
//! | `--unread` | 30 | seconds that a peer may take no byte of an answer |
//! | `--lame-duck` | 5 | seconds in which to be found unhealthy: longer than the checker needs |
//! | `--settle` | 0.1 | seconds for the first request of the newest connections |
//! | `--deadline` | 20 | seconds for what is in flight then: longer than `--answer` |

use std::io;
use std::time::Duration;

pub struct Options {
    pub address: String,
    pub reuse_port: bool,
    pub proxy: bool,
    pub forwarded: bool,
    pub h2c: bool,
    pub connections: usize,
    pub first: Duration,
    pub idle: Duration,
    pub answer: Duration,
    pub unread: Duration,
    pub lame_duck: Duration,
    pub settle: Duration,
    pub deadline: Duration,
}

impl Options {
    pub fn of(mut arguments: impl Iterator<Item = String>) -> io::Result<Options> {
        let mut options = Options {
            address: "127.0.0.1:7000".to_owned(),
            reuse_port: false,
            proxy: false,
            forwarded: false,
            h2c: false,
            connections: 1000,
            first: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(15),
            unread: Duration::from_secs(30),
            lame_duck: Duration::from_secs(5),
            settle: Duration::from_millis(100),
            deadline: Duration::from_secs(20),
        };
        while let Some(argument) = arguments.next() {
            let name = argument.as_str();
            let mut seconds = || seconds(name, arguments.next());
            match name {
                "--reuse-port" => options.reuse_port = true,
                "--proxy" => options.proxy = true,
                "--forwarded" => options.forwarded = true,
                "--h2c" => options.h2c = true,
                "--connections" => {
                    let number = arguments.next().and_then(|number| number.parse().ok());
                    let number = number.filter(|number| *number > 0);
                    options.connections =
                        number.ok_or_else(|| wrong(name, "a number, from 1 on"))?;
                }
                "--first" => options.first = seconds()?,
                "--idle" => options.idle = seconds()?,
                "--answer" => options.answer = seconds()?,
                "--unread" => options.unread = seconds()?,
                "--lame-duck" => options.lame_duck = seconds()?,
                "--settle" => options.settle = seconds()?,
                "--deadline" => options.deadline = seconds()?,
                _ if name.starts_with('-') => return Err(wrong(name, "to be an option there is")),
                _ => options.address = argument,
            }
        }
        Ok(options)
    }
}

fn seconds(option: &str, argument: Option<String>) -> io::Result<Duration> {
    let number = argument.and_then(|argument| argument.parse().ok());
    let seconds = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    seconds.ok_or_else(|| wrong(option, "a number of seconds: 10, or 0.5"))
}

fn wrong(option: &str, needs: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("`{option}` needs {needs}"))
}
