//! Chapter 7.

use crate::support::{pair, watched};
use std::net::Shutdown;
use std::time::Duration;
use waken::time::{sleep, timeout};
use waken::{AsyncTcpStream, block_on};

/// Ready when a call may have something to say: that no call is needed to know, is what a short read is good for.
async fn counts_as_ready(stream: &AsyncTcpStream) -> bool {
    timeout(Duration::ZERO, stream.readable()).await.is_ok()
}

async fn read(stream: &AsyncTcpStream, room: usize) -> usize {
    let mut buf = vec![0; room];
    let reading = timeout(Duration::from_secs(1), stream.read(&mut buf));
    reading.await.expect("what is there is read, without another edge").unwrap()
}

#[test]
fn ex07_a_short_read_proves_that_nothing_more_is_there() {
    watched(5, || {
        block_on(async {
            let (ours, peer) = pair().await.unwrap();
            peer.write_all(b"ten bytes!").await.unwrap();
            sleep(Duration::from_millis(5)).await;
            for n in [4, 4] {
                assert_eq!(read(&ours, 4).await, n);
                assert!(counts_as_ready(&ours).await, "the buffer was full, so there may be more");
            }
            assert_eq!(read(&ours, 4).await, 2);
            assert!(!counts_as_ready(&ours).await, "there was room for more, and none came");
            peer.write_all(b"x").await.unwrap();
            assert_eq!(read(&ours, 4).await, 1, "and what comes then is an edge");
        });
    });
}

#[test]
fn ex07_an_end_behind_the_bytes_has_no_edge_of_its_own() {
    watched(5, || {
        block_on(async {
            let (ours, peer) = pair().await.unwrap();
            peer.write_all(b"bye").await.unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            // Bytes and end are told of by one event.
            sleep(Duration::from_millis(5)).await;
            assert_eq!(read(&ours, 16).await, 3);
            assert_eq!(read(&ours, 16).await, 0, "the end");
        });
    });
}
