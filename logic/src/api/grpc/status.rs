//! Refusals over gRPC: a code by reason, the reason word in the metadata, and the details that stock clients know.

use axum::body::Bytes;
use axum::http::HeaderMap;
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::api::problem::Problem;
use crate::reason::Reason;

/// Metadata with the reason word.
const REASON: &str = "perseid-reason";
/// Metadata that says when to try again.
const RETRY_AFTER_MS: &str = "retry-after-ms";
/// Whose reason words they are, in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "perseid";

/// The code of a reason.
pub(super) const fn code(reason: Reason) -> Code {
    match reason {
        // The same request always will be too large: RESOURCE_EXHAUSTED would have clients try it again.
        Reason::BadRequest | Reason::TooLarge => Code::InvalidArgument,
        Reason::Unauthenticated | Reason::TokenExpired => Code::Unauthenticated,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::NotFound | Reason::NotMember => Code::NotFound,
        // What is asked for lies before what is kept; a client does not try that again.
        Reason::TooOld => Code::OutOfRange,
        Reason::Conflict => Code::AlreadyExists,
        Reason::Misdirected => Code::FailedPrecondition,
        Reason::RateLimited => Code::ResourceExhausted,
        Reason::MethodNotAllowed | Reason::Unsupported => Code::Unimplemented,
        Reason::Unavailable => Code::Unavailable,
        Reason::Unknown => Code::DeadlineExceeded,
    }
}

/// A refusal as gRPC has it.
pub(super) fn of(problem: &Problem) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(REASON, MetadataValue::from_static(problem.reason.word()));
    if let Some(ms) = problem.retry_after_ms {
        metadata.insert(RETRY_AFTER_MS, MetadataValue::from(ms));
    }
    Status::with_details_and_metadata(code(problem.reason), problem.detail.clone(), details(problem), metadata)
}

/// What is wrong with a call whose message the generated server could not read; its statuses have no reason of ours.
pub(super) fn unreasoned(headers: &HeaderMap, message_bytes_max: usize) -> Option<Problem> {
    if headers.contains_key(REASON) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    Some(match status.code() {
        Code::Ok => return None,
        Code::OutOfRange | Code::ResourceExhausted => super::too_large(message_bytes_max),
        Code::Unimplemented => Problem::new(Reason::Unsupported, status.message()),
        _ => Problem::bad(format!("the message can't be read: {}", status.message())),
    })
}

/// An encoded `google.rpc.Status` with `ErrorInfo` and, where retrying helps, `RetryInfo`.
fn details(problem: &Problem) -> Bytes {
    let info = ErrorInfo { reason: problem.reason.word().to_owned(), domain: DOMAIN.to_owned() };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(ms) = problem.retry_after_ms {
        let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
        // Below 1,000,000,000.
        let nanos = (ms % 1000) as i32 * 1_000_000;
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }));
    }
    let status = RpcStatus { code: code(problem.reason) as i32, message: problem.detail.clone(), details };
    Bytes::from(status.encode_to_vec())
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_is_told() {
        let problem = Problem { retry_after_ms: Some(1_250), ..Problem::new(Reason::RateLimited, "too often") };
        let status = of(&problem);
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "too often"));
        assert_eq!(status.metadata().get(REASON).unwrap(), "RATE_LIMITED");
        assert_eq!(status.metadata().get(RETRY_AFTER_MS).unwrap(), "1250");
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((details.code, details.message.as_str(), details.details.len()), (8, "too often", 2));
        assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.ErrorInfo");
        let retry = RetryInfo::decode(&details.details[1].value[..]).unwrap();
        assert_eq!(retry.retry_delay, Some(Delay { seconds: 1, nanos: 250_000_000 }));
        let status = of(&Problem::bad("no"));
        assert!(!status.metadata().contains_key(RETRY_AFTER_MS));
        assert_eq!(RpcStatus::decode(status.details()).unwrap().details.len(), 1);
    }

    #[test]
    fn only_what_may_help_again_has_a_code_that_clients_try_again() {
        for reason in Reason::ALL {
            let again = matches!(code(reason), Code::Unavailable | Code::ResourceExhausted);
            assert_eq!(again, matches!(reason, Reason::Unavailable | Reason::RateLimited), "{reason:?}");
        }
    }
}
