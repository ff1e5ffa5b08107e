//! 65,536 runtimes later a waker's room for the runtime comes round, and nothing else does.
#![allow(unsafe_code, missing_docs)]
mod support;
use std::time::Duration;
use support::*;
use waken::{AsyncTcpListener, AsyncTcpStream, Runtime, time::*};

fn come_round() {
    for _ in 0..65_534 {
        drop(Runtime::builder().events_per_poll(1).build().unwrap());
    }
}

#[test]
fn an_old_socket_does_not_take_a_new_ones_place() {
    guard(60).cpu_ms(2_000).run(|| {
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let old = Runtime::new()
            .unwrap()
            .block_on(AsyncTcpStream::connect(l.local_addr().unwrap()))
            .unwrap();
        come_round();
        let rt = Runtime::new().unwrap();
        rt.block_on(async {
            let l = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let error = old.try_read(&mut [0; 1]).unwrap_err().to_string();
            assert!(error.contains("has ended"), "{error}");
            assert_eq!(rt.metrics().sources_alive, 1);
            drop(old);
            assert_eq!(rt.metrics().sources_alive, 1, "the listener is not watched any more");
            let a = l.local_addr().unwrap();
            let t = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                std::net::TcpStream::connect(a).unwrap()
            });
            timeout(Duration::from_secs(1), l.accept()).await.expect("lost").unwrap();
            t.join().unwrap();
        })
    })
}

#[test]
fn an_old_handle_does_not_touch_a_new_task() {
    guard(60).cpu_ms(2_000).run(|| {
        let old = Runtime::new().unwrap().spawn(async { 1u8 });
        come_round();
        let rt = Runtime::new().unwrap();
        let new = rt.spawn(async { String::from("new") });
        old.abort();
        assert!(rt.block_on(new).is_ok(), "aborted by a handle of a runtime that has ended");
    })
}
