//! What of a file is to be sent, and whether: conditional requests and ranges, by RFC 9110, sections 13 and 14. It knows files by
//! their [`Version`] alone.

use httpdate::{fmt_http_date, parse_http_date};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::fs::Metadata;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is taken for the same content: the same file, of the same length, that has not been written to since. Who writes without
/// changing the length, twice within a tick of the kernel's clock (4 ms), is not seen; rename a finished file into its place instead.
pub struct Version {
    length: u64,
    modified: SystemTime, // in whole seconds, as HTTP has it
    tag: String,
}

impl Version {
    pub fn of(metadata: &Metadata) -> Version {
        let (inode, length) = (metadata.ino(), metadata.len());
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        let tag = format!("\"{inode:x}-{length:x}-{seconds:x}.{nanoseconds:x}\"");
        let modified = UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
        Version { length, modified, tag }
    }

    /// Whether one of the tags in these headers is ours.
    fn is_one_of(
        &self,
        tags: &HeaderMap,
        name: HeaderName,
        is_equal: fn(&str, &str) -> bool,
    ) -> bool {
        let lists = tags.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
        // A comma within a tag would mislead this, but ours have none.
        lists
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || is_equal(tag, &self.tag))
    }
}

/// Whether it is the same byte for byte; a weak tag never says so.
fn is_same(tag: &str, ours: &str) -> bool {
    tag == ours
}

fn is_as_good(tag: &str, ours: &str) -> bool {
    tag.strip_prefix("W/").unwrap_or(tag) == ours
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    parse_http_date(headers.get(name)?.to_str().ok()?).ok() // one that is no date is as none
}

/// The head of the answer, and which bytes are to follow.
pub fn decide(method: &Method, asked: &HeaderMap, version: &Version) -> (Response<()>, Range<u64>) {
    let mut response = Response::new(());
    let length = version.length;
    let (status, range) = if !is_wanted_version(asked, version) {
        (StatusCode::PRECONDITION_FAILED, 0..0)
    } else if has_it_already(asked, version) {
        (StatusCode::NOT_MODIFIED, 0..0)
    } else {
        match wanted_range(method, asked, version) {
            Wanted::All => (StatusCode::OK, 0..length),
            Wanted::Part(range) => {
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                insert(response.headers_mut(), header::CONTENT_RANGE, text);
                (StatusCode::PARTIAL_CONTENT, range)
            }
            Wanted::Outside => {
                let text = format!("bytes */{length}");
                insert(response.headers_mut(), header::CONTENT_RANGE, text);
                (StatusCode::RANGE_NOT_SATISFIABLE, 0..0)
            }
        }
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(headers, header::ETAG, version.tag.clone());
    insert(headers, header::LAST_MODIFIED, fmt_http_date(version.modified));
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    }
    // Of a HEAD all is told, and nothing sent.
    (response, if method == Method::HEAD { 0..0 } else { range })
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: String) {
    headers.insert(name, text.try_into().expect("digits, letters and signs"));
}

fn is_wanted_version(asked: &HeaderMap, version: &Version) -> bool {
    if asked.contains_key(header::IF_MATCH) {
        version.is_one_of(asked, header::IF_MATCH, is_same)
    } else {
        date(asked, header::IF_UNMODIFIED_SINCE).is_none_or(|date| version.modified <= date)
    }
}

fn has_it_already(asked: &HeaderMap, version: &Version) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        version.is_one_of(asked, header::IF_NONE_MATCH, is_as_good)
    } else {
        date(asked, header::IF_MODIFIED_SINCE).is_some_and(|date| version.modified <= date)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Outside,
}

fn wanted_range(method: &Method, asked: &HeaderMap, version: &Version) -> Wanted {
    let Some(range) = asked.get(header::RANGE).filter(|_| method == Method::GET) else {
        return Wanted::All;
    };
    // Parts of two versions do not make a file: when it is another now, all of it is sent.
    let is_still_it = asked.get(header::IF_RANGE).is_none_or(|condition| {
        let condition = condition.to_str().unwrap_or_default();
        condition == version.tag
            || parse_http_date(condition).is_ok_and(|date| date == version.modified)
    });
    match range.to_str() {
        Ok(range) if is_still_it => part(range, version.length),
        _ => Wanted::All,
    }
}

/// One range. What is no range, or several, is ignored, as the RFC allows: then all of the file is the answer.
fn part(range: &str, length: u64) -> Wanted {
    let Some((unit, spec)) = range.split_once('=') else { return Wanted::All };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::All };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..length.min(last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Outside } else { Wanted::Part(range) }
}

/// One that is too large is as large as there is.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
