//! The examples in which a runtime lives in somebody else's loop echo what they are sent, and end when they are told.
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;
use support::{eventually, guard, watched};

/// A server among the examples, which does not survive this test, however that ends.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(name: &str) -> Server {
        let test = std::env::current_exe().unwrap();
        let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
        let mut command = Command::new(path);
        command.arg("127.0.0.1:0").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").expect(&line).trim().to_owned();
        Server { child, out, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// User and system time, in ticks of the kernel's.
    fn cpu(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Several at once, more than fits into the kernel's buffers, peers that vanish, and then nothing left and nothing done.
fn echoes(server: &mut Server) {
    let before = server.fds();
    let clients: Vec<_> = (0..20u8)
        .map(|number| {
            let mut stream = server.connect();
            thread::spawn(move || {
                for round in 0..200u8 {
                    let sent = [number, round, 7];
                    stream.write_all(&sent).unwrap();
                    let mut answer = [0; 3];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, sent);
                }
                if number % 2 == 0 {
                    return; // it vanishes
                }
                let mut writer = stream.try_clone().unwrap();
                let writing = thread::spawn(move || {
                    writer.write_all(&vec![number; 3_000_000]).unwrap();
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                writing.join().unwrap();
                assert!(all.len() == 3_000_000 && all.iter().all(|&byte| byte == number));
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    eventually("all connections are closed", || server.fds() == before);
    let idle = server.connect();
    eventually("one is connected", || server.fds() == before + 1);
    let used = server.cpu();
    thread::sleep(Duration::from_millis(500));
    let used = server.cpu() - used;
    assert!(used < 10, "{used} ticks of CPU for half a second of nothing");
    drop(idle);
    assert!(server.is_running());
}

#[test]
fn poll_loop_echoes_until_a_line_says_quit() {
    guard(60).cpu_ms(1_000).run(|| {
        let mut server = Server::start("poll_loop");
        echoes(&mut server);
        let mut stream = server.connect();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        // In pieces, and after other lines.
        let mut input = server.child.stdin.take().unwrap();
        input.write_all(b"quite\nnot yet quit\nqu").unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(server.is_running());
        input.write_all(b"it\n").unwrap();
        assert!(server.child.wait().unwrap().success());
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "its connections have ended");
        let mut rest = String::new();
        server.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    });
}

#[test]
fn poll_loop_ends_with_its_input() {
    watched(30, || {
        let mut server = Server::start("poll_loop");
        drop(server.child.stdin.take());
        assert!(server.child.wait().unwrap().success());
    });
}

#[test]
fn nested_epoll_echoes() {
    guard(60).cpu_ms(1_000).run(|| echoes(&mut Server::start("nested_epoll")));
}
