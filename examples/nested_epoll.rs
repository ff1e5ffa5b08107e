//! A runtime inside an epoll(7) loop that is written by hand: its descriptor is one among others.
//!
//! ```text
//! $ cargo run --example nested_epoll [ADDR]        # 127.0.0.1:7003 when no address is given
//! listening on 127.0.0.1:7003
//! $ nc 127.0.0.1 7003                              # in another terminal
//! hello
//! hello
//! ```
//!
//! The loop's own business here is a timerfd, which says on standard error every ten seconds that it is alive. To echo
//! by hand as well, it would have to
//!
//! * accept until `EAGAIN`: of several clients that come at once, an edge tells only once;
//! * keep what a short `write` leaves, wait for `EPOLLOUT`, and read nothing more from that client meanwhile;
//! * take a descriptor out of its tables before it closes it, and skip events for it that wait in the same batch: the
//!   number may be another client's by then;
//! * know which descriptor is edge-triggered. An epoll in an epoll is readable as long as it has events, so an outer
//!   edge tells of the first only.
//!
//! In the runtime each of these is a loop of two lines, or nothing at all. Out here one rule is left: a turn when the
//! descriptor is readable. It is watched level-triggered, and would do edge-triggered as well: `self_waking_fd` tells
//! anew of whatever a turn has left.
#![allow(unsafe_code)] // The outer loop's system calls.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

const RUNTIME: u64 = 0;
const CLOCK: u64 = 1;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7003".into());
    let runtime = Runtime::builder().self_waking_fd(true).build()?;
    let server = runtime.spawn(serve(address));
    let (outer, clock) = (epoll()?, clock(10)?);
    watch(&outer, &runtime, RUNTIME)?;
    watch(&outer, &clock, CLOCK)?;
    while !server.is_finished() {
        match next_event(&outer)? {
            Some(RUNTIME) => {
                runtime.turn(Some(Duration::ZERO))?; // what is ready, and back at once
            }
            Some(_) => {
                (&clock).read_exact(&mut [0; 8])?; // it goes on when it is read, timerfd_create(2)
                eprintln!("{} connections", runtime.metrics().tasks_alive - 1);
            }
            None => {} // a signal
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

async fn echo(stream: AsyncTcpStream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}

// ---- the outer loop, in plain system calls ----------------------------------------------------

fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: a call on numbers alone.
    own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// A descriptor that becomes readable every few seconds.
fn clock(seconds: i64) -> io::Result<File> {
    // SAFETY: a call on numbers alone.
    let clock = own(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) })?;
    let every = libc::timespec { tv_sec: seconds, tv_nsec: 0 };
    let time = libc::itimerspec { it_interval: every, it_value: every };
    // SAFETY: `time` lives, and the old value is not asked for.
    let set = unsafe {
        libc::timerfd_settime(clock.as_raw_fd(), 0, &raw const time, std::ptr::null_mut())
    };
    check(set)?;
    Ok(clock.into())
}

fn watch(epoll: &OwnedFd, fd: &impl AsFd, datum: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: datum };
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_fd().as_raw_fd());
    // SAFETY: `event` lives, and the kernel copies it.
    check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    Ok(())
}

/// Sleeps until there is one; `None` after a signal.
fn next_event(epoll: &OwnedFd) -> io::Result<Option<u64>> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: there is room for one event, and one is asked for.
    match check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, -1) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        result => Ok((result? == 1).then_some(event.u64)),
    }
}

fn own(fd: i32) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the call has just opened it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
