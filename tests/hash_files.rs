//! The echo server that hashes files, among the examples: files go to threads, and the loop goes on. Feature `blocking`.
#![cfg(feature = "blocking")]
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::{ANY, Server, ask, reset};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::{eventually, guard, watched};

const MIB: usize = 1 << 20;

/// A folder of its own for a test, with files of so many bytes. They are removed in the end.
struct Files(PathBuf, Vec<PathBuf>);

impl Files {
    fn new(test: &str, count: u8, bytes: usize) -> Files {
        let folder = format!("{}-{test}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        fs::create_dir_all(&folder).unwrap();
        let paths: Vec<_> = (0..count).map(|n| folder.join(format!("file {n}"))).collect();
        for (n, path) in (b'a'..).zip(&paths) {
            fs::write(path, vec![n; bytes]).unwrap();
        }
        Files(folder, paths)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _may_stay = fs::remove_dir_all(&self.0);
    }
}

/// What a client hears for `line`.
fn answer(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

fn hash(stream: &mut TcpStream, path: &Path) -> String {
    answer(stream, &format!("hash {}", path.display()))
}

/// FNV-1a, as its authors wrote it down.
fn fnv(bytes: &[u8]) -> String {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    format!("{hash:016x}")
}

#[test]
fn hashes_are_those_of_the_contents_and_other_lines_come_back() {
    watched(60, || {
        let files = Files::new("contents", 1, 200_000);
        let server = Server::start("hash_files", &[ANY]);
        let mut stream = server.connect();
        for contents in [&b""[..], b"a", b"foobar", &[7; 65_536], &[9; 65_537]] {
            fs::write(&files.1[0], contents).unwrap();
            assert_eq!(hash(&mut stream, &files.1[0]), fnv(contents));
        }
        assert_eq!(fnv(b"foobar"), "85944171f73967e8", "as published");
        // The header shows that of the licence.
        let header = include_str!("../examples/hash_files.rs");
        let licence = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE-MIT"));
        let hash = hash(&mut stream, licence);
        assert!(header.contains(&format!("//! {hash}\n")), "{hash}");
        assert_eq!(ask(&mut stream, b"hash\nhashes\n\n"), b"hash\nhashes\n\n");
        assert_eq!(server.stop(), "");
    });
}

#[test]
fn what_cannot_be_hashed_is_answered_with_the_reason_and_takes_no_place() {
    watched(60, || {
        let files = Files::new("reasons", 1, 3);
        let server = Server::start("hash_files", &[ANY]);
        let mut stream = server.connect();
        let pipe = files.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let large = files.0.join("large");
        fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
        // More often than there are places: a pipe that nobody writes, a device without end.
        for _ in 0..5 {
            for path in [&*pipe, Path::new("/dev/zero"), &files.0, &large] {
                assert_eq!(hash(&mut stream, path), "error: no file, or a large one");
            }
            assert!(answer(&mut stream, "hash nothing").starts_with("error: No such file"));
            assert!(answer(&mut stream, "hash a\0b").starts_with("error: "));
        }
        assert_eq!(hash(&mut stream, &files.1[0]), fnv(b"aaa"));
        stream.write_all(&[b'x'; 4096 + 64]).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "error: a long line\n");
        assert_eq!(server.stop(), "");
    });
}

/// Round trips of an echo, in order of their length.
fn echoes(stream: &mut TcpStream, mut more: impl FnMut(usize) -> bool) -> Vec<Duration> {
    let mut trips = Vec::new();
    while more(trips.len()) {
        let start = Instant::now();
        assert_eq!(ask(stream, b"hello\n"), b"hello\n");
        trips.push(start.elapsed());
        thread::sleep(Duration::from_micros(500)); // the machine has other work
    }
    trips.sort();
    trips
}

fn percentile(trips: &[Duration]) -> Duration {
    trips[trips.len() * 99 / 100]
}

/// On the loop, four files are one wait of a hundred milliseconds or more (release), again and again.
#[test]
fn the_echo_stays_quick_while_files_are_hashed() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 2 } else { 20 };
    guard(300).cpu_ms(60_000).run(|| {
        let files = Files::new("quick", 4, 32 * MIB);
        let server = Server::start("hash_files", &[ANY]);
        let mut echo = server.connect();
        let idle = echoes(&mut echo, |n| n < 1000);
        let running = AtomicUsize::new(files.1.len());
        let busy = thread::scope(|scope| {
            for (n, path) in (b'a'..).zip(&files.1) {
                let (mut stream, running) = (server.connect(), &running);
                stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
                scope.spawn(move || {
                    let hashes: Vec<_> = (0..ROUNDS).map(|_| hash(&mut stream, path)).collect();
                    running.fetch_sub(1, SeqCst);
                    assert!(hashes.iter().all(|it| *it == fnv(&vec![n; 32 * MIB])), "{hashes:?}");
                });
            }
            echoes(&mut echo, |_| running.load(SeqCst) > 0)
        });
        for (when, trips) in [("idle", &idle), ("hashing", &busy)] {
            let (n, p99, longest) = (trips.len(), percentile(trips), trips[trips.len() - 1]);
            println!("{when}: {n} echoes, 99 of 100 within {p99:?}, the longest {longest:?}");
        }
        assert!(percentile(&busy) < Duration::from_millis(50), "{:?}", percentile(&busy));
        server.stop();
    });
}

/// The files of `folder` that the program has open.
fn open(server: &Server, folder: &Path) -> usize {
    let links = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let files = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    files.filter(|file| file.starts_with(folder)).count()
}

#[test]
fn no_more_than_four_files_are_hashed_at_once_and_all_have_their_turn() {
    guard(120).cpu_ms(20_000).run(|| {
        let files = Files::new("bound", 12, 8 * MIB);
        let server = Server::start("hash_files", &[ANY]);
        let mut clients: Vec<_> = files.1.iter().map(|_| server.connect()).collect();
        for (client, path) in clients.iter_mut().zip(&files.1) {
            client.write_all(format!("hash {}\n", path.display()).as_bytes()).unwrap();
        }
        let running = AtomicUsize::new(clients.len());
        let most = thread::scope(|scope| {
            for client in clients {
                scope.spawn(|| {
                    let mut hash = String::new();
                    BufReader::new(client).read_line(&mut hash).unwrap();
                    running.fetch_sub(1, SeqCst);
                    assert_eq!(hash.len(), 17, "{hash}");
                });
            }
            let mut most = 0;
            while running.load(SeqCst) > 0 {
                most = most.max(open(&server, &files.0));
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        assert!((2..=4).contains(&most), "{most}");
        server.stop();
    });
}

#[test]
fn clients_that_leave_while_their_file_is_hashed_or_waits_give_their_place_back() {
    guard(120).cpu_ms(20_000).run(|| {
        let files = Files::new("leave", 1, 4 * MIB);
        let server = Server::start("hash_files", &[ANY]);
        let before = server.fds();
        for n in 0..20 {
            let mut stream = server.connect();
            let line = format!("hash {}\n", files.1[0].display());
            stream.write_all(line.repeat(2).as_bytes()).unwrap();
            match n % 2 {
                0 => reset(stream),
                _ => drop(stream),
            }
        }
        assert_eq!(hash(&mut server.connect(), &files.1[0]), fnv(&vec![b'a'; 4 * MIB]));
        eventually("all connections are closed", || server.fds() == before);
        server.stop();
    });
}
