//! One spawned future, and then, in the same allocation, its output. Knows no other task, but may be given its memory.
//!
//! ```text
//! Running(future) ──Ready──► Finished(Some(output)) ──joined──► Finished(None)
//!    ▲                                                              │
//!    └────────────── the next future of the same type ──────────────┘
//! ```

use pin_project_lite::pin_project;
use std::any::Any;
use std::mem::{self, needs_drop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A future whose type the executor does not know.
pub(crate) type Spawned = Pin<Box<dyn Erased>>;

pub(crate) trait Erased {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// After `poll` was ready: puts its output into `to`, which is an `Option<F::Output>`. Of a task that has
    /// panicked it is an `Option` of what it panicked with.
    fn leave(self: Pin<&mut Self>, to: &mut dyn Any);

    /// After `leave`: takes another future out of `from`, if that is an `Option` of one of the same type. Whether it has.
    fn refill(self: Pin<&mut Self>, _from: &mut dyn Any) -> bool {
        false
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F: Future> {
        Running { #[pin] future: F },
        Finished { output: Option<F::Output> },
    }
}

/// The memory of a task that was joined is kept for the next one if it has no more bytes than this.
pub(crate) const LARGEST_SPARE: usize = 512;

/// `refilled` is given an `Option` of the future, and may take it into the memory of another one.
#[inline] // With `spawn`: a large future is to be made where it stays, and not to be moved over the stack.
pub(crate) fn erase<F>(future: F, refilled: impl FnOnce(&mut dyn Any) -> Option<Spawned>) -> Spawned
where
    F: Future + 'static,
    F::Output: 'static,
{
    if size_of::<Stage<F>>() > LARGEST_SPARE {
        return Box::pin(Stage::Running { future });
    }
    let mut future = Some(future);
    match (refilled(&mut future), future) {
        (Some(spare), _) => spare,
        (None, Some(future)) => Box::pin(Stage::Running { future }),
        (None, None) => unreachable!("nobody has taken it"),
    }
}

impl<F> Erased for Stage<F>
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let StageProjection::Running { future } = self.as_mut().project() {
            let output = ready!(future.poll(cx));
            self.finish(output);
        }
        Poll::Ready(())
    }

    fn leave(self: Pin<&mut Self>, to: &mut dyn Any) {
        let (stage, to) = (self.project(), to.downcast_mut());
        if let (StageProjection::Finished { output }, Some(to)) = (stage, to) {
            *to = output.take();
        }
    }

    fn refill(mut self: Pin<&mut Self>, from: &mut dyn Any) -> bool {
        match from.downcast_mut::<Option<F>>().and_then(Option::take) {
            Some(future) if size_of::<Self>() <= LARGEST_SPARE => {
                self.set(Stage::Running { future });
                true
            }
            _ => false,
        }
    }
}

impl<F: Future> Stage<F> {
    /// Drops the future, before anybody can learn that it has finished.
    #[inline(never)] // Most polls are `Pending`, and would save registers for this.
    fn finish(mut self: Pin<&mut Self>, output: F::Output) {
        let output = Some(output);
        if needs_drop::<F>() {
            contain(|| self.set(Stage::Finished { output }));
        } else {
            self.set(Stage::Finished { output });
        }
    }
}

/// What a task has panicked with.
pub(crate) type Payload = Box<dyn Any + Send>;

/// What stands where a future was that has panicked.
struct Panicked(Option<Payload>);

pub(crate) fn panicked(payload: Payload) -> Spawned {
    Box::pin(Panicked(Some(payload)))
}

/// What [`panicked`] was told.
pub(crate) fn take_payload(mut panicked: Spawned) -> Payload {
    let mut payload: Option<Payload> = None;
    panicked.as_mut().leave(&mut payload);
    payload.unwrap_or_else(|| Box::new(()))
}

impl Erased for Panicked {
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn leave(mut self: Pin<&mut Self>, to: &mut dyn Any) {
        if let Some(to) = to.downcast_mut() {
            *to = self.0.take();
        }
    }
}

/// Runs code of the user's for which nobody waits: a destructor, a foreign waker. The panic hook
/// has printed the panic; here it ends. A payload that panics in its own destructor is leaked.
pub(crate) fn contain(code: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(code)) else { return };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
}
