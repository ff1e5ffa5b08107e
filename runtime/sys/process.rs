//! The calls on processes and processors. Part of `sys.rs`, by whose macro they are made.

use super::own;
use std::io;
use std::os::fd::OwnedFd;

/// A descriptor that becomes readable when the process has ended, and can be waited for (Linux 5.3).
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    Ok(own(syscall!(syscall(libc::SYS_pidfd_open, pid, 0))? as i32))
}

/// Room for the processors of a machine, a bit each.
type Mask = [u64; 128];

/// The processors this thread may run on, by their numbers.
#[doc(alias = "sched_getaffinity")]
pub(crate) fn processors() -> io::Result<Vec<usize>> {
    let mut mask: Mask = [0; 128];
    syscall!(sched_getaffinity(0, size_of::<Mask>(), mask.as_mut_ptr().cast()))?;
    let is_in = |cpu: &usize| mask[cpu / 64] >> (cpu % 64) & 1 == 1;
    Ok((0..64 * mask.len()).filter(is_in).collect())
}

/// Lets this thread run on one processor alone.
#[doc(alias = "sched_setaffinity")]
pub(crate) fn pin_to(cpu: usize) -> io::Result<()> {
    let mut mask: Mask = [0; 128];
    mask[cpu / 64] = 1 << (cpu % 64);
    syscall!(sched_setaffinity(0, size_of::<Mask>(), mask.as_ptr().cast()))?;
    Ok(())
}
