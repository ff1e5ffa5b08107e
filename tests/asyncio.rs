//! The example that runs inside Python's asyncio: both loops go on beside each other.
#[path = "support/programs.rs"]
mod programs;
mod support;

use programs::Killed;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::guard;

fn client(address: &str, number: usize, stop: &AtomicBool) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rounds = 0;
    while !stop.load(SeqCst) {
        let sent: Vec<u8> = (0..1 + rounds % 5000).map(|n| (n + number) as u8).collect();
        stream.write_all(&sent).unwrap();
        let mut answer = vec![0; sent.len()];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer == sent, "client {number}, round {rounds}");
        rounds += 1;
    }
    rounds
}

#[test]
#[ignore = "needs python3: .ci/run runs it"]
fn an_echo_server_inside_asyncio_serves_its_clients_while_python_ticks() {
    // Eight clients ask for three seconds, as fast as they get answers.
    guard(60).cpu_ms(12_000).run(|| {
        let test = std::env::current_exe().unwrap();
        let library = test.parent().unwrap().parent().unwrap().join("examples/libasyncio.so");
        assert!(library.exists(), "`cargo build --example asyncio` makes {}", library.display());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/asyncio/server.py");
        let mut command = Command::new("python3");
        command.arg(script).arg("0").arg(library);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut child = Killed(child);
        let out = BufReader::new(child.0.stdout.take().unwrap());
        let mut lines = out.lines().map(Result::unwrap);
        let line = lines.next().expect("it prints where it listens");
        let address = line.strip_prefix("listening on ").expect(&line).to_owned();

        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (address, stop) = (address.clone(), stop.clone());
                thread::spawn(move || client(&address, number, &stop))
            })
            .collect();
        for ticks in [10, 20, 30] {
            assert_eq!(lines.next().unwrap(), format!("Python has ticked {ticks} times"));
        }
        stop.store(true, SeqCst);
        for client in clients {
            let rounds = client.join().unwrap();
            assert!(rounds > 20, "{rounds} rounds in three seconds");
        }
        assert!(child.0.try_wait().unwrap().is_none(), "it goes on");
    });
}
