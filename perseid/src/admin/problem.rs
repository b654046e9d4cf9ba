//! Refusals, as everywhere in v1: RFC 9457 problem documents.

use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use perseid_logic::Metrics;
use perseid_logic::reason::Reason;
use serde_json::json;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

pub(super) fn problem(reason: Reason, detail: &str) -> Response {
    let document = json!({
        "type": format!("urn:perseid:problem:{}", reason.word()),
        "title": reason.title(),
        "status": reason.status(),
        "detail": detail,
        "reason": reason.word(),
    });
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], document.to_string()).into_response();
    response.extensions_mut().insert(reason);
    response
}

/// Counts a refusal that [`problem`] made with those of the other routes.
pub(super) fn count(metrics: &Metrics, response: Response) -> Response {
    if let Some(reason) = response.extensions().get::<Reason>() {
        metrics.refused(*reason);
    }
    response
}

pub(super) async fn wrong_method() -> Response {
    not_allowed("GET, HEAD, PUT")
}

pub(super) async fn only_get() -> Response {
    not_allowed("GET, HEAD")
}

fn not_allowed(allowed: &'static str) -> Response {
    let mut response = problem(Reason::MethodNotAllowed, "this path knows other methods: see Allow");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
