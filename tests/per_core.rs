//! The echo server on every core, among the examples: one address, and connections for each worker.
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{ANY, Server, ask, reset};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use support::{eventually, watched};

/// What `shares` is answered with.
fn shares(stream: &mut TcpStream) -> Vec<usize> {
    stream.write_all(b"shares\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split_whitespace().map(|share| share.parse().unwrap()).collect()
}

/// How many processors this thread, and with it the program, may run on.
fn processors() -> usize {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        1 + last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap()
    });
    ranges.sum()
}

#[test]
fn any_port_is_one_port_with_a_listener_for_each_processor() {
    watched(30, || {
        let server = Server::start("per_core", &[ANY]);
        assert_eq!(shares(&mut server.connect()).len(), processors());
        let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let (local, listens) = (format!(" 0100007F:{:04X} ", server.address.port()), " 0A ");
        let listeners = tcp.lines().filter(|it| it.contains(&local) && it.contains(listens));
        assert_eq!(listeners.count(), processors());
        assert_eq!(server.stop(), "");
    });
}

/// The kernel divides binomially: of 250 a worker, one has less than half of that with a probability of 10^-14.
#[test]
fn the_connections_are_divided_and_each_is_counted_once() {
    watched(120, || {
        let server = Server::start("per_core", &[ANY]);
        let mut asking = server.connect();
        let clients = 250 * processors().min(60);
        for n in 0..clients {
            let mut stream = server.connect();
            match n % 3 {
                0 => {}
                1 => assert_eq!(ask(&mut stream, b"hello\n"), b"hello\n"),
                _ => reset(stream),
            }
        }
        eventually("all are accepted", || shares(&mut asking).iter().sum::<usize>() == clients + 1);
        let shares = shares(&mut asking);
        let least = if processors() <= 60 { 125 } else { 0 };
        assert!(shares.iter().all(|share| *share >= least), "{shares:?}");
        server.stop();
    });
}

#[test]
fn clients_of_different_workers_are_all_served_and_leave_nothing() {
    watched(60, || {
        let server = Server::start("per_core", &[ANY]);
        let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
        for round in 0..3 {
            for (n, client) in clients.iter_mut().enumerate() {
                let line = format!("{round} {n}\n").into_bytes();
                assert_eq!(ask(client, &line), line);
            }
        }
        // Not as it began: the workers open theirs when all listen already.
        let before = server.fds() - clients.len();
        for (n, mut client) in clients.into_iter().enumerate() {
            match n % 3 {
                0 => drop(client),
                1 => {
                    client.write_all(&[b'x'; 5000]).unwrap();
                    reset(client);
                }
                _ => {
                    // The last line lacks its end.
                    client.write_all(b"one\ntwo").unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    let mut rest = String::new();
                    client.read_to_string(&mut rest).unwrap();
                    assert_eq!(rest, "one\ntwo");
                }
            }
        }
        eventually("all connections are closed", || server.fds() == before);
        let mut endless = server.connect();
        endless.write_all(&[b'x'; 4096]).unwrap();
        let mut rest = String::new();
        endless.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "error: a long line\n");
        server.stop();
    });
}

#[test]
fn an_address_that_is_taken_ends_the_program_with_the_reason() {
    watched(30, || {
        let taken = std::net::TcpListener::bind(ANY).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for (argument, reason) in [(&*address, "in use"), ("here", "ADDR is in numbers")] {
            let output = programs::example("per_core").arg(argument).output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
            assert!(err.contains(reason) && !err.contains("panicked"), "{err}");
        }
    });
}
