//! A runtime inside Python's asyncio: a shared library with a C interface, and `server.py`, which loads it.
//!
//! ```text
//! $ cargo build --example asyncio
//! $ python3 examples/asyncio/server.py [PORT [LIBRARY]]      # 7004, and what the first line has built
//! listening on 127.0.0.1:7004
//! Python has ticked 10 times                       # and every second again
//! $ nc 127.0.0.1 7004                              # in another terminal
//! hello
//! hello
//! ```
//!
//! All that asyncio learns is a descriptor and what to call when that is readable: `loop.add_reader(fd, turn)`. Any
//! language with a loop and a way to call C can do the same. One thread, no callback, no lock: a turn runs on the thread
//! of the loop, so nothing here is called while Python runs something else.
#![allow(unsafe_code)] // The interface is C's.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, spawn};

/// What Python holds. It belongs to the thread that has made it.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    port: u16,
}

/// An echo server on 127.0.0.1, on any port when `port` is 0. Null, with the reason on standard error, when
/// that is not possible.
#[unsafe(no_mangle)]
pub extern "C" fn waken_new(port: u16) -> *mut Server {
    or(ptr::null_mut(), || start(port).map(Box::new).map(Box::into_raw))
}

/// The descriptor that is readable when [`waken_turn`] is to be called.
///
/// # Safety
/// `server` comes from [`waken_new`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waken_fd(server: *const Server) -> i32 {
    // SAFETY: the caller's promise.
    let server = unsafe { &*server };
    or(-1, || Ok(server.runtime.as_raw_fd()))
}

/// Where it listens.
///
/// # Safety
/// `server` comes from [`waken_new`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waken_port(server: *const Server) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { &*server }.port
}

/// Does what is ready, and returns at once: 0, or -1 with the reason on standard error.
///
/// # Safety
/// `server` comes from [`waken_new`] on this thread, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waken_turn(server: *const Server) -> i32 {
    // SAFETY: the caller's promise.
    let server = unsafe { &*server };
    or(-1, || server.runtime.turn(Some(Duration::ZERO)).map(|_| 0))
}

/// Ends the server and all its connections.
///
/// # Safety
/// `server` comes from [`waken_new`] on this thread, and is not used after this.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn waken_free(server: *mut Server) {
    // SAFETY: the caller's promise: it is a box of ours, and this is its only owner.
    let server = unsafe { Box::from_raw(server) };
    or((), || {
        drop(server);
        Ok(())
    });
}

/// No error and no panic crosses the border: it is printed, and `failed` is returned.
fn or<R>(failed: R, code: impl FnOnce() -> io::Result<R>) -> R {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            eprintln!("waken: {error}");
            failed
        }
        Err(_panic) => failed, // the panic hook has printed it
    }
}

fn start(port: u16) -> io::Result<Server> {
    // By std, which needs no turn to bind.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = listener.local_addr()?.port();
    let runtime = Runtime::builder().self_waking_fd(true).build()?;
    let guard = runtime.enter();
    drop(spawn(serve(listener.try_into()?)));
    drop(guard);
    Ok(Server { runtime, port })
}

async fn serve(listener: AsyncTcpListener) {
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
