//! Opening what a path names, and reading pieces of it. Everything here blocks, so it is called on other threads; it knows
//! nothing of them.

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use percent_encoding::percent_decode_str;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, pread, retry_on_intr};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;

/// What is read at once, and so what a slow client costs. From 128 KiB on, malloc may ask the kernel for each one.
const PIECE: u64 = 112 << 10;

/// Opens the file that a request's path names beneath `root`.
///
/// # Errors
/// Those of openat2(2): `EXDEV` when the path leads out of `root`. `ENOENT` also for what is no file.
pub fn open(root: &File, path: &str) -> io::Result<(File, Metadata)> {
    // Any byte may be in a name but two, and each may be written as %2F or so: what is decoded is what counts.
    let mut name: Vec<u8> = percent_decode_str(path.strip_prefix('/').unwrap_or(path)).collect();
    if name.is_empty() || name.ends_with(b"/") {
        name.extend_from_slice(b"index.html");
    }
    // Without NONBLOCK to open a pipe would be to wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = loop {
        match openat2(root, &name, flags, Mode::empty(), resolve) {
            Ok(file) => break File::from(file),
            Err(Errno::INTR | Errno::AGAIN) => {} // something was renamed just then, and a `..` could not be judged
            Err(error) => return Err(error.into()),
        }
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Errno::NOENT.into());
    }
    Ok((file, metadata))
}

/// Reads from the beginning of `range`, as much as makes a piece.
///
/// # Errors
/// Those of pread(2). `UnexpectedEof` when there is nothing there any more.
pub fn read(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = PIECE.min(range.end - range.start) as usize;
    let mut piece = Vec::with_capacity(length);
    // A vector may have more room than was asked for, and bytes beyond the range are not to be sent.
    while piece.len() < length {
        let at = range.start + piece.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(&mut piece), at))? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file has become shorter",
            ));
        }
    }
    piece.truncate(length);
    Ok(piece.into())
}

/// What is told of every file that is found.
pub fn describe(path: &str, headers: &mut HeaderMap) {
    let suffix = path.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let content_type = match suffix.to_ascii_lowercase().as_str() {
        _ if path.ends_with('/') => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "gif" => "image/gif",
        "htm" | "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "jpeg" | "jpg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "md" | "txt" => "text/plain; charset=utf-8",
        "mp4" => "video/mp4",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "xml" => "application/xml",
        _ => "application/octet-stream",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")); // it is what we say it is
}
