//! Keeps the deadline that comes with a call, `grpc-timeout`: until the answer, and in the middle of a stream of answers.

use futures_lite::future;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::codegen::Service;
use tonic::service::Routes;
use waken::time::{Sleep, sleep};

/// One call. Late, its handler is dropped, wherever it is, and the status is `DEADLINE_EXCEEDED`.
pub async fn keep(
    mut routes: Routes,
    request: Request<Incoming>,
) -> Result<Response<UntilThen>, Infallible> {
    let mut end = sleep(limit(request.headers()).unwrap_or(Duration::MAX)); // the longest is never
    let answer = async { Some(routes.call(request).await) };
    let late = async {
        (&mut end).await;
        None
    };
    match future::or(answer, late).await {
        Some(answer) => Ok(answer?.map(|body| UntilThen { body, end: Some(end) })),
        None => Ok(too_late().into_http().map(|body| UntilThen { body, end: None })),
    }
}

/// At most eight digits, and a unit.
fn limit(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let unit_at = text.len().checked_sub(1).filter(|digits| *digits <= 8)?;
    let number = u64::from(text[..unit_at].parse::<u32>().ok()?);
    match &text[unit_at..] {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn too_late() -> Status {
    Status::deadline_exceeded("the deadline is over")
}

/// The body of an answer; when time is up the status follows what has been sent of it.
pub struct UntilThen {
    body: tonic::body::Body,
    end: Option<Sleep>,
}

impl Body for UntilThen {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.end.as_mut().is_some_and(|end| Pin::new(end).poll(cx).is_ready()) {
            *self = UntilThen { body: tonic::body::Body::empty(), end: None };
            let mut trailers = HeaderMap::new();
            too_late().add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
