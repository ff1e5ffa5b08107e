//! Why a task has no output.

use super::Id;
use std::any::Any;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

/// A task has ended without output: it has panicked, or was cancelled.
///
/// ```
/// # waken::block_on(async {
/// let error = waken::spawn(async { panic!("out of tea") }).await.unwrap_err();
/// assert_eq!(error.to_string(), "task 1 panicked: out of tea");
/// # });
/// ```
pub struct JoinError {
    id: u64,
    /// Behind a box, since every join that ends well pays for the room of the other ones.
    panic: Option<Box<Panic>>,
}

struct Panic {
    /// In a mutex, which nobody ever waits for: a payload is `Send`, and so the error is `Sync` too.
    payload: Mutex<Box<dyn Any + Send>>,
    message: Option<String>,
}

impl JoinError {
    pub(crate) fn cancelled(id: u64) -> JoinError {
        JoinError { id, panic: None }
    }

    #[cold]
    pub(crate) fn panicked(id: u64, payload: Box<dyn Any + Send>) -> JoinError {
        let message = match payload.downcast_ref::<&'static str>() {
            Some(message) => Some(message.to_string()),
            None => payload.downcast_ref::<String>().cloned(),
        };
        JoinError { id, panic: Some(Box::new(Panic { payload: Mutex::new(payload), message })) }
    }

    /// It was aborted, or its runtime has ended.
    pub fn is_cancelled(&self) -> bool {
        self.panic.is_none()
    }

    /// It has panicked.
    pub fn is_panic(&self) -> bool {
        self.panic.is_some()
    }

    /// What it panicked with, to be passed on by [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// When the task has not panicked.
    ///
    /// ```
    /// let error = waken::block_on(async { waken::spawn(async { panic!("oh") }).await.unwrap_err() });
    /// let passed_on = std::panic::catch_unwind(|| std::panic::resume_unwind(error.into_panic()));
    /// assert_eq!(*passed_on.unwrap_err().downcast::<&str>().unwrap(), "oh");
    /// ```
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!("`JoinError::into_panic`, but {error}: ask `is_panic` first"),
        }
    }

    /// What it panicked with.
    ///
    /// # Errors
    /// The error itself, when the task has not panicked.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        match self.panic {
            Some(panic) => Ok(panic.payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            None => Err(self),
        }
    }

    /// Which task it was.
    pub fn id(&self) -> Id {
        Id::from_bits(self.id)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            // Spawned from elsewhere, and ended with its runtime before that was known here.
            None if self.id == 0 => f.write_str("the task was cancelled"),
            None => write!(f, "task {} was cancelled", self.id()),
            Some(panic) => match &panic.message {
                Some(message) => write!(f, "task {} panicked: {message}", self.id()),
                None => write!(f, "task {} panicked", self.id()),
            },
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            None => write!(f, "JoinError::Cancelled({:?})", self.id()),
            Some(panic) => {
                let message = panic.message.as_deref().unwrap_or("…");
                write!(f, "JoinError::Panic({:?}, {message:?})", self.id())
            }
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}
