//! The examples of good manners in production keep what their headers promise: ends, limits, sockets, options, sentences.
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{ANY, Server, ask, example, is_silent, rest_of};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{eventually, watched};

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs an example that must refuse how it was started, and returns what it says.
fn refusal(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !err.contains("panicked"), "{err}");
    err
}

// ---- drain ------------------------------------------------------------------------------------

#[cfg(feature = "signal")]
mod drain {
    use super::*;

    fn drain(arguments: &[&str]) -> Server {
        Server::start("drain", &[&[ANY], arguments].concat())
    }

    /// With a request in flight, and the signal that says how many there are has been taken.
    fn in_flight(server: &mut Server, request: &str, signal: i32) -> TcpStream {
        let mut stream = server.connect();
        assert_eq!(ask(&mut stream, b"in\n"), b"in\n");
        stream.write_all(request.as_bytes()).unwrap();
        thread::sleep(millis(50)); // so that it is being worked on; nothing here fails when it is not
        server.signal(signal);
        assert!(server.error().starts_with(&format!("signal {signal}: ")));
        stream
    }

    #[test]
    fn what_is_in_flight_is_finished_after_the_signal_and_the_status_is_0() {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            watched(60, || {
                let mut server = drain(&["--deadline", "50"]);
                let start = Instant::now();
                let stream = in_flight(&mut server, "sleep 600\nand this\n", signal);
                assert_eq!(rest_of(&stream), "sleep 600\nand this\n");
                assert!(start.elapsed() >= millis(600), "{:?}", start.elapsed());
                let (status, err) = server.ended();
                assert_eq!((status.code(), err.as_str()), (Some(0), "all are served\n"));
                assert!(start.elapsed() < Duration::from_secs(40), "not by the deadline");
            });
        }
    }

    #[test]
    fn new_clients_are_refused_and_idle_ones_see_an_end_while_others_are_served() {
        watched(60, || {
            let mut server = drain(&["--deadline", "50"]);
            let (mut asked, silent, mut half) =
                (server.connect(), server.connect(), server.connect());
            assert_eq!(ask(&mut asked, b"x\n"), b"x\n");
            half.write_all(b"no end").unwrap();
            let busy = in_flight(&mut server, "sleep 3000\n", libc::SIGTERM);
            for idle in [asked, silent, half] {
                assert_eq!(rest_of(&idle), "");
            }
            let refused = TcpStream::connect(server.address).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert!(is_silent(&busy), "all of this took less than its 3 s");
            assert_eq!(rest_of(&busy), "sleep 3000\n");
            assert!(server.ended().0.success());
        });
    }

    #[test]
    fn a_client_that_the_kernel_has_let_in_before_the_signal_is_answered() {
        watched(60, || {
            let server = drain(&["--deadline", "50"]);
            server.signal(libc::SIGSTOP);
            let mut stream = server.connect();
            stream.write_all(b"just in time\n").unwrap();
            server.signal(libc::SIGTERM);
            server.signal(libc::SIGCONT);
            assert_eq!(rest_of(&stream), "just in time\n");
            assert!(server.ended().0.success());
        });
    }

    #[test]
    fn at_the_deadline_what_is_left_is_aborted_and_the_status_is_still_0() {
        watched(60, || {
            let mut server = drain(&["--deadline", "0.5"]);
            let start = Instant::now();
            let mut stuck = in_flight(&mut server, "sleep 1000000\n", libc::SIGTERM);
            assert!(matches!(stuck.read(&mut [0]), Ok(0)));
            let (status, err) = server.ended();
            assert_eq!((status.code(), err.as_str()), (Some(0), "the deadline is over\n"));
            assert!(start.elapsed() >= millis(500), "{:?}", start.elapsed());
        });
    }

    #[test]
    fn a_second_signal_ends_it_at_once() {
        watched(60, || {
            let mut server = drain(&["--deadline", "1000"]);
            let mut stuck = in_flight(&mut server, &format!("sleep {}\n", u64::MAX), libc::SIGTERM);
            assert!(is_silent(&stuck));
            server.signal(libc::SIGTERM);
            assert!(matches!(stuck.read(&mut [0]), Ok(0)));
            let (status, err) = server.ended();
            assert_eq!((status.code(), err.as_str()), (Some(0), "another signal\n"));
        });
    }

    #[test]
    fn a_deadline_that_is_none_is_refused() {
        watched(30, || {
            for arguments in [&["--deadline"][..], &["--deadline", "soon"]] {
                let err = refusal(example("drain").args(arguments));
                assert!(err.contains("a number of seconds"), "{err}");
            }
        });
    }
}

// ---- limits -----------------------------------------------------------------------------------

fn limits(arguments: &[&str]) -> Server {
    Server::start("limits", &[&[ANY], arguments].concat())
}

#[test]
fn a_client_that_sends_byte_by_byte_is_cut_at_the_limit_while_others_are_served() {
    watched(60, || {
        let mut server = limits(&["--first", "30", "--idle", "30", "--request", "1"]);
        let before = server.fds();
        let (mut slow, mut other) = (server.connect(), server.connect());
        assert_eq!(ask(&mut slow, b"fast\n"), b"fast\n");
        let start = Instant::now();
        eventually("the slow one is cut", || {
            let _may_be_closed = slow.write_all(b"x");
            thread::sleep(millis(20));
            assert_eq!(ask(&mut other, b"still there\n"), b"still there\n");
            server.fds() == before + 1
        });
        assert!(start.elapsed() >= millis(1000), "{:?}", start.elapsed());
        assert!(server.error().ends_with(": a slow request for 1s\n"));
        server.stop();
    });
}

#[test]
fn a_client_that_takes_no_answers_is_cut_at_the_limit_of_a_request() {
    watched(60, || {
        let mut server = limits(&["--first", "30", "--idle", "30", "--request", "0.5"]);
        let mut stream = server.connect();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let lines = [&[b'x'; 999][..], b"\n"].concat().repeat(64);
        let closed = loop {
            if let Err(error) = stream.write_all(&lines) {
                break error.kind();
            }
        };
        assert!(matches!(closed, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{closed}");
        assert!(server.error().ends_with(": a slow request for 500ms\n"));
        server.stop();
    });
}

#[test]
fn silence_is_cut_before_the_first_byte_and_between_requests_each_at_its_limit() {
    watched(60, || {
        let mut server = limits(&["--first", "0.5", "--idle", "1.5", "--request", "30"]);
        let start = Instant::now();
        let (silent, mut idle, mut slow) = (server.connect(), server.connect(), server.connect());
        slow.write_all(b"in no hu").unwrap();
        assert_eq!(ask(&mut idle, b"x\n"), b"x\n");
        assert_eq!(rest_of(&silent), "");
        assert!(start.elapsed() >= millis(500), "{:?}", start.elapsed());
        assert_eq!(rest_of(&idle), "");
        assert!(start.elapsed() >= millis(1500), "{:?}", start.elapsed());
        assert!(server.error().ends_with(": no first byte for 500ms\n"));
        assert!(server.error().ends_with(": idle for 1.5s\n"));
        assert_eq!(ask(&mut slow, b"rry\n")[..], *b"in n");
        server.stop();
    });
}

#[test]
fn one_more_than_there_are_places_waits_and_is_served_when_one_is_free() {
    watched(60, || {
        let server = limits(&["--connections", "3", "--first", "50"]);
        let mut clients = [(); 3].map(|()| server.connect());
        let mut waiting = server.connect();
        waiting.write_all(b"me too\n").unwrap();
        for round in [*b"1\n", *b"2\n"] {
            for client in &mut clients {
                assert_eq!(ask(client, &round), round);
            }
            thread::sleep(millis(100));
            assert!(is_silent(&waiting), "it has to wait");
        }
        drop(clients.into_iter().next());
        let mut answer = [0; 7];
        waiting.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"me too\n");
        server.stop();
    });
}

/// From another address of this machine.
fn connect_from(address: &str, server: &Server) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&server.address.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.into()
}

#[test]
fn an_address_has_so_many_places_and_another_one_has_its_own() {
    watched(60, || {
        let server = limits(&["--each", "2", "--first", "50"]);
        let mut two = [(); 2].map(|()| server.connect());
        for _ in 0..3 {
            assert_eq!(rest_of(&server.connect()), "too many connections\n");
        }
        let mut other = connect_from("127.0.0.2:0", &server);
        for client in two.iter_mut().chain([&mut other]) {
            assert_eq!(ask(client, b"in\n"), b"in\n");
        }
        let before = server.fds();
        drop(two.into_iter().next());
        // Both of them are dropped, the iterator's rest as well; and both places are there again.
        eventually("they are closed", || server.fds() == before - 2);
        let mut two = [(); 2].map(|()| server.connect());
        two.iter_mut().for_each(|client| assert_eq!(ask(client, b"in\n"), b"in\n"));
        assert_eq!(rest_of(&server.connect()), "too many connections\n");
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn limits_that_are_none_are_refused() {
    watched(30, || {
        for arguments in [&["--each"][..], &["--idle", "-1"], &["--connections", "0"]] {
            let err = refusal(example("limits").args(arguments));
            assert!(err.contains("needs a number"), "{err}");
        }
    });
}

// ---- activation -------------------------------------------------------------------------------

/// What sends `listener` along as descriptor 3. `pid` is what `LISTEN_PID` says: `$$` is the server's own.
fn activated(listener: impl Into<OwnedFd>, pid: &str, count: &str) -> Command {
    let server = example("activation");
    let mut command = Command::new("sh");
    // It comes as standard input, since that is what std can pass on.
    let script = format!("LISTEN_PID={pid} exec \"$0\" {ANY} 3<&0 0</dev/null");
    command.args(["-c", &script]).arg(server.get_program()).env("LISTEN_FDS", count);
    command.stdin(listener.into()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_listener_that_was_handed_over_is_served_and_outlives_the_server() {
    watched(60, || {
        let listener = TcpListener::bind(ANY).unwrap();
        for _ in 0..2 {
            // It comes before there is a server, as after a restart.
            let mut early = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = Server::spawned(&mut activated(listener.try_clone().unwrap(), "$$", "1"));
            assert_eq!(server.address, listener.local_addr().unwrap());
            assert_eq!(ask(&mut early, b"early"), b"early");
            assert_eq!(ask(&mut server.connect(), b"late"), b"late");
            assert_eq!(server.stop(), "");
        }
    });
}

#[test]
fn a_listener_that_is_meant_for_somebody_else_is_left_alone() {
    watched(60, || {
        let listener = TcpListener::bind(ANY).unwrap();
        for pid in ["1", "", "$PPID", "nobody"] {
            let server = Server::spawned(&mut activated(listener.try_clone().unwrap(), pid, "1"));
            assert_ne!(server.address, listener.local_addr().unwrap(), "LISTEN_PID={pid}");
            assert_eq!(ask(&mut server.connect(), b"alone"), b"alone");
            server.stop();
        }
    });
}

#[test]
fn what_is_handed_over_and_is_no_listener_is_refused_with_a_reason() {
    watched(60, || {
        let listener = TcpListener::bind(ANY).unwrap();
        let err = refusal(&mut activated(listener.try_clone().unwrap(), "$$", "1000"));
        assert!(err.contains("there is no descriptor"), "{err}");
        let err = refusal(&mut activated(listener.try_clone().unwrap(), "$$", "one"));
        assert!(err.contains("LISTEN_FDS is no number"), "{err}");
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let err = refusal(&mut activated(stream, "$$", "1"));
        assert!(err.contains("descriptor 3 does not listen"), "{err}");
    });
}

// ---- keepalive --------------------------------------------------------------------------------

#[test]
fn keepalive_says_of_each_client_what_the_kernel_has_set() {
    watched(30, || {
        let mut server = Server::start("keepalive", &[ANY]);
        let header = include_str!("../examples/keepalive.rs");
        let promised = header.lines().find_map(|line| line.strip_prefix("//! 127.0.0.1:45678: "));
        for _ in 0..2 {
            let mut stream = server.connect();
            assert_eq!(ask(&mut stream, b"hello"), b"hello");
            let who = stream.local_addr().unwrap();
            assert_eq!(server.error(), format!("{who}: {}\n", promised.unwrap()));
        }
        assert_eq!(server.stop(), "");
    });
}

// ---- sigquit ----------------------------------------------------------------------------------

#[cfg(feature = "signal")]
#[test]
fn sigquit_prints_the_sentences_of_its_header_and_the_server_goes_on() {
    watched(30, || {
        let mut server = Server::start("sigquit", &[ANY]);
        let mut stream = server.connect();
        let header = include_str!("../examples/sigquit.rs");
        let sentences: Vec<&str> = header
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .filter(|line| line.starts_with("task ") && line.contains("` ("))
            .collect();
        assert_eq!(sentences.len(), 2);
        // The numbers of descriptors and of seconds differ from run to run, and the client's port.
        let unnumbered = |sentence: &str, client: &str| {
            let words: Vec<&str> = sentence.trim().split(' ').collect();
            let shown = words.iter().enumerate().map(|(n, word)| {
                let number =
                    words[n - usize::from(n > 0)] == "fd" || words.get(n + 1) == Some(&"s");
                if number { "#".to_owned() } else { word.replace(client, "#") }
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        let client = stream.local_addr().unwrap().to_string();
        for round in 0..3u8 {
            assert_eq!(ask(&mut stream, &[round; 9]), [round; 9]);
            server.signal(libc::SIGQUIT);
            for promised in &sentences {
                let promised = unnumbered(promised, "127.0.0.1:45678");
                assert_eq!(unnumbered(&server.error(), &client), promised);
            }
        }
        assert_eq!(ask(&mut stream, b"still there"), b"still there");
        assert_eq!(server.stop(), "");
    });
}
