//! Refusals of v1: RFC 9457 problem documents.

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::BodyError;
use super::respond;
use crate::accept::PushError;
use crate::reason::Reason;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request, or a message of a batch, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) reason: Reason,
    pub(super) detail: String,
    pub(super) retry_after_ms: Option<u64>,
    /// Where it was decided it was counted.
    pub(super) is_counted: bool,
}

/// Why a request was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
    /// `urn:perseid:problem:` and the reason.
    #[schema(value_type = String)]
    r#type: TypeUri,
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// For people.
    detail: &'a str,
    /// Stable, for programs.
    #[schema(value_type = Reason)]
    reason: &'static str,
    /// Where retrying helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

struct TypeUri(&'static str);

impl Serialize for TypeUri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:perseid:problem:{}", self.0))
    }
}

impl Problem {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), retry_after_ms: None, is_counted: false }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, detail)
    }

    pub(super) fn document(&self) -> Document<'_> {
        Document {
            r#type: TypeUri(self.reason.word()),
            title: self.reason.title(),
            status: self.reason.status(),
            detail: &self.detail,
            reason: self.reason.word(),
            retry_after_ms: self.retry_after_ms,
        }
    }

    pub(super) fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let status = StatusCode::from_u16(self.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = respond(status, PROBLEM_JSON, Bytes::from(body));
        self.add_retry_after(&mut response);
        response
    }

    pub(super) fn add_retry_after(&self, response: &mut Response) {
        if let Some(ms) = self.retry_after_ms {
            // The header counts whole seconds; never less than is meant.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Self {
        Self { reason: error.reason(), detail: error.to_string(), retry_after_ms: error.retry_after_ms(), is_counted: true }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let reason = match error {
            BodyError::TooLarge(_) => Reason::TooLarge,
            // Nothing was done; the status of a late answer (504) would say that something may have been.
            BodyError::TooSlow | BodyError::Broken => Reason::BadRequest,
            BodyError::Overloaded => Reason::Unavailable,
        };
        Self::new(reason, error.message())
    }
}
