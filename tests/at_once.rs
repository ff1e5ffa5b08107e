//! What is ready at once, an error too, lets the others go; and a few joins and sockets from elsewhere.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]
mod support;
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use support::*;
use waken::net::{AsyncUdpSocket, TcpSocket};
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Runtime, spawn, time::*};

/// Repeats what is ready at once until a timer of 20 ms has had its turn, which must be before `limit` rounds.
async fn lets_a_timer_fire<F: Future>(limit: u64, mut operation: impl FnMut() -> F) {
    let done = Rc::new(Cell::new(false));
    let told = done.clone();
    drop(spawn(async move {
        sleep(Duration::from_millis(20)).await;
        told.set(true);
    }));
    let mut rounds = 0;
    while !done.get() {
        assert!(rounds < limit, "nobody else had a turn in {rounds} rounds");
        operation().await;
        rounds += 1;
    }
}

/// No wait at all: the broadcast address of the loopback network is unreachable to TCP.
#[test]
fn connects_that_fail_at_once_let_the_others_go() {
    watched(8, || {
        waken::block_on(async {
            let nowhere: SocketAddr = "127.255.255.255:9".parse().unwrap();
            lets_a_timer_fire(100_000, || async {
                let error = AsyncTcpStream::connect(nowhere).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
            })
            .await;
        })
    })
}

/// As a client does that tries again and again to reach a closed port.
#[test]
fn refused_connects_let_the_others_go() {
    watched(8, || {
        waken::block_on(async {
            let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            lets_a_timer_fire(200_000, || async {
                assert!(AsyncTcpStream::connect(closed).await.is_err());
            })
            .await;
        })
    })
}

#[test]
fn binds_that_fail_at_once_let_the_others_go() {
    watched(8, || {
        waken::block_on(async {
            let listener = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let taken = listener.local_addr().unwrap();
            lets_a_timer_fire(100_000, || async {
                assert!(AsyncTcpListener::bind(taken).await.is_err());
            })
            .await;
        })
    })
}

/// Q04: names that are none, and no address at all.
#[test]
fn addresses_that_are_none_let_the_others_go() {
    watched(8, || {
        waken::block_on(async {
            lets_a_timer_fire(1_000_000, || async {
                assert!(AsyncTcpStream::connect("no port").await.is_err());
            })
            .await;
            lets_a_timer_fire(1_000_000, || async {
                assert!(AsyncTcpStream::connect(&[][..] as &[SocketAddr]).await.is_err());
            })
            .await;
        })
    })
}

#[test]
fn datagram_sockets_that_are_made_and_connected_let_the_others_go() {
    watched(8, || {
        waken::block_on(async {
            let socket = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
            let peer = socket.local_addr().unwrap();
            lets_a_timer_fire(100_000, || async { socket.connect(peer).await.unwrap() }).await;
            lets_a_timer_fire(100_000, || async {
                assert!(AsyncUdpSocket::bind(peer).await.is_err());
            })
            .await;
        })
    })
}

/// Not even a system call is made for these.
#[test]
fn errors_that_come_at_once_let_the_others_go() {
    watched(8, || {
        let elsewhere = Runtime::new().unwrap();
        let listener = elsewhere.block_on(AsyncTcpListener::bind("127.0.0.1:0")).unwrap();
        waken::block_on(async {
            lets_a_timer_fire(1_000_000, || async {
                assert!(listener.accept().await.is_err());
            })
            .await;
        })
    })
}

/// Else its reads would block the loop, and no timeout could end them.
#[test]
fn a_blocking_socket_is_made_non_blocking_by_connect() {
    watched(5, || {
        waken::block_on(async {
            let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let fd = unsafe {
                <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(libc::socket(
                    libc::AF_INET,
                    libc::SOCK_STREAM,
                    0,
                ))
            };
            let s = TcpSocket::from(fd).connect(l.local_addr().unwrap()).await.unwrap();
            let r = timeout(Duration::from_millis(50), s.read(&mut [0; 8])).await;
            assert!(r.is_err());
        })
    })
}

#[test]
fn joins_of_remote_tasks_spend_budget() {
    watched(8, || {
        let rt = Runtime::builder().budget(4).build().unwrap();
        let remote = rt.remote();
        rt.block_on(async {
            let hs: Vec<_> = (0..100).map(|_| remote.spawn(|| async {}).unwrap()).collect();
            sleep(Duration::from_millis(20)).await;
            spawn(async move {
                for h in hs {
                    h.await.unwrap()
                }
            })
            .await
            .unwrap();
            assert!(rt.metrics().budget_yields >= 20, "{:?}", rt.metrics().budget_yields);
        })
    })
}

#[test]
fn a_group_that_lets_its_members_go_keeps_no_list_of_them() {
    guard(20).cpu_ms(2_000).run(|| {
        fn heap() -> usize {
            unsafe {
                let m = libc::mallinfo2();
                m.uordblks + m.hblkhd
            }
        }
        waken::block_on(async {
            let mut set = JoinSet::new();
            let mut at = Vec::with_capacity(8);
            for round in 0..400_000u64 {
                set.spawn(async {});
                set.detach_all();
                waken::task::yield_now().await;
                if round % 100_000 == 0 {
                    at.push(heap());
                }
            }
            assert!(at[3] < at[1] + 100_000, "{at:?}");
        })
    })
}

/// R04.
#[test]
fn a_runtime_may_be_dropped_by_a_task_of_another() {
    watched(5, || {
        waken::block_on(async {
            let inner = Runtime::new().unwrap();
            let h = inner.spawn(async {
                sleep(Duration::from_secs(1)).await;
                1
            });
            let t = spawn(async move {
                let _keep = inner;
                std::future::pending::<()>().await
            });
            waken::task::yield_now().await;
            t.abort();
            assert!(t.await.unwrap_err().is_cancelled());
            assert!(h.await.unwrap_err().is_cancelled());
        })
    })
}
