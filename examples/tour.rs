//! The echo server, recorded: two clients come and go, all in one process, in a second. Then open the page, and step through it.
//!
//! ```text
//! $ cargo tour                      # which is: cargo run --features trace --example tour --
//! …
//! open target/tour.html in a browser: it begins where the server falls asleep for the first time
//! ```
//!
//! Any other program is recorded without a change to it: `WAKEN_TRACE=html=echo.html cargo run --features trace --example echo`.
//! With `--check` only what the checks have found is told, and the exit code is 1 if that is anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{env, fs, io, process, thread};
use waken::time::timeout;
use waken::{AsyncTcpListener, AsyncTcpStream, block_on, spawn, trace};

fn main() -> io::Result<()> {
    let package = env::var("CARGO_MANIFEST_DIR").map_or(String::new(), |folder| folder + "/");
    let folder = env::var("CARGO_TARGET_DIR").unwrap_or(format!("{package}target"));
    let (page, log) = (format!("{folder}/tour.html"), format!("{folder}/tour.log"));
    fs::create_dir_all(&folder)?;
    trace::start(&format!("html={page},log={log}"))?;

    block_on(async {
        let listener = AsyncTcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let clients = thread::spawn(move || clients(address));
        let _ = timeout(Duration::from_secs(1), serve(listener)).await;
        clients.join().expect("the clients do not panic")
    })?;

    let report = trace::report();
    report.findings.iter().for_each(|finding| println!("{finding}"));
    if env::args().any(|argument| argument == "--check") {
        println!("{report}");
        process::exit(if report.is_clean() { 0 } else { 1 });
    }
    let lines = fs::read_to_string(&log)?;
    let lines: Vec<&str> = lines.lines().collect();
    lines[lines.len().saturating_sub(15)..].iter().for_each(|line| println!("{line}"));
    println!(
        "\nThat was the end of {log}. Polls nest as {{ }}: what stands between is one poll of one task.\n\
         A task that cannot go on leaves its waker where something will happen, and is PARKED.\n\
         An edge from the kernel, a timer or another task WAKEs it: it is queued, and polled in its turn.\n\n\
         open {page} in a browser: it begins where the server falls asleep for the first time"
    );
    Ok(())
}

// ---- from here on it is the echo server of `echo.rs`, word for word

async fn serve(listener: AsyncTcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => drop(spawn(echo(stream))), // it runs on alone
            Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
        }
    }
}

async fn echo(stream: AsyncTcpStream) -> std::io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..n]).await?;
    }
}

// ---- and this is who talks to it, on a thread of its own

fn clients(address: SocketAddr) -> io::Result<()> {
    let pause = || thread::sleep(Duration::from_millis(100));
    pause();
    let mut ada = TcpStream::connect(address)?;
    pause();
    talk(&mut ada, "hello")?;
    let mut bob = TcpStream::connect(address)?;
    talk(&mut bob, "good morning")?;
    pause();
    talk(&mut ada, "and goodbye")?;
    drop(ada);
    pause();
    talk(&mut bob, "goodbye")
}

fn talk(stream: &mut TcpStream, words: &str) -> io::Result<()> {
    stream.write_all(words.as_bytes())?;
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, words.as_bytes());
    Ok(())
}
