//! The body of a request, within limits: of its size, of a silence, and of how slow it may be on the whole.

use crate::Refusal;
use futures_lite::{Stream, stream};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, Incoming};
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};
use waken::time::timeout_at;

/// In bytes.
pub const LARGEST: u64 = 256 << 20;
const SILENCE: Duration = Duration::from_secs(10);
/// A byte now and then is no silence: a body may take that long, and a second more for each of these.
const SLOW: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND: u64 = 16 << 10;

/// The frames as they come. What is announced as too large is refused before a byte of it is asked for: who waits for
/// `100 Continue` has sent none.
pub fn paced(
    body: Incoming,
    largest: u64,
) -> Result<impl Stream<Item = Result<Frame<Bytes>, Box<dyn Error + Send + Sync>>>, Refusal> {
    if body.size_hint().lower() > largest {
        return Err(Limit::TooLarge.into());
    }
    let begin = Instant::now() + SLOW;
    Ok(stream::try_unfold((body, 0), move |(mut body, mut received)| async move {
        let slowest = begin + Duration::from_secs(received / BYTES_PER_SECOND);
        let deadline = slowest.min(Instant::now() + SILENCE);
        let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| Limit::TooSlow)?
        else {
            return Ok(None);
        };
        let frame = frame?;
        received += frame.data_ref().map_or(0, |data| data.len() as u64);
        if received > largest {
            return Err(Limit::TooLarge.into());
        }
        Ok(Some((frame, (body, received))))
    }))
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    TooLarge,
    TooSlow,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::TooLarge => "the body is too large",
            Limit::TooSlow => "the body comes too slowly",
        })
    }
}

impl Error for Limit {}

impl From<Limit> for Refusal {
    fn from(limit: Limit) -> Refusal {
        match limit {
            Limit::TooLarge => Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
            Limit::TooSlow => Refusal(StatusCode::REQUEST_TIMEOUT, "too slow\n"),
        }
    }
}

/// Of `paced`: a limit, or the client is gone, or its bytes are no body.
impl From<Box<dyn Error + Send + Sync>> for Refusal {
    fn from(error: Box<dyn Error + Send + Sync>) -> Refusal {
        match error.downcast_ref::<Limit>() {
            Some(limit) => Refusal::from(*limit),
            None => Refusal(StatusCode::BAD_REQUEST, "no whole body\n"),
        }
    }
}
