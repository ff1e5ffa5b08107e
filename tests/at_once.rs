//! What is ready at once, an error too, lets the others go; and a few joins and sockets from elsewhere.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]
mod support;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use support::*;
use waken::{AsyncTcpListener, AsyncTcpStream, JoinSet, Runtime, net::TcpSocket, spawn, time::*};

async fn starves<F: Future>(mut op: impl FnMut() -> F, limit: u64) -> u64 {
    let done = Rc::new(Cell::new(false));
    let d = done.clone();
    drop(spawn(async move {
        sleep(Duration::from_millis(20)).await;
        d.set(true)
    }));
    let mut n = 0u64;
    while !done.get() && n < limit {
        op().await;
        n += 1;
    }
    if done.get() { 0 } else { n }
}

/// connect that fails at once: EADDRNOTAVAIL/ENETUNREACH/EINVAL, no wait at all.
#[test]
fn connects_that_fail_at_once_let_the_others_go() {
    alone("connects_that_fail_at_once_let_the_others_go", 8, || {
        waken::block_on(async {
            for addr in ["255.255.255.255:80", "127.0.0.1:0", "[fe80::1]:80"] {
                let addr: std::net::SocketAddr = addr.parse().unwrap();
                println!("{addr} {:?}", AsyncTcpStream::connect(addr).await.map(drop));
                assert_eq!(starves(|| AsyncTcpStream::connect(addr), 100_000).await, 0, "{addr}");
            }
        })
    })
}

#[test]
fn binds_that_fail_at_once_let_the_others_go() {
    alone("binds_that_fail_at_once_let_the_others_go", 8, || {
        waken::block_on(async {
            let l = AsyncTcpListener::bind("127.0.0.1:0").await.unwrap();
            let a = l.local_addr().unwrap();
            assert_eq!(starves(|| AsyncTcpListener::bind(a), 100_000).await, 0);
        })
    })
}

/// Blocking fd given to TcpSocket: does read block the loop?
#[test]
fn a_blocking_socket_is_made_non_blocking_by_connect() {
    alone("a_blocking_socket_is_made_non_blocking_by_connect", 5, || {
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

/// joins of remote tasks spend no budget
#[test]
fn joins_of_remote_tasks_spend_budget() {
    alone("joins_of_remote_tasks_spend_budget", 8, || {
        let rt = Runtime::builder().budget(4).build().unwrap();
        let remote = rt.remote();
        rt.block_on(async {
            let hs: Vec<_> = (0..100).map(|_| remote.spawn(|| async {}).unwrap()).collect();
            sleep(Duration::from_millis(20)).await;
            let turns = rt.metrics().turns;
            spawn(async move {
                for h in hs {
                    h.await.unwrap()
                }
            })
            .await
            .unwrap();
            println!("turns {}", rt.metrics().turns - turns);
            assert!(rt.metrics().budget_yields >= 20, "{:?}", rt.metrics().budget_yields);
        })
    })
}

/// detach_all on a set that lives on
#[test]
fn a_group_that_lets_its_members_go_keeps_no_list_of_them() {
    alone("a_group_that_lets_its_members_go_keeps_no_list_of_them", 20, || {
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
            println!("{at:?}");
            assert!(at[3] < at[1] + 100_000, "{at:?}");
        })
    })
}

/// JoinSet: a member that re-enters in its destructor
#[test]
fn a_runtime_may_be_dropped_by_a_task_of_another() {
    alone("a_runtime_may_be_dropped_by_a_task_of_another", 5, || {
        // a runtime owned by a task of itself, via another runtime
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
