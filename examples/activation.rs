//! Socket activation: the listener is made by somebody else, systemd for example, and handed over. Then it echoes.
//!
//! ```text
//! $ cargo build --example activation
//! $ systemd-socket-activate -l 127.0.0.1:7000 target/debug/examples/activation     # starts it with the first client
//! $ cargo run --example activation [ADDR]          # or alone: 127.0.0.1:7000 when no address is given
//! listening on 127.0.0.1:7000
//! $ nc 127.0.0.1 7000                              # in another terminal
//! hello
//! hello
//! ```
//!
//! What that is good for: the one who makes the socket may be root, for a port below 1024, and the server need not. The
//! socket outlives the server, so that a restart refuses nobody: clients wait in its queue.
//!
//! The protocol, sd_listen_fds(3): the descriptors are 3 and up, `LISTEN_FDS` says how many, and `LISTEN_PID` for whom: an
//! environment is inherited, by processes that are not meant as well.

#![allow(unsafe_code)] // one line, see below

use socket2::SockRef;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, block_on, spawn};

fn main() -> io::Result<()> {
    // Before anything else: afterwards a descriptor from 3 on may be one of our own.
    let handed_over = handed_over()?;
    block_on(async {
        let mut listeners = Vec::new();
        for fd in handed_over {
            listeners.push(AsyncTcpListener::try_from(fd)?); // the address would be systemd's to know
        }
        if listeners.is_empty() {
            let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
            listeners.push(AsyncTcpListener::bind(address).await?);
        }
        let addresses: io::Result<Vec<String>> =
            listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
        println!("listening on {}", addresses?.join(", "));

        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener));
        }
        while accepting.join_next().await.is_some() {}
        Ok(())
    })
}

/// The listeners we were started with. None is no error: then we were started by hand.
fn handed_over() -> io::Result<Vec<OwnedFd>> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let count = number("LISTEN_FDS").ok_or_else(|| wrong("LISTEN_FDS is no number".into()))?;
    let mut listeners = Vec::new();
    for fd in (3..).take(count as usize) {
        if !Path::new(&format!("/proc/self/fd/{fd}")).exists() {
            return Err(wrong(format!("LISTEN_FDS is {count}, but there is no descriptor {fd}")));
        }
        // SAFETY: it is open, and nobody else's: `LISTEN_PID` says that it was given to this process, which
        // has just begun and takes each once.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = SockRef::from(&owned);
        if !socket.is_listener()? {
            return Err(wrong(format!("descriptor {fd} does not listen")));
        }
        socket.set_cloexec(true)?; // a child of ours should not hold it open
        listeners.push(owned);
    }
    Ok(listeners)
}

async fn accept(listener: AsyncTcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => drop(spawn(echo(stream))),
            Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
        }
    }
}

async fn echo(stream: AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}
