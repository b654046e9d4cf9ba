//! Reading the body of a request: bounded in bytes and in time.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is larger than this, bytes.
    TooLarge(usize),
    /// The client took too long to send it.
    TooSlow,
    /// The connection broke, or the encoding is wrong.
    Broken,
}

impl BodyError {
    pub(super) fn message(self) -> String {
        match self {
            Self::TooLarge(max) => format!("the body of the request is larger than {max} bytes"),
            Self::TooSlow => "the body of the request did not arrive in time".to_owned(),
            Self::Broken => "the body of the request could not be read".to_owned(),
        }
    }
}

/// Reads the whole body, at most `max` bytes, until `deadline`.
pub(super) async fn read(request: Request, max: usize, deadline: Instant) -> Result<Bytes, BodyError> {
    let claimed = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|claimed| claimed > max as u64) {
        return Err(BodyError::TooLarge(max));
    }
    if claimed == Some(0) {
        return Ok(Bytes::new());
    }
    let body: Limited<Body> = Limited::new(request.into_body(), max);
    match tokio::time::timeout_at(deadline, body.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(max)),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}
