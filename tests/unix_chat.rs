//! The chat over a Unix socket, among the examples, keeps what its header promises, whatever its members do.
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{Killed, example};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;
use support::{eventually, guard, watched};

/// The program, and what it has printed since.
struct Chat {
    child: Killed,
    printed: Receiver<String>,
    path: PathBuf,
}

/// Whose lines begin so: all members are of this process.
fn name(number: u64) -> String {
    format!("{number} (pid {})", std::process::id())
}

/// A path for one test. Short: the kernel takes no more than 107 bytes.
fn path(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("waken-{}-{test}.sock", std::process::id()));
    let _there_is_none = fs::remove_file(&path);
    path
}

impl Chat {
    fn start(path: PathBuf) -> Chat {
        let mut child = Killed(example("unix_chat").arg(&path).spawn().unwrap());
        let mut out = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let (lines, printed) = mpsc::channel();
        // Always read: a full pipe would stop the program.
        thread::spawn(
            move || while out.next().is_some_and(|it| lines.send(it.unwrap()).is_ok()) {},
        );
        let chat = Chat { child, printed, path };
        assert_eq!(chat.printed(), format!("listening on {}", chat.path.display()));
        chat
    }

    fn printed(&self) -> String {
        self.printed.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn connect(&self) -> Member {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Member(BufReader::new(stream))
    }

    /// Three members, numbered in the order of their coming, each known to be in.
    fn three(&self) -> [Member; 3] {
        let mut members = [(); 3].map(|()| self.connect());
        // The last was accepted last: once it is heard by the others, all are in.
        members[2].say("in\n");
        let heard = format!("{}: in", name(3));
        assert_eq!([members[0].hears(), members[1].hears()], [&*heard, &*heard]);
        assert_eq!(self.printed(), heard);
        members
    }

    fn fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.0.id())).unwrap().count()
    }

    /// Ends it, which must be running. The socket stays where it is.
    fn stop(mut self) -> PathBuf {
        let ended = self.child.0.try_wait().unwrap();
        drop(self.child);
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        self.path
    }
}

struct Member(BufReader<UnixStream>);

impl Member {
    fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.strip_suffix('\n').expect("a whole line").to_owned()
    }
}

fn refusal(path: &Path) -> String {
    let Output { status, stderr, .. } = example("unix_chat").arg(path).output().unwrap();
    assert!(!status.success(), "{status}");
    String::from_utf8(stderr).unwrap()
}

#[test]
fn every_line_is_printed_and_goes_to_everybody_else() {
    watched(30, || {
        let chat = Chat::start(path("lines"));
        let [mut one, mut two, mut three] = chat.three();
        // In pieces, and two lines in one: what counts is the end of a line.
        one.say("hel");
        thread::sleep(Duration::from_millis(20));
        one.say("lo\nagain\r\n");
        for line in ["hello", "again"] {
            let line = format!("{}: {line}", name(1));
            assert_eq!(
                [two.hears(), three.hears(), chat.printed()],
                [(); 3].map(|()| line.clone())
            );
        }
        two.say("bye\n");
        assert_eq!(one.hears(), format!("{}: bye", name(2)), "nobody hears himself");
        assert_eq!(three.hears(), format!("{}: bye", name(2)));
        fs::remove_file(chat.stop()).unwrap();
    });
}

#[test]
fn the_socket_of_an_earlier_run_is_replaced() {
    watched(30, || {
        let left = Chat::start(path("stale")).stop();
        assert!(fs::metadata(&left).unwrap().file_type().is_socket());
        let chat = Chat::start(left);
        chat.three();
        fs::remove_file(chat.stop()).unwrap();
    });
}

#[test]
fn a_socket_where_somebody_listens_is_left_to_him_also_when_he_is_busy() {
    watched(30, || {
        let chat = Chat::start(path("taken"));
        chat.three(); // before the other, whose question counts as a member
        assert!(refusal(&chat.path).contains("in use"));
        fs::remove_file(chat.stop()).unwrap();
        // One that accepts nobody, and has no room for more.
        let path = path("full");
        let _listener = UnixListener::bind(&path).unwrap();
        let (full, filled) = mpsc::channel();
        let target = path.clone();
        // The last one blocks, until the end of the test.
        thread::spawn(
            move || while UnixStream::connect(&target).is_ok_and(|it| full.send(it).is_ok()) {},
        );
        let connected = || filled.recv_timeout(Duration::from_millis(300)).ok();
        let clients: Vec<_> = std::iter::from_fn(connected).collect();
        assert!(refusal(&path).contains("in use"), "{} clients wait", clients.len());
        assert!(path.exists());
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_file_that_is_no_socket_is_not_removed() {
    watched(30, || {
        let path = path("file");
        fs::write(&path, "somebody's work").unwrap();
        assert!(refusal(&path).contains("in use"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's work");
        fs::remove_file(path).unwrap();
    });
}

#[test]
fn members_that_vanish_or_never_end_a_line_hurt_nobody_and_leave_nothing() {
    watched(60, || {
        let chat = Chat::start(path("vanish"));
        let [mut one, mut two, _three] = chat.three();
        let before = chat.fds();
        for n in 0..60 {
            let mut member = chat.connect();
            match n % 3 {
                0 => {}
                1 => member.say("half a li"),
                // Gone with lines unread: a Unix socket says `ConnectionReset` for that.
                _ => {
                    one.say("are you there?\n");
                    two.hears();
                }
            }
        }
        let mut endless = chat.connect();
        let _may_be_cut_off = endless.0.get_mut().write_all(&[b'x'; 100_000]);
        let rest = endless.0.get_mut().read_to_end(&mut Vec::new());
        assert!(
            rest.is_ok() || rest.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        );
        drop(endless);
        eventually("all who left are forgotten", || chat.fds() == before);
        one.say(vec![b'y'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>());
        assert_eq!(two.hears().len(), name(1).len() + 2 + 1023, "the longest line there may be");
        fs::remove_file(chat.stop()).unwrap();
    });
}

#[test]
fn bytes_that_are_no_text_or_command_a_terminal_are_not_passed_on() {
    watched(30, || {
        let chat = Chat::start(path("bytes"));
        let [mut one, mut two, _three] = chat.three();
        one.say(b"\x1b[2Jred\xff\x00\n");
        assert_eq!(two.hears(), format!("{}:  [2Jred\u{fffd} ", name(1)));
        fs::remove_file(chat.stop()).unwrap();
    });
}

/// Of its memory that is in use.
fn resident(chat: &Chat) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", chat.child.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn a_member_who_does_not_read_misses_lines_and_the_others_none() {
    guard(120).cpu_ms(10_000).run(|| {
        let chat = Chat::start(path("slow"));
        let [mut talker, mut listener, mut slow] = chat.three();
        let before = resident(&chat);
        const LINES: usize = 20_000;
        for n in 0..LINES {
            talker.say(format!("{n:0999}\n"));
            assert!(listener.hears().ends_with(&n.to_string()));
        }
        let grown = resident(&chat).saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes more, of {LINES} lines of a thousand");
        // He is still in. What he hears is whole lines, in order, not all of them; and then the newest again.
        let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        slow.say("I slept\n");
        assert!(listener.hears().ends_with("I slept"));
        let last = |line: &str| line.ends_with(&LINES.to_string());
        let (mut heard, mut newest) = (0, None);
        loop {
            let line = slow.hears();
            if last(&line) {
                break;
            }
            assert!(newest < Some(number(&line)), "{newest:?}, and then {line}");
            newest = Some(number(&line));
            heard += 1;
            // Say it again and again, as long as there is no room for it.
            talker.say(format!("{LINES}\n"));
        }
        assert!(heard > 100 && heard < LINES / 2, "{heard}");
        fs::remove_file(chat.stop()).unwrap();
    });
}

#[test]
fn a_talker_without_a_pause_is_heard_to_the_last_line() {
    guard(60).cpu_ms(1_000).run(|| {
        let chat = Chat::start(path("fast"));
        let [mut talker, mut listener, _three] = chat.three();
        // More than a queue holds, and no more than a queue and the kernel hold for a listener who is late.
        for _ in 0..5 {
            talker.say("\n".repeat(20_000));
            for _ in 0..20_000 {
                assert_eq!(listener.hears(), format!("{}: ", name(1)));
            }
        }
        fs::remove_file(chat.stop()).unwrap();
    });
}
