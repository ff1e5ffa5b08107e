//! Every core: threads with a runtime each, which begin together and end one by one.
mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::{guard, panic_message, watched};
use waken::net::TcpSocket;
use waken::time::sleep;
use waken::{AsyncTcpListener, Builder, Workers, spawn};

fn workers(n: usize) -> Workers {
    Workers::new(NonZeroUsize::new(n).unwrap())
}

/// The processors that this thread may run on, as the kernel tells.
fn allowed() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().into()
}

#[test]
fn each_worker_runs_on_a_thread_and_a_runtime_of_its_own_and_gives_its_output_in_order() {
    watched(20, || {
        let seen = Mutex::new(BTreeSet::new());
        let outputs = workers(5).run(|worker| {
            let seen = &seen;
            async move {
                // A task needs no `Send`.
                let shared = std::rc::Rc::new(worker);
                let doubled = spawn(async move { *shared * 2 }).await.unwrap();
                sleep(Duration::from_millis(10 - worker as u64)).await;
                seen.lock().unwrap().insert(format!("{:?}", thread::current().id()));
                assert_eq!(thread::current().name(), Some(&*format!("waken-worker-{worker}")));
                doubled
            }
        });
        assert_eq!(outputs.unwrap(), [0, 2, 4, 6, 8]);
        assert_eq!(seen.into_inner().unwrap().len(), 5);
    });
}

#[test]
fn one_per_core_and_pinned_each_has_a_core_of_its_own() {
    watched(20, || {
        // `0-3,8`: not `available_parallelism`, which also knows how much time a container may have.
        let ends = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            1 + last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap()
        };
        let cores = allowed().split(',').map(ends).sum();
        let pinned = Workers::per_core().unwrap().pin(true).run(|_| async { allowed() }).unwrap();
        assert_eq!(pinned.len(), cores);
        assert_eq!(Workers::per_core().unwrap().count(), cores);
        assert_eq!(pinned.iter().collect::<BTreeSet<_>>().len(), cores, "{pinned:?}");
        assert!(pinned.iter().all(|cpus| cpus.parse::<usize>().is_ok()), "{pinned:?}");
        let free = workers(2).run(|_| async { allowed() }).unwrap();
        assert!(free.iter().all(|cpus| *cpus == allowed()), "{free:?}");
        let more = workers(2 * cores).pin(true).run(|_| async { allowed() }).unwrap();
        assert_eq!(more[..cores], more[cores..], "from the beginning again");
    });
}

#[test]
fn a_panic_in_one_is_resumed_after_the_others_have_ended() {
    guard(20).panics().run(|| {
        let ended = AtomicUsize::new(0);
        let run = || {
            workers(4).run(|worker| {
                let ended = &ended;
                async move {
                    assert!(worker != 2, "worker two has had enough");
                    sleep(Duration::from_millis(50)).await;
                    ended.fetch_add(1, SeqCst);
                }
            })
        };
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic_message(panic), "worker two has had enough");
        assert_eq!(ended.load(SeqCst), 3);
    });
}

#[test]
fn when_one_runtime_cannot_be_made_no_worker_begins() {
    watched(20, || {
        let limit = libc::rlimit { rlim_cur: 12, rlim_max: 12 };
        // SAFETY: the limit lives.
        #[allow(unsafe_code)]
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(set, 0);
        let begun = AtomicUsize::new(0);
        let count = || {
            begun.fetch_add(1, SeqCst);
            std::future::pending::<()>()
        };
        let error = workers(20).run(|_| count()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        assert_eq!(begun.load(SeqCst), 0);
    });
}

#[test]
fn the_function_itself_runs_inside_of_its_runtime() {
    watched(20, || {
        let outputs = workers(2).run(|worker| {
            let task = spawn(async move { worker });
            async move { task.await.unwrap() }
        });
        assert_eq!(outputs.unwrap(), [0, 1]);
    });
}

#[test]
fn the_settings_are_those_of_every_worker() {
    watched(20, || {
        let yields = workers(3)
            .runtime(Builder::new().budget(1))
            .run(|_| async {
                spawn(async {
                    for _ in 0..10 {
                        waken::task::consume_budget().await;
                    }
                })
                .await
                .unwrap();
                waken::runtime::metrics().budget_yields
            })
            .unwrap();
        assert_eq!(yields, [9, 9, 9]);
    });
}

fn listen(address: SocketAddr) -> std::io::Result<AsyncTcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// The kernel divides by a hash of the addresses: binomially, so with 2,000 clients one share below 800 of them
/// has a probability of 10^-19.
#[test]
fn the_kernel_divides_the_connections_of_one_port_among_the_workers() {
    watched(60, || {
        const CLIENTS: usize = 2_000;
        let port = Mutex::new(None);
        let accepted = AtomicUsize::new(0);
        let shares = workers(2).run(|worker| {
            let (port, accepted) = (&port, &accepted);
            async move {
                // The first takes any port, the second the same.
                let listener = loop {
                    let taken = *port.lock().unwrap();
                    match (worker, taken) {
                        (0, _) => break listen(([127, 0, 0, 1], 0).into()).unwrap(),
                        (_, Some(address)) => break listen(address).unwrap(),
                        _ => sleep(Duration::from_millis(1)).await,
                    }
                };
                let address = listener.local_addr().unwrap();
                *port.lock().unwrap() = Some(address);
                if worker == 1 {
                    thread::spawn(move || {
                        for _ in 0..CLIENTS {
                            drop(TcpStream::connect(address).unwrap());
                        }
                    });
                }
                let mut share = 0;
                while accepted.load(SeqCst) < CLIENTS {
                    let accept = listener.accept();
                    if waken::time::timeout(Duration::from_millis(5), accept).await.is_ok() {
                        share += 1;
                        accepted.fetch_add(1, SeqCst);
                    }
                }
                share
            }
        });
        let shares = shares.unwrap();
        assert_eq!(shares.iter().sum::<usize>(), CLIENTS);
        assert!(shares.iter().all(|share| *share > CLIENTS * 2 / 5), "{shares:?}");
    });
}
