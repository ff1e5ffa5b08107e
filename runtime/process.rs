//! Child processes. Starting one does not wait, so std does it; its pipes are an [`AsyncFd`] each.

use crate::async_fd::AsyncFd;
use crate::interest::Interest;
use crate::sys;
use std::io;
use std::process::{Child, ExitStatus};

/// Waits until `child` has ended. Its standard input, if it is a pipe that is still here, is closed first, as
/// [`Child::wait`] does. Cancel safe: the child runs on, and can be waited for again.
///
/// # Errors
/// Outside of a runtime; out of descriptors; before Linux 5.3, see pidfd_open(2).
///
/// ```
/// use futures_lite::AsyncReadExt;
/// use std::process::{Command, Stdio};
/// use waken::io::AsyncFd;
///
/// waken::block_on(async {
///     let mut child = Command::new("sh").args(["-c", "echo hi; exit 3"]).stdout(Stdio::piped()).spawn()?;
///     let mut out = AsyncFd::new(child.stdout.take().unwrap())?;
///     let mut text = String::new();
///     out.read_to_string(&mut text).await?;
///     assert_eq!(text, "hi\n");
///     assert_eq!(waken::process::wait(&mut child).await?.code(), Some(3));
///     std::io::Result::Ok(())
/// }).unwrap();
/// ```
#[doc(alias = "Command")]
#[track_caller]
#[doc(alias = "waitid")]
pub fn wait(child: &mut Child) -> impl Future<Output = io::Result<ExitStatus>> {
    drop(child.stdin.take());
    let at = std::panic::Location::caller();
    async move {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let pidfd = AsyncFd::with_interest(sys::pidfd_open(child.id())?, Interest::READABLE)?;
        // It may be readable for nothing, so the child itself has the last word.
        let ended = |_: &_| child.try_wait()?.ok_or_else(|| io::ErrorKind::WouldBlock.into());
        pidfd.async_io_at(Interest::READABLE, at, ended).await
    }
}
