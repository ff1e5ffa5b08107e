//! An echo server inside a loop that is not ours: a plain poll(2), which also waits for standard input.
//!
//! ```text
//! $ cargo run --example poll_loop [ADDR]           # 127.0.0.1:7002 when no address is given
//! listening on 127.0.0.1:7002
//! $ nc 127.0.0.1 7002                              # in another terminal
//! hello
//! hello
//! ```
//!
//! A line `quit` ends it, and so does the end of the input. A GUI, a game, a library with a loop of its own: whatever can wait for a descriptor can
//! run a runtime. By `self_waking_fd` the descriptor tells of all that there is to do, timers too; without it, the
//! loop would have to heed what `turn` returns.

use std::io::{self, BufRead};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;
use waken::time::timeout;
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7002".into());
    let runtime = Runtime::builder().self_waking_fd(true).build()?;
    let server = runtime.spawn(serve(address));
    let (stdin, mut typed) = (io::stdin(), Vec::new());
    while !server.is_finished() {
        let [work, input] = wait_for([runtime.as_fd(), stdin.as_fd()])?;
        if work {
            runtime.turn(Some(Duration::ZERO))?; // what is ready, and back at once
        }
        if input && has_quit(&mut stdin.lock(), &mut typed)? {
            return Ok(()); // the runtime ends here, and with it every connection
        }
    }
    runtime.block_on(server)? // it has failed: say why
}

async fn serve(address: String) -> io::Result<()> {
    let listener = AsyncTcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => drop(spawn(echo(stream))),
            Err(error) => eprintln!("accept: {error}"), // out of descriptors: the next accept waits
        }
    }
}

/// Until the end, or a minute of silence.
async fn echo(stream: AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match timeout(Duration::from_secs(60), stream.read(&mut buf)).await?? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}

/// Reads all that has come, since poll(2) does not know of what would be left in a buffer.
fn has_quit(input: &mut impl BufRead, typed: &mut Vec<u8>) -> io::Result<bool> {
    let new = input.fill_buf()?;
    let n = new.len();
    typed.extend_from_slice(new);
    input.consume(n);
    let quit = typed.split_inclusive(|&byte| byte == b'\n').any(|line| line == b"quit\n");
    let begun = typed.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    typed.drain(..begun);
    Ok(quit || n == 0)
}

/// Sleeps until one of them can be read, or has ended, and says which.
#[allow(unsafe_code)]
fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut fds =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: the array lives, has N entries, and the kernel keeps no pointer to it.
    let n = unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, -1) };
    let error = io::Error::last_os_error();
    if n == -1 && error.kind() != io::ErrorKind::Interrupted {
        return Err(error);
    }
    Ok(fds.map(|fd| fd.revents != 0))
}
