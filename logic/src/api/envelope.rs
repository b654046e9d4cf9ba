//! goim's envelope: `{"code":int,"message":string[,"data":…]}`.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;

use super::gostring::push_json;
use super::{JSON, TEXT, respond};

/// The request is wrong.
pub(super) const REQUEST_ERROR: i32 = -400;
/// The server could not do it.
pub(super) const SERVER_ERROR: i32 = -500;

/// Code 0 without data: the answer to every push.
pub(super) fn ok() -> Response {
    respond(StatusCode::OK, JSON, Bytes::from_static(br#"{"code":0,"message":""}"#))
}

/// Code 0 with data, given as JSON.
pub(super) fn data(json: &str) -> Response {
    respond(StatusCode::OK, JSON, format!(r#"{{"code":0,"message":"","data":{json}}}"#))
}

/// A handler's error: HTTP 200, as in goim.
pub(super) fn error(code: i32, message: &str) -> Response {
    respond(StatusCode::OK, JSON, envelope(code, message))
}

/// The same with a status, where goim would have died or taken anything.
pub(super) fn error_with(status: StatusCode, code: i32, message: &str) -> Response {
    respond(status, JSON, envelope(code, message))
}

/// A parameter that is missing or no number: HTTP 400 and plain text, as gin leaves it.
pub(super) fn bind_error(message: &str) -> Response {
    respond(StatusCode::BAD_REQUEST, TEXT, envelope(REQUEST_ERROR, message))
}

fn envelope(code: i32, message: &str) -> String {
    let mut out = format!(r#"{{"code":{code},"message":"#);
    push_json(&mut out, message);
    out.push('}');
    out
}
