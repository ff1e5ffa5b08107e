//! The names of errors, as strace has them: errno(3). For the trace.

use std::io;

/// `EAGAIN`; of those that one hardly meets, number and sentence.
pub(crate) fn errno_name(code: i32) -> String {
    let name = match code {
        libc::EAGAIN => "EAGAIN",
        libc::EINTR => "EINTR",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::ECONNRESET => "ECONNRESET",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::EPIPE => "EPIPE",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EACCES => "EACCES",
        libc::ENOENT => "ENOENT",
        libc::ENOTCONN => "ENOTCONN",
        _ => return format!("error {code} ({})", io::Error::from_raw_os_error(code)),
    };
    name.into()
}

pub(crate) fn is_would_block(code: i32) -> bool {
    code == libc::EAGAIN
}
