//! std, as the models see it: locks, atomics, threads and thread-locals are loom's, and all else is the real one.
//!
//! The crate of the models says `extern crate loom_std as std`, so the files of `runtime/` are compiled as they
//! are, and `use std::sync::Mutex` in one of them finds loom's.

pub use ::std::*;

pub mod sync {
    pub use ::std::sync::{Arc, LockResult, Once, PoisonError, TryLockError, Weak};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};

    use std::cell::UnsafeCell;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicU64 as Count, Ordering::Relaxed};

    /// What the protocols are made of is loom's. `AtomicBool`, `AtomicU32` and `AtomicPtr` are the real ones: the
    /// runtime has them in statics, which loom's cannot stand in, and for no protocol.
    pub mod atomic {
        pub use ::std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
        pub use loom::sync::atomic::{AtomicU8, AtomicU64};
    }

    /// loom's has no `const fn new`, and the registry of runtimes is a `static`. The turns are loom's, made anew in each
    /// execution; the value stays, and at the end of an execution is what it was at its beginning.
    pub struct RwLock<T> {
        turns: UnsafeCell<Option<(u64, Arc<Turns>)>>,
        value: UnsafeCell<T>,
    }

    type Turns = loom::sync::RwLock<()>;

    static EXECUTION: Count = Count::new(0);

    /// To be called first in each execution.
    pub fn begin_execution() {
        EXECUTION.fetch_add(1, Relaxed);
    }

    // SAFETY: as `std::sync::RwLock`: the value is reached through the guards alone. `turns` is touched by loom's
    // threads, which are one of the kernel's.
    unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

    impl<T> RwLock<T> {
        pub const fn new(value: T) -> RwLock<T> {
            RwLock { turns: UnsafeCell::new(None), value: UnsafeCell::new(value) }
        }

        fn turns(&self) -> &'static Turns {
            let now = EXECUTION.load(Relaxed);
            // SAFETY: one thread, and no reference is kept.
            let turns = unsafe { &mut *self.turns.get() };
            if turns.as_ref().is_none_or(|(then, _)| *then != now) {
                *turns = Some((now, Arc::new(Turns::new(()))));
            }
            let turns = turns.as_ref().map_or(std::ptr::null(), |(_, turns)| Arc::as_ptr(turns));
            // SAFETY: it lives until the next execution, and what borrows it ends with this one.
            unsafe { &*turns }
        }

        pub fn read(&'static self) -> LockResult<ReadGuard<T>> {
            let turn = self.turns().read().unwrap();
            // SAFETY: nobody writes while a reader has its turn.
            Ok(ReadGuard { value: unsafe { &*self.value.get() }, _turn: turn })
        }

        pub fn write(&'static self) -> LockResult<WriteGuard<T>> {
            let turn = self.turns().write().unwrap();
            // SAFETY: nobody reads or writes while a writer has its turn.
            Ok(WriteGuard { value: unsafe { &mut *self.value.get() }, _turn: turn })
        }
    }

    pub struct ReadGuard<T: 'static> {
        value: &'static T,
        _turn: loom::sync::RwLockReadGuard<'static, ()>,
    }

    pub struct WriteGuard<T: 'static> {
        value: &'static mut T,
        _turn: loom::sync::RwLockWriteGuard<'static, ()>,
    }

    impl<T> Deref for ReadGuard<T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.value
        }
    }

    impl<T> Deref for WriteGuard<T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.value
        }
    }

    impl<T> DerefMut for WriteGuard<T> {
        fn deref_mut(&mut self) -> &mut T {
            self.value
        }
    }
}

pub mod thread {
    pub use ::std::thread::{Result, panicking};
    pub use loom::thread::{
        JoinHandle, LocalKey, Thread, ThreadId, current, park, spawn, yield_now,
    };

    use std::cell::Cell;
    use std::marker::PhantomData;
    use std::mem::transmute;
    use std::sync::{Arc, Mutex};

    /// std's, but that it makes threads of loom's.
    #[derive(Default)]
    pub struct Builder(());

    impl Builder {
        pub fn new() -> Builder {
            Builder(())
        }

        pub fn name(self, _: String) -> Builder {
            self
        }

        pub fn spawn<T: 'static>(
            self,
            body: impl FnOnce() -> T + 'static,
        ) -> std::io::Result<JoinHandle<T>> {
            Ok(spawn(body))
        }

        pub fn spawn_scoped<'scope, F, T>(
            self,
            scope: &'scope Scope<'scope, '_>,
            body: F,
        ) -> std::io::Result<ScopedJoinHandle<'scope, T>>
        where
            F: FnOnce() -> T + Send + 'scope,
            T: Send + 'scope,
        {
            let result = Arc::new(Mutex::new(None));
            let theirs = result.clone();
            let body: Box<dyn FnOnce() + 'scope> =
                Box::new(move || *theirs.lock().unwrap() = Some(body()));
            // SAFETY: `scope` does not return before every thread was joined.
            let body: Box<dyn FnOnce()> = unsafe { transmute(body) };
            scope.running.set(scope.running.get() + 1);
            Ok(ScopedJoinHandle { thread: spawn(body), result, scope: &scope.running })
        }
    }

    /// loom has none. This one insists that its threads are joined by hand.
    pub struct Scope<'scope, 'env> {
        running: Cell<usize>,
        of: PhantomData<(Cell<&'scope ()>, Cell<&'env ()>)>,
    }

    pub fn scope<'env, R>(body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
        let scope = Scope { running: Cell::new(0), of: PhantomData };
        let result = body(&scope);
        if scope.running.get() > 0 {
            std::process::abort();
        }
        result
    }

    pub struct ScopedJoinHandle<'scope, T> {
        thread: JoinHandle<()>,
        result: Arc<Mutex<Option<T>>>,
        scope: &'scope Cell<usize>,
    }

    impl<T> ScopedJoinHandle<'_, T> {
        pub fn join(self) -> Result<T> {
            self.thread.join()?;
            self.scope.set(self.scope.get() - 1);
            Ok(self.result.lock().unwrap().take().unwrap())
        }
    }
}

/// loom's macro does not know `const { … }`.
#[macro_export]
macro_rules! thread_local {
    ($($(#[$about:meta])* $vis:vis static $name:ident: $type:ty = $init:expr;)*) => {$(
        $(#[$about])*
        $vis static $name: $crate::thread::LocalKey<$type> =
            $crate::thread::LocalKey { init: || $init, _p: ::core::marker::PhantomData };
    )*};
}

/// The real one, for what the models keep beside the model.
pub mod real {
    pub use ::std::*;
}

// ---- the crate `signal-hook-registry` ----------------------------------------------------------

/// Part of the crate `signal-hook-registry`: what a signal calls. A signal of a model is a call of `raise`.
pub const FORBIDDEN: &[i32] = &[];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigId(usize);

type Action = sync::Arc<dyn Fn() + Send + Sync>;

::std::thread_local! {
    // loom runs all its threads on one of the kernel's.
    static HANDLERS: ::std::cell::RefCell<Vec<(SigId, i32, Action)>> = const { ::std::cell::RefCell::new(Vec::new()) };
}

/// # Safety
/// Nothing is asked: `action` runs like any other code.
#[allow(clippy::missing_errors_doc)]
pub unsafe fn register(
    signal: i32,
    action: impl Fn() + Send + Sync + 'static,
) -> ::std::io::Result<SigId> {
    static LAST: ::std::sync::atomic::AtomicUsize = ::std::sync::atomic::AtomicUsize::new(0);
    let id = SigId(LAST.fetch_add(1, ::std::sync::atomic::Ordering::Relaxed));
    HANDLERS.with(|handlers| handlers.borrow_mut().push((id, signal, sync::Arc::new(action))));
    Ok(id)
}

pub fn unregister(id: SigId) -> bool {
    let at = |handlers: &Vec<(SigId, i32, Action)>| handlers.iter().position(|it| it.0 == id);
    let removed = HANDLERS.with(|handlers| {
        let mut handlers = handlers.borrow_mut();
        at(&handlers).map(|at| handlers.remove(at))
    });
    removed.is_some()
}

/// The signal comes, to the thread that calls this.
pub fn raise(signal: i32) {
    let actions: Vec<Action> = HANDLERS.with(|handlers| {
        handlers.borrow().iter().filter(|it| it.1 == signal).map(|it| it.2.clone()).collect()
    });
    actions.iter().for_each(|action| action());
}
