//! Uploads into a folder, and back. The disk is asked on other threads: nobody's disk stops the loop.

use crate::body::{LARGEST, paced};
use crate::{Body, Refusal, text};
use futures_lite::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::{Response, StatusCode};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use waken::unblock;

/// In bytes: one trip to another thread for so much.
const PIECE: usize = 256 << 10;

pub struct Files {
    folder: PathBuf,
    uploads: Cell<u64>,
}

impl Files {
    pub fn new(folder: impl Into<PathBuf>) -> Files {
        Files { folder: folder.into(), uploads: Cell::new(0) }
    }

    pub async fn get(&self, name: &str) -> Result<Response<Body>, Refusal> {
        let path = self.folder.join(checked(name)?);
        let (file, size) = unblock(move || opened(&path)).await?;
        // No file is ever changed: an upload takes its name, and who reads the old one has it to its end.
        let pieces = stream::try_unfold(file, |mut file| async {
            unblock(move || {
                let mut piece = Vec::with_capacity(PIECE);
                (&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
                Ok((!piece.is_empty()).then(|| (Frame::data(Bytes::from(piece)), file)))
            })
            .await
        });
        let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(pieces)));
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
        Ok(response)
    }

    /// It is there when all of it is on the disk: a client that goes away, or a server, leaves what was there before.
    pub async fn put(&self, name: &str, body: Incoming) -> Result<Response<Body>, Refusal> {
        let path = self.folder.join(checked(name)?);
        let mut body = pin!(paced(body, LARGEST)?);
        self.uploads.set(self.uploads.get() + 1);
        let unique = format!(".{}-{}.part", std::process::id(), self.uploads.get());
        let part = self.folder.join(unique);
        let mut part = unblock(move || Part::create(part)).await?;
        let mut piece = Vec::with_capacity(PIECE);
        while let Some(frame) = body.next().await {
            let Ok(data) = frame?.into_data() else { continue };
            piece.extend_from_slice(&data);
            if piece.len() >= PIECE {
                (part, piece) = unblock(move || part.append(piece)).await?;
            }
        }
        let is_new = unblock(move || part.append(piece)?.0.finish(&path)).await?;
        Ok(text(if is_new { StatusCode::CREATED } else { StatusCode::OK }, "kept\n"))
    }
}

/// No path, nothing hidden, nothing that a shell or a terminal would take for something else.
fn checked(name: &str) -> Result<&str, Refusal> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_fine = name.chars().all(is_plain) && !name.starts_with(['.', '-']);
    if is_fine && (1..=100).contains(&name.len()) {
        Ok(name)
    } else {
        Err(Refusal(StatusCode::BAD_REQUEST, "no name of a file\n"))
    }
}

fn opened(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((file, metadata.len()))
}

/// A file that is not whole yet. It goes with whoever gives it up, be it on the way to another thread.
struct Part {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Part {
    fn create(path: PathBuf) -> io::Result<Part> {
        Ok(Part { file: File::create_new(&path)?, path, is_kept: false })
    }

    /// Gives back the buffer, empty.
    fn append(mut self, mut piece: Vec<u8>) -> io::Result<(Part, Vec<u8>)> {
        self.file.write_all(&piece)?;
        piece.clear();
        Ok((self, piece))
    }

    /// Whether there was no file of that name.
    fn finish(mut self, path: &Path) -> io::Result<bool> {
        self.file.sync_all()?;
        let is_new = !path.exists();
        fs::rename(&self.path, path)?;
        self.is_kept = true;
        Ok(is_new)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_kept {
            let path = std::mem::take(&mut self.path);
            unblock(move || fs::remove_file(path)).detach();
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::NotFound => Refusal(StatusCode::NOT_FOUND, "no such file\n"),
            io::ErrorKind::StorageFull => Refusal(StatusCode::INSUFFICIENT_STORAGE, "no room\n"),
            _ => {
                eprintln!("files: {error}");
                Refusal(StatusCode::INTERNAL_SERVER_ERROR, "it did not work\n")
            }
        }
    }
}
