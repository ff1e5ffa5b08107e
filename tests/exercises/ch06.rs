//! Chapter 6.

use crate::support::{pair, watched};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::Duration;
use waken::io::AsyncFd;
use waken::runtime::metrics;
use waken::task::yield_now;
use waken::time::timeout;
use waken::{block_on, spawn};

#[test]
fn ex06_an_event_wakes_who_waits_at_its_descriptor_and_nobody_else() {
    watched(5, || {
        block_on(async {
            let (one, one_peer) = pair().await.unwrap();
            // Gone, so that its place in the table is used again.
            drop(pair().await.unwrap());
            let (two, two_peer) = pair().await.unwrap();
            let readers = [one, two].map(|stream| {
                spawn(async move {
                    let mut buf = [0; 1];
                    stream.read(&mut buf).await.unwrap();
                    buf[0]
                })
            });
            yield_now().await;
            two_peer.write_all(b"2").await.unwrap();
            let [mut first, second] = readers;
            let second = timeout(Duration::from_secs(1), second).await;
            assert_eq!(second.expect("its event wakes it").unwrap(), b'2');
            assert!(!first.is_finished());
            one_peer.write_all(b"1").await.unwrap();
            let first = timeout(Duration::from_secs(1), &mut first).await;
            assert_eq!(first.expect("its event wakes it").unwrap(), b'1');
            assert_eq!(metrics().polls, 4, "each when it was new, and at its event");
        });
    });
}

#[test]
fn ex06_what_the_kernel_refuses_leaves_nothing_behind() {
    watched(5, || {
        block_on(async {
            let before = metrics().sources_alive;
            let file = std::fs::File::open("/proc/self/exe").unwrap();
            assert_eq!(AsyncFd::new(file).unwrap_err().kind(), ErrorKind::Unsupported);
            assert_eq!(metrics().sources_alive, before);
            let (stream, peer) = pair().await.unwrap();
            let again = AsyncFd::new(stream.as_fd()).unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AlreadyExists);
            assert_eq!(metrics().sources_alive, before + 2, "the two ends, and no more");
            peer.write_all(b"x").await.unwrap();
            let read = timeout(Duration::from_secs(1), stream.read(&mut [0; 9])).await;
            assert_eq!(read.expect("the first registration still works").unwrap(), 1);
            drop((stream, peer));
            assert_eq!(metrics().sources_alive, before);
        });
    });
}
