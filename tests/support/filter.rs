//! System calls that fail as a test wants them to: by seccomp(2), on this thread and on those that it starts from then on.
#![allow(dead_code, unreachable_pub, unsafe_code)] // Each test file uses some of it.

use std::io;
use std::thread;

/// What accept(2) may say that concerns one client only.
pub const OF_ONE_CLIENT: [i32; 10] = [
    libc::ECONNABORTED,
    libc::EPROTO,
    libc::EPERM,
    libc::ENETDOWN,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EHOSTUNREACH,
    libc::EOPNOTSUPP,
    libc::ENETUNREACH,
];

/// A call, for all arguments or for those whose argument of that index has that value.
#[derive(Clone, Copy, Debug)]
pub struct Call(pub libc::c_long, pub Option<(u32, u32)>);

/// Runs `test` on a thread of its own, on which `calls` are not made: they fail with `errno`. Nothing lifts that again.
pub fn where_calls_fail<R: Send>(calls: &[Call], errno: i32, test: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            calls.iter().for_each(|call| refuse_here(*call, errno));
            test()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// From now on, on this thread.
pub fn refuse_here(Call(number, argument): Call, errno: i32) {
    let step = |code: u32, jt, jf, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let unless_equal = |k, skip| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, k);
    let end = |with: u32| step(libc::BPF_RET | libc::BPF_K, 0, 0, with);
    // A `struct seccomp_data` is the number, the machine, the instruction, and the arguments from 16 on.
    let mut program = vec![load(0)];
    match argument {
        None => program.push(unless_equal(number as u32, 1)),
        Some((index, value)) => program.extend([
            unless_equal(number as u32, 3),
            load(16 + 8 * index),
            unless_equal(value, 1),
        ]),
    }
    program.extend([end(libc::SECCOMP_RET_ERRNO | errno as u32), end(libc::SECCOMP_RET_ALLOW)]);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a call on numbers alone. It cannot be undone, and concerns what this thread may become by exec only.
    let none = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program lives, and is as long as it says; the kernel copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    assert_eq!((none, set), (0, 0), "{}", io::Error::last_os_error());
}
