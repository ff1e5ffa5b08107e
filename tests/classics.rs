//! The classic epoll programs among the examples keep what their headers promise, whatever their clients do.
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{ANY, Server, ask, is_silent, reset, rest_of};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use support::{eventually, guard, watched};

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Writes until the other side has had enough.
fn write_until_closed(mut stream: &TcpStream) {
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let error = loop {
        if let Err(error) = stream.write_all(&[b'x'; 1 << 16]) {
            break error;
        }
    };
    let closed = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    assert!(closed.contains(&error.kind()), "{error}");
}

// ---- all of them ------------------------------------------------------------------------------

/// A request, and what comes back first.
const ALL: [(&str, &str, &str); 3] = [
    ("reactor_echo", "hello\n", "hello\n"),
    ("hello_http", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n"),
    ("worker_pool", "100\n", "25\n"),
];

fn is_served(mut stream: TcpStream, (name, request, answer): (&str, &str, &str)) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(line, answer, "{name}");
}

#[test]
fn clients_that_reset_hurt_nobody_and_leave_nothing() {
    for all @ (name, request, _) in ALL {
        watched(60, || {
            let server = Server::start(name, &[ANY]);
            let before = server.fds();
            let patient = server.connect();
            for n in 0..60 {
                let mut stream = server.connect();
                match n % 4 {
                    0 => {}
                    1 => stream.write_all(&request.as_bytes()[..1]).unwrap(),
                    2 => stream.write_all(request.as_bytes()).unwrap(),
                    _ => {
                        stream.write_all(request.as_bytes()).unwrap();
                        stream.read_exact(&mut [0]).unwrap();
                    }
                }
                reset(stream);
            }
            is_served(patient, all);
            eventually("all connections are closed", || server.fds() == before);
            server.stop();
        });
    }
}

#[test]
fn out_of_descriptors_they_say_so_and_serve_again_when_there_are_some() {
    for all @ (name, ..) in ALL {
        watched(60, || {
            let mut server = Server::start(name, &[ANY]);
            let before = server.fds();
            let most = server.limit_fds(before + 4);
            let clients: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
            let error = server.error();
            assert!(error.contains("accept: Too many open files"), "{name}: {error}");
            server.limit_fds(most);
            for client in clients {
                is_served(client, all);
            }
            eventually("all connections are closed", || server.fds() == before);
            server.stop();
        });
    }
}

// ---- reactor_echo -----------------------------------------------------------------------------

#[test]
fn reactor_echo_sends_back_every_byte_in_order() {
    guard(60).cpu_ms(3_000).run(|| {
        let server = Server::start("reactor_echo", &[ANY]);
        let mut stream = server.connect();
        for length in [1, 4095, 4096, 4097, 100_000] {
            let sent: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            assert!(ask(&mut stream, &sent) == sent, "{length} bytes");
        }
        // More than the kernel holds, to a client that reads late: the server has to wait in the middle of a write.
        let sent: Vec<u8> = (0..64 << 20).map(|n| (n % 251) as u8).collect();
        let (mut writer, copy) = (stream.try_clone().unwrap(), sent.clone());
        let writing = thread::spawn(move || writer.write_all(&copy).unwrap());
        thread::sleep(millis(300));
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).unwrap();
        assert!(received == sent);
        writing.join().unwrap();
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn reactor_echo_tells_the_1025th_connection_and_serves_the_others() {
    watched(120, || {
        let server = Server::start("reactor_echo", &[ANY]);
        assert!(server.most_fds() > 1_100, "`ulimit -Hn` is {}: too low", server.most_fds());
        let mut clients: Vec<TcpStream> = (0..1024).map(|_| server.connect()).collect();
        // Clients are accepted in the order in which they came.
        for _ in 0..2 {
            assert_eq!(rest_of(&server.connect()), "too many connections\n");
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let sent = n.to_string().into_bytes();
            assert_eq!(ask(client, &sent), sent);
        }
        // A place that becomes free is given away again, and only that one.
        drop(clients.pop());
        let mut late = None;
        eventually("there is a place again", || {
            let mut stream = server.connect();
            let mut first = [0];
            let served = stream.write_all(b"?").is_ok()
                && stream.read(&mut first).is_ok_and(|_| first == *b"?");
            late = served.then_some(stream);
            served
        });
        assert_eq!(rest_of(&server.connect()), "too many connections\n");
        assert_eq!(ask(&mut late.unwrap(), b"in"), b"in");
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn reactor_echo_drops_an_idle_connection_at_its_limit_and_no_active_one() {
    const IDLE: Duration = Duration::from_millis(1500);
    watched(60, || {
        let server = Server::start("reactor_echo", &["--idle", "1.5", ANY]);
        let mut active = server.connect();
        let start = Instant::now();
        let (never, mut once) = (server.connect(), server.connect());
        assert_eq!(ask(&mut once, b"x"), b"x");
        let idle = [never, once].map(|stream| {
            thread::spawn(move || {
                assert_eq!(rest_of(&stream), "");
                start.elapsed()
            })
        });
        while start.elapsed() < 2 * IDLE {
            assert_eq!(ask(&mut active, b"still there"), b"still there");
            thread::sleep(millis(50));
        }
        for idle in idle {
            let after = idle.join().unwrap();
            assert!(after >= IDLE && after < IDLE + Duration::from_secs(10), "{after:?}");
        }
        assert_eq!(ask(&mut active, b"still there"), b"still there");
        server.stop();
    });
}

#[test]
fn reactor_echo_drops_a_peer_that_never_reads_at_the_same_limit() {
    watched(60, || {
        let server = Server::start("reactor_echo", &[ANY, "--idle", "0.5"]);
        let before = server.fds();
        let start = Instant::now();
        let stream = server.connect();
        write_until_closed(&stream);
        assert!(start.elapsed() >= millis(500), "{:?}", start.elapsed());
        eventually("it is closed", || server.fds() == before);
        server.stop();
    });
}

#[test]
fn reactor_echo_drops_no_peer_that_reads_slowly() {
    watched(60, || {
        let server = Server::start("reactor_echo", &["--idle", "1.5", ANY]);
        let mut stream = server.connect();
        let writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || write_until_closed(&writer));
        // The server waits for room nearly always, and gets it in pieces that are small for the kernel's buffers.
        let start = Instant::now();
        while start.elapsed() < millis(4000) {
            stream.read_exact(&mut [0; 1 << 15]).unwrap();
            thread::sleep(millis(100));
        }
        reset(stream);
        server.stop();
        writing.join().unwrap();
    });
}

#[test]
fn reactor_echo_refuses_a_limit_that_is_none() {
    watched(30, || {
        for arguments in [&["--idle"][..], &["--idle", "soon"], &["--idle", "-1"]] {
            let output = programs::example("reactor_echo").args(arguments).output().unwrap();
            assert!(!output.status.success());
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(err.contains("a number of seconds") && !err.contains("panicked"), "{err}");
        }
    });
}

// ---- hello_http -------------------------------------------------------------------------------

const HELLO: &str = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\
    Connection: close\r\n\r\nHello, world!";

/// What comes back for a request, until the end.
fn answer(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    rest_of(&stream)
}

#[test]
fn hello_http_answers_a_request_with_these_bytes_and_closes() {
    watched(30, || {
        let server = Server::start("hello_http", &[ANY]);
        assert_eq!(answer(&server, b"GET / HTTP/1.0\r\n\r\n"), HELLO);
        assert_eq!(answer(&server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"), HELLO);
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn hello_http_takes_bare_line_feeds_as_the_end_of_a_request() {
    watched(30, || {
        let server = Server::start("hello_http", &[ANY]);
        assert_eq!(answer(&server, b"GET / HTTP/1.0\n\n"), HELLO);
        assert_eq!(answer(&server, b"GET / HTTP/1.0\n\r\n"), HELLO);
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn hello_http_answers_a_request_that_comes_byte_by_byte_and_not_before_its_last() {
    watched(60, || {
        let server = Server::start("hello_http", &[ANY]);
        for request in [&b"GET / HTTP/1.0\r\nA: b\r\n\r\n"[..], b"GET / HTTP/1.0\n\n"] {
            let mut stream = server.connect();
            stream.set_nodelay(true).unwrap();
            for byte in request {
                thread::sleep(millis(5));
                assert!(is_silent(&stream));
                stream.write_all(&[*byte]).unwrap();
            }
            assert_eq!(rest_of(&stream), HELLO);
        }
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn hello_http_answers_others_while_a_request_is_unfinished() {
    watched(30, || {
        let server = Server::start("hello_http", &[ANY]);
        let mut slow = server.connect();
        slow.write_all(b"GET / HTTP/1.0\r\n").unwrap();
        for _ in 0..10 {
            assert_eq!(answer(&server, b"GET / HTTP/1.0\r\n\r\n"), HELLO);
        }
        assert!(is_silent(&slow));
        slow.write_all(b"\r\n").unwrap();
        assert_eq!(rest_of(&slow), HELLO);
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn hello_http_ends_with_an_end_and_no_reset_also_when_more_was_sent() {
    watched(30, || {
        let server = Server::start("hello_http", &[ANY]);
        let before = server.fds();
        let more = [b"GET / HTTP/1.0\r\n\r\n".to_vec(), vec![b'x'; 200_000]].concat();
        for _ in 0..20 {
            let mut stream = server.connect();
            stream.write_all(&more).unwrap();
            assert_eq!(rest_of(&stream), HELLO);
            // Behind an end the kernel says nothing of a reset, unless it is asked.
            assert!(stream.take_error().unwrap().is_none());
        }
        // Nor when it comes after the answer.
        let mut stream = server.connect();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(rest_of(&stream), HELLO);
        for _ in 0..3 {
            stream.write_all(&[b'x'; 20_000]).unwrap();
            thread::sleep(millis(10));
        }
        assert!(stream.take_error().unwrap().is_none());
        drop(stream);
        eventually("all connections are closed", || server.fds() == before);
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn hello_http_closes_also_when_the_client_does_not() {
    watched(60, || {
        let server = Server::start("hello_http", &[ANY]);
        let before = server.fds();
        let (mut silent, endless) = (server.connect(), server.connect());
        silent.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        (&endless).write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(rest_of(&silent), HELLO);
        write_until_closed(&endless);
        eventually("both are closed", || server.fds() == before);
        server.stop();
    });
}

#[test]
fn hello_http_refuses_a_head_that_does_not_end() {
    const TOO_LONG: &str = "HTTP/1.0 431 Request Header Fields Too Large\r\n\
        Content-Length: 0\r\nConnection: close\r\n\r\n";
    watched(60, || {
        let server = Server::start("hello_http", &[ANY]);
        // Just not too long, and by one byte.
        let head = |length: usize| {
            let line = [b"GET / HTTP/1.0\r\nA: ".to_vec(), vec![b'a'; length]].concat();
            [&line[..length - 4], b"\r\n\r\n"].concat()
        };
        assert_eq!(answer(&server, &head(8192)), HELLO);
        assert_eq!(answer(&server, &head(8193)), TOO_LONG);
        let endless = server.connect();
        let mut reader = endless.try_clone().unwrap();
        let writing = thread::spawn(move || write_until_closed(&endless));
        let mut refusal = [0; TOO_LONG.len()];
        reader.read_exact(&mut refusal).unwrap();
        assert_eq!(String::from_utf8_lossy(&refusal), TOO_LONG);
        writing.join().unwrap();
        assert_eq!(answer(&server, b"GET / HTTP/1.0\r\n\r\n"), HELLO);
        server.stop();
    });
}

#[test]
fn hello_http_closes_on_clients_that_never_end_their_request_busy_or_silent() {
    watched(60, || {
        let server = Server::start("hello_http", &["--limit", "0.5", ANY]);
        let before = server.fds();
        let start = Instant::now();
        let (silent, busy) = (server.connect(), server.connect());
        // One limit for all of a request: bytes that keep coming do not move it.
        eventually("both are closed", || {
            let _may_be_closed = (&busy).write_all(b"x");
            thread::sleep(millis(20));
            server.fds() == before
        });
        assert!(start.elapsed() >= millis(500), "{:?}", start.elapsed());
        assert_eq!(rest_of(&silent), "");
        server.stop();
    });
}

// ---- worker_pool ------------------------------------------------------------------------------

/// Takes long on every machine.
const LONG: &str = "10000000\n";

fn worker_pool() -> Server {
    Server::start("worker_pool", &[ANY])
}

fn lines<const N: usize>(stream: &TcpStream) -> [String; N] {
    let mut lines = BufReader::new(stream).lines();
    [(); N].map(|()| lines.next().expect("a line").unwrap())
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get())
}

/// So many clients, each with a long computation.
fn occupy(server: &Server, clients: usize) -> Vec<TcpStream> {
    let busy = (0..clients).map(|_| {
        let mut stream = server.connect();
        stream.write_all(LONG.as_bytes()).unwrap();
        stream
    });
    busy.collect()
}

#[test]
fn worker_pool_answers_in_order_on_each_connection() {
    watched(60, || {
        let server = worker_pool();
        let (mut one, mut two) = (server.connect(), server.connect());
        one.write_all(b"0\n2\n3\n10\r\n 100 \n1000\n10000\n").unwrap();
        two.write_all(b"20000\n10\n").unwrap();
        assert_eq!(lines(&one), ["0", "0", "1", "4", "25", "168", "1229"]);
        assert_eq!(lines(&two), ["2262", "4"]);
        // A line in pieces is one line.
        one.write_all(b"1").unwrap();
        thread::sleep(millis(20));
        one.write_all(b"00\n").unwrap();
        assert_eq!(lines(&one), ["25"]);
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn worker_pool_answers_everybody_when_there_are_more_clients_than_workers() {
    watched(60, || {
        let server = worker_pool();
        let mut clients: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.write_all(b"1000\n2000\n").unwrap();
        }
        for client in &clients {
            assert_eq!(lines(client), ["168", "303"]);
        }
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn worker_pool_lets_long_computations_delay_nobody_who_needs_no_worker() {
    watched(60, || {
        let server = worker_pool();
        let busy = occupy(&server, workers() + 1); // one more stands in the queue
        let mut easy = server.connect();
        for _ in 0..100 {
            easy.write_all(b"hello\n").unwrap();
            assert_eq!(lines(&easy), ["error: not a number"]);
        }
        // Whatever the machine does meanwhile, the order tells: on the loop, the computations had come first.
        assert!(busy.iter().all(is_silent), "the long computations were over before");
        server.stop();
    });
}

#[test]
fn worker_pool_works_on_as_many_computations_at_once_as_there_are_cpus() {
    watched(60, || {
        let server = worker_pool();
        let busy = occupy(&server, workers() - 1);
        let mut easy = server.connect();
        for _ in 0..100 {
            easy.write_all(b"100\n").unwrap();
            assert_eq!(lines(&easy), ["25"]);
        }
        assert!(busy.iter().all(is_silent), "the long computations were over before");
        server.stop();
    });
}

#[test]
fn worker_pool_answers_garbage_with_a_line_that_says_so() {
    watched(30, || {
        let server = worker_pool();
        let mut stream = server.connect();
        stream.write_all(b"ten\n\n-1\n1.5\n\xff\xfe\n99999999999\n10\n").unwrap();
        let [refused @ .., answer] = lines::<7>(&stream);
        assert_eq!(refused, [(); 6].map(|()| "error: not a number".to_owned()));
        assert_eq!(answer, "4", "and goes on");
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn worker_pool_ends_a_connection_whose_line_is_too_long() {
    watched(30, || {
        let server = worker_pool();
        let mut stream = server.connect();
        stream.write_all(&[b'1'; 64]).unwrap();
        assert_eq!(rest_of(&stream), "error: a long line\n");
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn worker_pool_tells_the_client_whose_work_has_panicked_and_keeps_its_workers() {
    watched(60, || {
        let server = worker_pool();
        let mut stream = server.connect();
        // More often than there are workers.
        for _ in 0..2 * workers() {
            stream.write_all(b"10000001\n").unwrap();
            assert_eq!(lines(&stream), ["error: the work has panicked"]);
        }
        stream.write_all(b"100\n").unwrap();
        assert_eq!(lines(&stream), ["25"]);
        let err = server.stop();
        assert!(err.contains("10000001 is more than 10000000"), "{err}");
    });
}

#[test]
fn worker_pool_survives_clients_that_leave_while_their_work_runs() {
    guard(120).cpu_ms(3_000).run(|| {
        let server = worker_pool();
        let before = server.fds();
        for n in 0..100 {
            let mut stream = server.connect();
            stream.write_all(b"20000\n20000\n").unwrap();
            match n % 2 {
                0 => reset(stream),
                _ => drop(stream),
            }
        }
        let mut stream = server.connect();
        stream.write_all(b"100\n").unwrap();
        assert_eq!(lines(&stream), ["25"]);
        drop(stream);
        eventually("all connections are closed", || server.fds() == before);
        server.stop();
    });
}
