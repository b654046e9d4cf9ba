//! Reading the body of a request: bounded in bytes and in time.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use bytes::BytesMut;
use http_body_util::BodyExt;
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
    /// Too many others are sending at this moment.
    Overloaded,
}

impl BodyError {
    pub(super) fn message(self) -> String {
        match self {
            Self::TooLarge(max) => format!("the body of the request is larger than {max} bytes"),
            Self::TooSlow => "the body of the request did not arrive in time".to_owned(),
            Self::Overloaded => "too many bodies are being read at this moment: try again".to_owned(),
            Self::Broken => "the body of the request could not be read".to_owned(),
        }
    }
}

/// Bounds what bodies take while they arrive, all connections together: each is bounded by itself, but there may be
/// thousands of slow ones.
#[derive(Debug, Default)]
pub(super) struct Arriving(AtomicUsize);

/// Bytes of bodies that may be half read at once.
const ARRIVING_BYTES_MAX: usize = 256 * 1024 * 1024;

struct Share<'a> {
    arriving: &'a Arriving,
    bytes: usize,
}

impl Share<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.bytes += bytes;
        let before = self.arriving.0.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > ARRIVING_BYTES_MAX { Err(BodyError::Overloaded) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.arriving.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads the whole body, at most `max` bytes, until `deadline`.
pub(super) async fn read(request: Request, max: usize, deadline: Instant, arriving: &Arriving) -> Result<Bytes, BodyError> {
    let claimed = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|claimed| claimed > max as u64) {
        return Err(BodyError::TooLarge(max));
    }
    if claimed == Some(0) {
        return Ok(Bytes::new());
    }
    all_of(request.into_body(), max, deadline, arriving).await
}

/// The same without a look at the headers.
pub(super) async fn all_of(body: Body, max: usize, deadline: Instant, arriving: &Arriving) -> Result<Bytes, BodyError> {
    match tokio::time::timeout_at(deadline, collect(body, max, arriving)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BodyError::TooSlow),
    }
}

async fn collect(mut body: Body, max: usize, arriving: &Arriving) -> Result<Bytes, BodyError> {
    let mut share = Share { arriving, bytes: 0 };
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if joined.len() + whole.len() + data.len() > max {
            return Err(BodyError::TooLarge(max));
        }
        share.add(data.len())?;
        // As a rule there is one piece, which needs no copy.
        if whole.is_empty() && joined.is_empty() {
            whole = data;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::slice::Chunks;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use futures_core::Stream;

    use super::*;

    /// As of a chunked body: its length is not known before.
    struct Pieces(Chunks<'static, u8>);

    impl Stream for Pieces {
        type Item = std::io::Result<Bytes>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Bytes::from_static(piece))))
        }
    }

    async fn read_with(arriving: &Arriving, body: &'static str, max: usize) -> Result<Bytes, BodyError> {
        let request = Request::new(Body::from_stream(Pieces(body.as_bytes().chunks(3))));
        read(request, max, Instant::now() + Duration::from_secs(60), arriving).await
    }

    #[tokio::test]
    async fn pieces_are_joined_and_bounded() {
        let arriving = Arriving::default();
        assert_eq!(read_with(&arriving, "one piece", 9).await.as_deref(), Ok(&b"one piece"[..]));
        assert_eq!(read_with(&arriving, "ab", 9).await.as_deref(), Ok(&b"ab"[..]));
        assert_eq!(read_with(&arriving, "", 9).await.as_deref(), Ok(&b""[..]));
        assert_eq!(read_with(&arriving, "ten bytes!", 9).await, Err(BodyError::TooLarge(9)));
        assert_eq!(arriving.0.load(Ordering::Relaxed), 0, "all of it is given back");
    }

    #[tokio::test]
    async fn what_all_others_send_counts_too() {
        let arriving = Arriving(AtomicUsize::new(ARRIVING_BYTES_MAX - 4));
        assert_eq!(read_with(&arriving, "four", 9).await.as_deref(), Ok(&b"four"[..]));
        assert_eq!(read_with(&arriving, "fives", 9).await, Err(BodyError::Overloaded));
        assert_eq!(arriving.0.load(Ordering::Relaxed), ARRIVING_BYTES_MAX - 4, "a refused one gives back what it had");
    }
}
