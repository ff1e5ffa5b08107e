//! The examples print what their headers say, and the servers among them survive their clients.
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{ANY, Killed, Server, ask, example, reset};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Output;
use std::thread;
use std::time::Duration;
use support::{eventually, guard, watched};

// ---- running them -----------------------------------------------------------------------------

/// Runs an example to its end, and returns its standard output.
fn output_of(name: &str, arguments: &[&str]) -> String {
    let mut child = Killed(example(name).args(arguments).spawn().unwrap());
    let mut out = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let status = child.0.wait().unwrap();
    assert!(status.success(), "`{name}`: {status}\n{out}");
    out
}

/// The output that the header of an example promises: what follows its last command.
fn promised(source: &str) -> String {
    let header: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let begin = header.iter().rposition(|line| line.contains("$ cargo run")).unwrap();
    let lines = header[begin + 1..].iter().take_while(|line| !line.contains("```"));
    lines.map(|line| format!("{}\n", line.trim())).collect()
}

/// With `#` for the numbers behind `fd ` and before ` s`: what differs from run to run.
fn unnumbered(text: &str) -> String {
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let shown = (0..words.len()).map(|n| {
            let fd = n > 0 && words[n - 1] == "fd";
            let seconds = words.get(n + 1) == Some(&"s");
            if is_number(words[n]) && (fd || seconds) { "#" } else { words[n] }
        });
        shown.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Sends a lot, says that this was all, and gets all of it back, and then the end.
fn send_and_half_close(mut stream: TcpStream, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    let (mut writer, copy) = (stream.try_clone().unwrap(), sent.clone());
    let writing = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "{} of {bytes} bytes came back", received.len());
}

// ---- the programs that end --------------------------------------------------------------------

#[test]
fn hello_timeout_and_thread_print_what_their_headers_say() {
    let programs = [
        ("hello", include_str!("../examples/hello.rs")),
        ("timeout", include_str!("../examples/timeout.rs")),
        ("thread", include_str!("../examples/thread.rs")),
    ];
    for (name, source) in programs {
        watched(30, || assert_eq!(output_of(name, &[]), promised(source), "{name}"));
    }
}

#[test]
fn tasks_prints_the_sentences_of_its_header_with_the_lines_they_are_about() {
    watched(30, || {
        let promised = promised(include_str!("../examples/tasks.rs"));
        assert_eq!(unnumbered(&output_of("tasks", &[])), unnumbered(&promised));
    });
}

/// How fast, and how often it looks, the machine decides; `spin.rs` among the tests sees to what must be so.
#[test]
fn spin_prints_a_line_for_each_pause_of_its_header() {
    guard(60).cpu_ms(10_000).run(|| {
        let pauses = |text: &str| -> Vec<String> {
            let fields = text.lines().skip(1).map(str::split_whitespace);
            fields.map(|mut fields| fields.next().unwrap().to_owned()).collect()
        };
        let printed = output_of("spin", &[]);
        assert_eq!(pauses(&printed), pauses(&promised(include_str!("../examples/spin.rs"))));
        let zero =
            || printed.lines().flat_map(|line| line.split_whitespace().skip(4)).any(|n| n == "0");
        assert!(!zero(), "nobody was answered:\n{printed}");
    });
}

#[test]
fn client_prints_what_the_echo_server_sends_back_and_ends() {
    watched(30, || {
        let echo = Server::start("echo", &[ANY]);
        let address = echo.address.to_string();
        let promised = promised(include_str!("../examples/client.rs"));
        assert_eq!(output_of("client", &[&address, "hello", "world"]), promised);
        assert_eq!(output_of("client", &[&address]), "hello\n");
        echo.stop();
    });
}

#[test]
fn client_without_a_server_says_so_and_fails() {
    watched(30, || {
        let nobody = std::net::TcpListener::bind(ANY).unwrap().local_addr().unwrap();
        let Output { status, stderr, .. } =
            example("client").arg(nobody.to_string()).output().unwrap();
        assert!(!status.success());
        assert!(String::from_utf8_lossy(&stderr).contains("refused"), "{stderr:?}");
    });
}

// ---- echo and proxy ---------------------------------------------------------------------------

/// What an echo server owes its clients, near or behind a proxy.
fn echoes(server: &Server) {
    let before = server.fds();
    // Two at once, in turns: neither waits for the other.
    let (mut one, mut two) = (server.connect(), server.connect());
    for round in 0..100u8 {
        assert_eq!(ask(&mut one, &[round; 3]), [round; 3]);
        assert_eq!(ask(&mut two, &[round, 1]), [round, 1]);
    }
    send_and_half_close(one, 1 << 20);
    // Peers that vanish: at once, in the middle, with an answer on the way to them.
    for n in 0..50 {
        let mut stream = server.connect();
        match n % 3 {
            0 => {}
            1 => drop(ask(&mut stream, b"in the middle")),
            _ => stream.write_all(&[7; 100_000]).unwrap(),
        }
        reset(stream);
    }
    assert_eq!(ask(&mut two, b"still there"), b"still there");
    send_and_half_close(two, 10);
    eventually("all connections are closed", || server.fds() == before);
}

#[test]
fn echo_serves_many_survives_resets_and_keeps_nothing() {
    watched(60, || {
        let echo = Server::start("echo", &[ANY]);
        echoes(&echo);
        assert_eq!(echo.stop(), "");
    });
}

#[test]
fn echo_shared_is_as_good_a_server_also_to_a_client_that_does_not_take_for_a_while() {
    guard(60).cpu_ms(2_000).run(|| {
        let echo = Server::start("echo_shared", &[ANY]);
        echoes(&echo);
        let (mut slow, mut quick) = (echo.connect(), echo.connect());
        let sent: Vec<u8> = (0..32 << 20).map(|n| (n % 251) as u8).collect();
        let (mut writer, copy) = (slow.try_clone().unwrap(), sent.clone());
        let writing = thread::spawn(move || writer.write_all(&copy).unwrap());
        for round in 0..100u8 {
            assert_eq!(ask(&mut quick, &[round; 3]), [round; 3], "the buffer is everybody's");
            thread::sleep(Duration::from_millis(1));
        }
        let mut received = vec![0; sent.len()];
        slow.read_exact(&mut received).unwrap();
        assert!(received == sent, "not what was sent");
        writing.join().unwrap();
        assert_eq!(echo.stop(), "");
    });
}

#[test]
fn proxy_is_an_echo_server_when_it_stands_in_front_of_one() {
    watched(60, || {
        let echo = Server::start("echo", &[ANY]);
        let proxy = Server::start("proxy", &[ANY, &echo.address.to_string()]);
        let before = echo.fds();
        echoes(&proxy);
        let client = output_of("client", &[&proxy.address.to_string()]);
        assert_eq!(client, promised(include_str!("../examples/proxy.rs")));
        eventually("the server behind it has no connection", || echo.fds() == before);
        proxy.stop();
        echo.stop();
    });
}

#[test]
fn proxy_without_its_target_ends_the_connection_and_lives() {
    watched(30, || {
        let nobody = std::net::TcpListener::bind(ANY).unwrap().local_addr().unwrap();
        let proxy = Server::start("proxy", &[ANY, &nobody.to_string()]);
        for _ in 0..3 {
            assert_eq!(proxy.connect().read(&mut [0]).unwrap(), 0);
        }
        assert!(proxy.stop().contains("refused"));
    });
}

// ---- chat -------------------------------------------------------------------------------------

fn next_line(member: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    member.read_line(&mut line).unwrap();
    line
}

/// Three members, numbered in the order of their coming, each known to be in.
fn three(chat: &Server) -> [BufReader<TcpStream>; 3] {
    let mut members = [(); 3].map(|()| BufReader::new(chat.connect()));
    // The last was accepted last: once it is heard by the others, all are in.
    members[2].get_mut().write_all(b"in\n").unwrap();
    assert_eq!(next_line(&mut members[0]), "3: in\n");
    assert_eq!(next_line(&mut members[1]), "3: in\n");
    members
}

#[test]
fn chat_sends_every_line_to_everybody_else() {
    watched(30, || {
        let chat = Server::start("chat", &[ANY]);
        let [mut one, mut two, mut three] = three(&chat);
        let promised = promised(include_str!("../examples/chat.rs"));
        assert!(promised.contains("1: hello "), "{promised}");
        // In pieces, and two lines in one: what counts is the end of a line.
        one.get_mut().write_all(b"hel").unwrap();
        thread::sleep(Duration::from_millis(20));
        one.get_mut().write_all(b"lo\nagain\n").unwrap();
        for other in [&mut two, &mut three] {
            assert_eq!(next_line(other), "1: hello\n");
            assert_eq!(next_line(other), "1: again\n");
        }
        two.get_mut().write_all(b"bye\n").unwrap();
        assert_eq!(next_line(&mut one), "2: bye\n", "nobody hears himself");
        assert_eq!(next_line(&mut three), "2: bye\n");
        chat.stop();
    });
}

#[test]
fn chat_suffers_from_no_member_who_vanishes_is_slow_or_never_ends_a_line() {
    guard(60).cpu_ms(2_000).run(|| {
        let chat = Server::start("chat", &[ANY]);
        let [mut talker, mut listener, slow] = three(&chat);
        let before = chat.fds();
        for _ in 0..20 {
            reset(chat.connect());
        }
        let mut endless = chat.connect();
        let _may_be_cut_off = endless.write_all(&[b'x'; 100_000]);
        assert!(matches!(endless.read(&mut [0; 64]), Ok(0) | Err(_)), "put out");
        // `slow` reads nothing, and is put out when its buffer is full; the listener gets every line.
        let line = [&[b'y'; 999][..], b"\n"].concat();
        for _ in 0..16_000 {
            talker.get_mut().write_all(&line).unwrap();
            assert_eq!(next_line(&mut listener).len(), "1: ".len() + line.len());
        }
        eventually("the slow one is put out", || chat.fds() == before - 1);
        let mut left = Vec::new();
        let _or_a_reset = slow.into_inner().read_to_end(&mut left);
        assert!(left.len() < 16_000_000, "all was queued for it: {} bytes", left.len());
        chat.stop();
    });
}
