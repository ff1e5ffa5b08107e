//! What a future is made of is no matter to its task: nothing, a lot, aligned, pinned, in long chains.
mod support;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use support::{guard, watched};
use waken::task::yield_now;
use waken::{JoinHandle, Runtime, spawn};

/// T15.
#[test]
fn a_future_and_an_output_of_no_size_are_tasks_like_others() {
    struct Nothing;
    impl Future for Nothing {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
    watched(10, || {
        assert_eq!(size_of::<Nothing>(), 0);
        let runtime = Runtime::new().unwrap();
        let tasks: Vec<JoinHandle<()>> = (0..100).map(|_| runtime.spawn(Nothing)).collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(runtime.metrics().polls, 100);
    });
}

/// T15.
#[test]
fn a_future_and_an_output_lie_as_their_alignment_asks() {
    #[repr(align(64))]
    struct Line(u8);
    #[repr(align(4096))]
    struct Page(u8);
    fn address<T>(value: &T) -> usize {
        std::ptr::from_ref(value).addr()
    }
    watched(10, || {
        waken::block_on(async {
            for n in 0..50 {
                let (line, page) = (Line(n), Page(n));
                let task = spawn(async move {
                    yield_now().await;
                    assert_eq!(address(&line) % 64, 0);
                    assert_eq!(address(&page) % 4096, 0);
                    (line, page)
                });
                let (line, page) = task.await.unwrap();
                assert_eq!((line.0, page.0), (n, n));
                assert_eq!((address(&line) % 64, address(&page) % 4096), (0, 0));
            }
        });
    });
}

/// T15, P05. Unoptimised code moves a value by way of the stack, so there the stack is larger.
#[test]
fn a_future_of_a_mebibyte_can_be_spawned_on_a_small_stack() {
    async fn large() -> u32 {
        let mut room = [1u8; 1 << 20];
        yield_now().await;
        room[77] = 5;
        yield_now().await;
        room.iter().map(|&byte| u32::from(byte)).sum()
    }
    watched(10, || {
        let stack = if cfg!(debug_assertions) { 32 << 20 } else { 512 << 10 };
        let body = || {
            let runtime = Runtime::new().unwrap();
            let task = runtime.spawn(large());
            runtime.block_on(task).unwrap()
        };
        let thread = std::thread::Builder::new().stack_size(stack).spawn(body).unwrap();
        assert_eq!(thread.join().unwrap(), (1 << 20) + 4);
    });
}

/// U05.
#[test]
fn a_pinned_future_stays_where_it_was_first_polled_until_it_is_dropped() {
    struct Pinned {
        seen: Rc<RefCell<Vec<usize>>>,
        polls: Cell<u32>,
        _pinned: PhantomPinned,
    }
    impl Pinned {
        fn note(&self) {
            self.seen.borrow_mut().push(std::ptr::from_ref(self).addr());
        }
    }
    impl Future for Pinned {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.note();
            self.polls.set(self.polls.get() + 1);
            cx.waker().wake_by_ref();
            if self.polls.get() == 10 { Poll::Ready(()) } else { Poll::Pending }
        }
    }
    impl Drop for Pinned {
        fn drop(&mut self) {
            self.note();
        }
    }
    watched(10, || {
        // Ended by itself, by an abort, and with the runtime, while the table of tasks grows.
        for end in ["ready", "aborted", "shut down"] {
            let runtime = Runtime::new().unwrap();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let future = Pinned { seen: seen.clone(), polls: Cell::new(0), _pinned: PhantomPinned };
            let task = runtime.spawn(future);
            runtime.block_on(async {
                for _ in 0..5 {
                    (0..100).for_each(|_| drop(spawn(pending::<()>())));
                    yield_now().await;
                }
                match end {
                    "ready" => task.await.unwrap(),
                    "aborted" => {
                        task.abort();
                        assert!(task.await.is_err());
                    }
                    _ => {}
                }
            });
            drop(runtime);
            let seen = seen.borrow();
            assert!(seen.len() > 5, "{end}: polled and dropped");
            assert!(seen.iter().all(|&address| address == seen[0]), "{end}: {seen:x?}");
        }
    });
}

/// T16.
#[test]
fn a_chain_of_a_hundred_thousand_tasks_that_own_each_other_ends_without_recursion() {
    guard(20).cpu_ms(1_000).run(|| {
        let runtime = Runtime::new().unwrap();
        let all = Rc::new(());
        let mut next = runtime.spawn(pending::<()>());
        for _ in 0..100_000 {
            let owned = (next.abort_on_drop(), all.clone());
            next = runtime.spawn(async move {
                let _owned = owned;
                pending::<()>().await;
            });
        }
        runtime.block_on(yield_now());
        assert_eq!(runtime.metrics().tasks_alive, 100_001);
        drop(next.abort_on_drop());
        runtime.block_on(async {
            while runtime.metrics().tasks_alive > 50_000 {
                yield_now().await;
            }
        });
        drop(runtime);
        assert_eq!(Rc::strong_count(&all), 1, "every one of them is dropped");
    });
}

/// T13.
#[test]
fn what_is_spawned_while_the_runtime_ends_is_dropped_and_reported_as_cancelled() {
    struct Heir(u32, Rc<RefCell<Vec<JoinHandle<()>>>>);
    impl Drop for Heir {
        fn drop(&mut self) {
            if self.0 > 0 {
                let next = Heir(self.0 - 1, self.1.clone());
                let task = spawn(async move {
                    let _next = next;
                    pending::<()>().await;
                });
                self.1.borrow_mut().push(task);
            }
        }
    }
    watched(10, || {
        let handles = Rc::new(RefCell::new(Vec::new()));
        let runtime = Runtime::new().unwrap();
        let first = Heir(100, handles.clone());
        runtime.spawn(async move {
            let _first = first;
            pending::<()>().await;
        });
        runtime.block_on(yield_now());
        drop(runtime);
        assert_eq!(Rc::strong_count(&handles), 1, "every one of them is dropped");
        let handles = handles.take();
        assert_eq!(handles.len(), 100);
        waken::block_on(async {
            for handle in handles {
                assert!(handle.is_finished());
                assert!(handle.await.unwrap_err().is_cancelled());
            }
        });
    });
}
