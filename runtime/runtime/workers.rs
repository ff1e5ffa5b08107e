//! Every core: a thread each, with a runtime each. Nothing is shared and nothing is stolen; `SO_REUSEPORT` lets the
//! kernel divide the connections.

use super::Builder;
use crate::sys;
use std::io;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// Threads with a runtime each, which run the same function.
///
/// ```
/// use waken::Workers;
/// use waken::net::TcpSocket;
///
/// let ports = Workers::per_core()?.pin(true).run(|_worker| async {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuseport(true)?;
///     socket.bind("127.0.0.1:0".parse().unwrap())?;   // a fixed port, in a real server
///     let listener = socket.listen(4096)?;
///     std::io::Result::Ok(listener.local_addr()?.port())
/// })?;
/// assert!(ports.into_iter().all(|port| port.is_ok()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "new_multi_thread")]
#[doc(alias = "thread_per_core")]
#[derive(Clone, Debug)]
#[must_use = "workers do nothing until they `run`"]
pub struct Workers {
    count: usize,
    /// Those this thread may run on.
    processors: Vec<usize>,
    pin: bool,
    builder: Builder,
}

impl Workers {
    /// As many as `n`.
    pub fn new(n: NonZeroUsize) -> Workers {
        Workers { count: n.get(), processors: Vec::new(), pin: false, builder: Builder::new() }
    }

    /// One for each processor this thread may run on, sched_getaffinity(2): `taskset` and containers have their say.
    ///
    /// # Errors
    /// On a machine with more than 8,192 processors.
    pub fn per_core() -> io::Result<Workers> {
        let processors = sys::processors()?;
        let count = NonZeroUsize::new(processors.len()).unwrap_or(NonZeroUsize::MIN);
        Ok(Workers { processors, ..Workers::new(count) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps each worker on a processor of its own, the first on the first this thread may run on, and so on; if there are
    /// more workers than processors, from the beginning again. Off by default.
    pub fn pin(mut self, yes: bool) -> Workers {
        self.pin = yes;
        self
    }

    /// The settings of their runtimes.
    pub fn runtime(mut self, builder: Builder) -> Workers {
        self.builder = builder;
        self
    }

    /// Runs `main(i)` to its end on every worker, `i` counted from 0, and returns what they returned, in that order.
    /// Blocks this thread until all have ended. No `main` begins before every worker has its runtime.
    ///
    /// # Errors
    /// When a thread or a runtime cannot be made, or a thread cannot be pinned: then no `main` was run.
    ///
    /// # Panics
    /// With the panic of a worker, after all others have ended.
    pub fn run<M, F>(self, main: M) -> io::Result<Vec<F::Output>>
    where
        M: Fn(usize) -> F + Send + Sync,
        F: Future,
        F::Output: Send,
    {
        let processors = match self.pin {
            true if self.processors.is_empty() => sys::processors()?,
            true => self.processors,
            false => Vec::new(),
        };
        let meeting = Meeting { of: self.count, ..Meeting::default() };
        let work = |worker: usize| -> io::Result<Option<F::Output>> {
            let pinned = match processors.len() {
                0 => Ok(()),
                n => sys::pin_to(processors[worker % n]),
            };
            let runtime = meeting.join(pinned.and_then(|()| self.builder.clone().build()))?;
            Ok(runtime.map(|runtime| runtime.block_on(async { main(worker).await })))
        };
        let results: Vec<thread::Result<io::Result<Option<F::Output>>>> = thread::scope(|scope| {
            let spawn = |worker| {
                let thread = thread::Builder::new().name(format!("waken-worker-{worker}"));
                let work = &work;
                let thread = thread.spawn_scoped(scope, move || work(worker));
                thread.map(Some).or_else(|error| meeting.join(Err(error)))
            };
            // All are begun before the first is waited for.
            let threads: Vec<_> = (0..self.count).map(spawn).collect();
            let ended = |thread: io::Result<Option<thread::ScopedJoinHandle<'_, _>>>| match thread {
                Ok(Some(thread)) => thread.join(),
                Ok(None) => Ok(Ok(None)),
                Err(error) => Ok(Err(error)),
            };
            threads.into_iter().map(ended).collect()
        });
        let results = results.into_iter().map(|it| it.unwrap_or_else(|panic| resume_unwind(panic)));
        let outputs = results.collect::<io::Result<Vec<Option<F::Output>>>>()?;
        Ok(outputs.into_iter().flatten().collect())
    }
}

/// Where the workers wait for each other, so that either all begin or none does.
#[derive(Default)]
struct Meeting {
    of: usize,
    /// How many are here, and whether somebody will never come.
    here: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Meeting {
    /// Waits for the others, and gives back what was brought along: nothing, when one of them has failed.
    fn join<R>(&self, brought: io::Result<R>) -> io::Result<Option<R>> {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.0 += 1;
        here.1 |= brought.is_err();
        self.changed.notify_all();
        let brought = brought?;
        while here.0 < self.of && !here.1 {
            here = self.changed.wait(here).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((!here.1).then_some(brought))
    }
}
