//! The load: `at_once` connections that are opened, used and ended in different ways, again and again; and a probe that times a
//! round trip. On std's blocking sockets and two threads, so that it is no test of itself.
//!
//! Commands come a line at a time on stdin: `go PORT`, `stop` (close everything), `rests` (whether that is done), `count`;
//! answers go to stdout.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Shared {
    port: AtomicU16,
    running: AtomicBool,
    /// How many of the two threads have nothing open.
    resting: [AtomicBool; 2],
    ended: AtomicU64,
    echoed: AtomicU64,
    wrong: AtomicU64,
    trips: Mutex<Vec<u32>>,
}

fn connect(port: u16, n: u64) -> io::Result<TcpStream> {
    // Many addresses of our own machine, so that the ports of one do not run out.
    let to = SocketAddrV4::new(
        Ipv4Addr::new(127, 0, 1 + (n / 200 % 50) as u8, 1 + (n % 200) as u8),
        port,
    );
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Its close sends a reset, and leaves nothing behind.
fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: the option lives, and is as long as said.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn trip(stream: &mut TcpStream, n: u64, shared: &Shared) -> io::Result<()> {
    let sent: Vec<u8> = (0..16 + n % 200).map(|at| (n + at) as u8).collect();
    let mut received = vec![0; sent.len()];
    stream.write_all(&sent)?;
    stream.read_exact(&mut received)?;
    shared.echoed.fetch_add(1, SeqCst);
    if sent != received {
        shared.wrong.fetch_add(1, SeqCst);
    }
    Ok(())
}

fn churn(shared: &Shared, at_once: usize) {
    let (mut open, mut n) = (std::collections::VecDeque::new(), 0u64);
    loop {
        if !shared.running.load(SeqCst) {
            open.clear();
            // Said anew each time: who stops it takes it back first.
            shared.resting[0].store(true, SeqCst);
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        n += 1;
        // While the server is out of descriptors, a connection is made by the kernel alone, and waits.
        match connect(shared.port.load(SeqCst), n) {
            Ok(stream) => open.push_back((stream, n)),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
        if open.len() < at_once {
            continue;
        }
        let Some((mut stream, n)) = open.pop_front() else { continue };
        // The oldest is used and ended: by a reset, by an end that is answered, in the middle, unused.
        let used = match n % 8 {
            0 => Ok(()),
            1 => stream.write_all(&[7; 3000]),
            _ => trip(&mut stream, n, shared),
        };
        match n % 4 {
            _ if used.is_err() => {}
            0 => {
                let _gone = stream.shutdown(Shutdown::Write);
                let _end = stream.read(&mut [0; 16]);
            }
            _ => reset(&stream),
        }
        drop(stream);
        shared.ended.fetch_add(1, SeqCst);
    }
}

fn probe(shared: &Shared) {
    let (mut stream, mut n) = (None, 0u64);
    loop {
        if !shared.running.load(SeqCst) {
            stream = None;
            shared.resting[1].store(true, SeqCst);
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        n += 1;
        let Some(connected) = &mut stream else {
            stream = connect(shared.port.load(SeqCst), n).ok();
            // Until it is accepted, which an episode may delay; that is no round trip.
            if stream.as_mut().is_some_and(|stream| trip(stream, n, shared).is_err()) {
                stream = None;
            }
            continue;
        };
        let start = Instant::now();
        if trip(connected, n, shared).is_err() {
            stream = None;
            continue;
        }
        let took = start.elapsed().as_micros().min(u128::from(u32::MAX)) as u32;
        shared.trips.lock().expect("nobody panics").push(took);
        thread::sleep(Duration::from_millis(2));
    }
}

pub fn run(at_once: usize) {
    let shared = Arc::new(Shared::default());
    let (one, other) = (shared.clone(), shared.clone());
    thread::spawn(move || churn(&one, at_once));
    thread::spawn(move || probe(&other));
    for line in io::stdin().lock().lines() {
        let line = line.expect("text");
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("go"), Some(port)) => {
                shared.port.store(port.parse().expect("a port"), SeqCst);
                shared.running.store(true, SeqCst);
                println!();
            }
            (Some("stop"), _) => {
                shared.running.store(false, SeqCst);
                shared.resting.iter().for_each(|rests| rests.store(false, SeqCst));
                println!();
            }
            (Some("rests"), _) => {
                let rest = shared.resting.iter().all(|rests| rests.load(SeqCst));
                println!("{}", u8::from(rest));
            }
            // Connections ended, echoes, wrong ones; and how long round trips took since the last time.
            _ => {
                let trips = std::mem::take(&mut *shared.trips.lock().expect("nobody panics"));
                print!(
                    "{} {} {}",
                    shared.ended.load(SeqCst),
                    shared.echoed.load(SeqCst),
                    shared.wrong.load(SeqCst)
                );
                trips.iter().for_each(|trip| print!(" {trip}"));
                println!();
            }
        }
    }
}
