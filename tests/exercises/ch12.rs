//! Chapter 12.

#[path = "../support/peer.rs"]
mod peer;

use crate::support::watched;
use peer::limit_descriptors;
use std::cell::Cell;
use std::fs::File;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};
use waken::time::{sleep, timeout};
use waken::{AsyncTcpListener, block_on, spawn};

const MS: Duration = Duration::from_millis(1);

#[test]
fn ex12_out_of_descriptors_accept_says_so_rests_and_goes_on() {
    watched(5, || {
        limit_descriptors(32);
        block_on(async {
            let listener = Rc::new(AsyncTcpListener::bind("127.0.0.1:0").await.unwrap());
            let address = listener.local_addr().unwrap();
            let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
            let mut files: Vec<File> =
                std::iter::from_fn(|| File::open("/dev/null").ok()).collect();

            let (accepted, failed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (counted, theirs, failures) = (accepted.clone(), listener.clone(), failed.clone());
            let accepting = spawn(async move {
                let mut streams = Vec::new();
                loop {
                    match theirs.accept().await {
                        Ok((stream, _)) => {
                            streams.push(stream);
                            counted.set(streams.len());
                        }
                        Err(_) => failures.set(failures.get() + 1),
                    }
                }
            });
            // After 0, 10, 30, 70, 150, 310, 630 ms.
            sleep(400 * MS).await;
            let failed = failed.get();
            assert!((3..=7).contains(&failed), "accept has failed {failed} times in 0.4 s");

            // The loop would look again after 630 ms. A success elsewhere ends the pause.
            files.truncate(files.len() - 3);
            let begin = Instant::now();
            let first = listener.try_accept();
            assert!(first.is_ok(), "{first:?}");
            let rest = async {
                while accepted.get() < 2 {
                    sleep(MS).await;
                }
            };
            assert!(timeout(2000 * MS, rest).await.is_ok(), "clients are left in the queue");
            assert!(begin.elapsed() < 500 * MS, "after {:?}", begin.elapsed());
            accepting.abort();
            assert!(accepting.await.is_err());
        });
    });
}
