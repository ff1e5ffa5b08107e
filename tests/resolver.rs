//! A resolver that hangs holds up neither the loop nor its end. This program has a `getaddrinfo` of its own, which
//! std's lookups find instead of the system's.
#![allow(unsafe_code)]
mod support;

use std::ffi::c_int;
use std::io;
use std::thread;
use std::time::{Duration, Instant};
use support::{cpu, watched};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, block_on, spawn};

const HANGS: Duration = Duration::from_secs(3);

/// Hangs, and then has no answer.
///
/// # Safety
/// Touches nothing that it is given.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    _node: *const libc::c_char,
    _service: *const libc::c_char,
    _hints: *const libc::addrinfo,
    _result: *mut *mut libc::addrinfo,
) -> c_int {
    thread::sleep(HANGS);
    libc::EAI_AGAIN
}

async fn connect() -> io::Result<AsyncTcpStream> {
    AsyncTcpStream::connect(("name.invalid", 80)).await
}

#[test]
fn the_loop_goes_on_while_the_resolver_hangs_and_hears_of_its_error() {
    watched(30, || {
        block_on(async {
            let start = Instant::now();
            let connecting = spawn(connect());
            let mut ticks = 0;
            while !connecting.is_finished() {
                sleep(Duration::from_millis(10)).await;
                ticks += 1;
            }
            assert!(start.elapsed() >= HANGS, "this is not the resolver that hangs");
            assert!(ticks > 50, "{ticks} ticks of 10 ms in {:?}", start.elapsed());
            connecting.await.unwrap().unwrap_err();
        });
    });
}

#[test]
fn who_gives_up_is_let_go_and_so_is_the_runtime() {
    watched(30, || {
        let start = Instant::now();
        block_on(async {
            timeout(Duration::from_millis(20), connect()).await.unwrap_err();
            drop(spawn(connect()));
            sleep(Duration::from_millis(5)).await;
        });
        assert!(start.elapsed() < HANGS / 2, "{:?}", start.elapsed());
        // The answer finds nobody any more.
        thread::sleep(HANGS + Duration::from_millis(200));
    });
}

#[test]
fn nobody_spins_while_the_resolver_hangs() {
    watched(30, || {
        block_on(async {
            let before = cpu();
            connect().await.unwrap_err();
            assert!(cpu() - before < Duration::from_millis(50), "{:?}", cpu() - before);
        });
    });
}
