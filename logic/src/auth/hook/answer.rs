//! What the hook says, and what its silence means. Pure.

use perseid_outbound::OutboundError;
use perseid_protocol::CloseReason;
use serde::{Deserialize, Deserializer};

use crate::auth::AuthError;
use crate::auth::call::Reply;
use crate::metrics::{AuthRefusal, CallFailure};

/// So much of a message reaches the client, characters.
const MESSAGE_CHARS_MAX: usize = 200;
/// A hook can't send clients away for longer than this, ms.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// What a hook can refuse with; any other word is the first.
const WORDS: [CloseReason; 7] = [
    CloseReason::Unauthenticated,
    CloseReason::PermissionDenied,
    CloseReason::TokenExpired,
    CloseReason::ConnectionLimit,
    CloseReason::Kicked,
    CloseReason::RateLimited,
    CloseReason::Overloaded,
];

/// The hook's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Accepted { mid: i64, expires_at_ms: u64 },
    Refused(Refused),
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: CloseReason,
    pub(super) message: String,
    pub(super) retry_after_ms: Option<u64>,
}

impl From<Refused> for AuthError {
    fn from(refused: Refused) -> Self {
        let Refused { reason, message, retry_after_ms } = refused;
        Self { reason, cause: AuthRefusal::HookRefused, message, retry_after_ms }
    }
}

/// The hook said nothing that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// What it is counted as; `None`: it was not asked.
    pub(super) why: Option<CallFailure>,
    /// Whether the hook seems to be down. It is not when it only did not like one question, which a client could provoke.
    pub(super) is_down: bool,
    pub(super) retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "number")]
    mid: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    expires_at_ms: Option<i64>,
    refused: Option<String>,
    message: Option<String>,
    retry_after_ms: Option<u64>,
}

/// What a reply means.
pub(super) fn read(reply: Result<Reply, OutboundError>, now_ms: u64) -> Result<Decision, Failed> {
    let reply = reply.map_err(|error| failed((&error).into(), true, None))?;
    let body = reply.body.as_ref().ok().map(|bytes| serde_json::from_slice::<Body>(bytes));
    let said = body.and_then(Result::ok);
    match (reply.status, said) {
        // Whatever else it says: who is refused is not let in.
        (200..=299 | 401 | 403, Some(Body { refused: Some(word), message, retry_after_ms, .. })) => {
            Ok(refused(&word, message.as_deref(), retry_after_ms))
        }
        (401, _) => Ok(refused(CloseReason::Unauthenticated.word(), None, None)),
        (403, _) => Ok(refused(CloseReason::PermissionDenied.word(), None, None)),
        (200..=299, Some(Body { mid: Some(mid), expires_at_ms, .. })) => accepted(mid, expires_at_ms, now_ms),
        (200..=299, _) => Err(failed(reply.body.err().map_or(CallFailure::Answer, |error| (&error).into()), true, None)),
        // It answers, and something about the question was wrong for it.
        (400..=499, _) if !matches!(reply.status, 408 | 429) => Err(failed(CallFailure::Status, false, None)),
        _ => Err(failed(CallFailure::Status, true, reply.retry_after_ms)),
    }
}

fn accepted(mid: i64, expires_at_ms: Option<i64>, now_ms: u64) -> Result<Decision, Failed> {
    let expires_at_ms = match expires_at_ms.map(u64::try_from) {
        None => 0,
        Some(Ok(at_ms)) => at_ms,
        Some(Err(_)) => return Err(failed(CallFailure::Answer, true, None)),
    };
    if expires_at_ms != 0 && expires_at_ms <= now_ms {
        return Ok(refused(CloseReason::TokenExpired.word(), None, None));
    }
    Ok(Decision::Accepted { mid, expires_at_ms })
}

fn refused(word: &str, message: Option<&str>, retry_after_ms: Option<u64>) -> Decision {
    let reason = WORDS.into_iter().find(|reason| reason.word() == word).unwrap_or(WORDS[0]);
    let message = match message {
        Some(text) if !text.is_empty() => text.chars().take(MESSAGE_CHARS_MAX).map(plain).collect(),
        _ => reason.advice().to_owned(),
    };
    let retry_after_ms = retry_after_ms.filter(|_| reason.comes_back()).map(|ms| ms.min(RETRY_AFTER_MS_MAX));
    Decision::Refused(Refused { reason, message, retry_after_ms })
}

fn plain(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

fn failed(why: CallFailure, is_down: bool, retry_after_ms: Option<u64>) -> Failed {
    Failed { why: Some(why), is_down, retry_after_ms: retry_after_ms.map(|ms| ms.min(RETRY_AFTER_MS_MAX)) }
}

/// A whole number, or its decimal text, as everywhere in this protocol.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        None => None,
        Some(Either::Number(number)) => Some(number),
        Some(Either::Text(text)) => Some(text.parse().map_err(serde::de::Error::custom)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn said(status: u16, body: &str) -> Result<Decision, Failed> {
        let body = Ok(body.as_bytes().to_vec().into());
        read(Ok(Reply { status, retry_after_ms: Some(7_000), body }), NOW_MS)
    }

    fn yes(mid: i64, expires_at_ms: u64) -> Result<Decision, Failed> {
        Ok(Decision::Accepted { mid, expires_at_ms })
    }

    fn reason(said: Result<Decision, Failed>) -> Option<CloseReason> {
        match said.unwrap() {
            Decision::Refused(refused) => Some(refused.reason),
            Decision::Accepted { .. } => None,
        }
    }

    #[test]
    fn who_is_let_in() {
        assert_eq!(said(200, r#"{"mid":7}"#), yes(7, 0));
        assert_eq!(said(201, r#"{"mid":"7","expires_at_ms":1700000000001,"more":[{}]}"#), yes(7, 1_700_000_000_001));
        assert_eq!(said(200, r#"{"mid":-3,"expires_at_ms":"1700000000001"}"#), yes(-3, 1_700_000_000_001));
        assert_eq!(said(200, r#"{"mid":0,"expires_at_ms":0,"refused":null}"#), yes(0, 0));
    }

    #[test]
    fn who_is_refused() {
        use CloseReason::*;
        for (status, body, expected) in [
            (200, r#"{"refused":"UNAUTHENTICATED"}"#, Unauthenticated),
            (200, r#"{"refused":"PERMISSION_DENIED","mid":7}"#, PermissionDenied),
            (403, r#"{"refused":"TOKEN_EXPIRED"}"#, TokenExpired),
            (200, r#"{"refused":"KICKED"}"#, Kicked),
            (200, r#"{"refused":"CONNECTION_LIMIT"}"#, ConnectionLimit),
            (200, r#"{"refused":"no"}"#, Unauthenticated),
            (200, r#"{"refused":""}"#, Unauthenticated),
            (200, r#"{"refused":"REPLACED"}"#, Unauthenticated),
            (401, "", Unauthenticated),
            (401, r#"{"mid":7}"#, Unauthenticated),
            (403, "<html>", PermissionDenied),
            (200, r#"{"mid":7,"expires_at_ms":1700000000000}"#, TokenExpired),
            (200, r#"{"mid":7,"expires_at_ms":1700000999}"#, TokenExpired),
        ] {
            assert_eq!(reason(said(status, body)), Some(expected), "{status} {body}");
        }
        let huge = Reply { status: 403, retry_after_ms: None, body: Err(OutboundError::TooLarge { bytes_max: 1 }) };
        assert_eq!(reason(read(Ok(huge), NOW_MS)), Some(PermissionDenied));
    }

    #[test]
    fn messages_are_short_and_plain() {
        let text = format!(
            "{{\"refused\":\"OVERLOADED\",\"message\":\"a\\u001b\\n{}\",\"retry_after_ms\":9999999999}}",
            "é".repeat(500)
        );
        let Decision::Refused(refused) = said(200, &text).unwrap() else { panic!() };
        assert!(refused.message.starts_with("a  é") && refused.message.chars().count() == 200);
        assert_eq!(refused.retry_after_ms, Some(3_600_000));
        let Decision::Refused(refused) = said(200, r#"{"refused":"KICKED","retry_after_ms":5,"message":""}"#).unwrap() else {
            panic!()
        };
        assert_eq!((refused.message.as_str(), refused.retry_after_ms), (CloseReason::Kicked.advice(), None));
    }

    #[test]
    fn what_counts_for_nothing() {
        use CallFailure::*;
        for (status, body, why, is_down) in [
            (200, "", Answer, true),
            (200, "{}", Answer, true),
            (200, "7", Answer, true),
            (200, "null", Answer, true),
            (200, r#"{"mid":null}"#, Answer, true),
            (200, r#"{"mid":7.5}"#, Answer, true),
            (200, r#"{"mid":"seven"}"#, Answer, true),
            (200, r#"{"mid":99999999999999999999}"#, Answer, true),
            (200, r#"{"mid":7,"expires_at_ms":-1}"#, Answer, true),
            (200, r#"{"mid":7,"mid":8}"#, Answer, true),
            (200, r#"{"mid":7"#, Answer, true),
            (302, r#"{"mid":7}"#, Status, true),
            (500, r#"{"mid":7}"#, Status, true),
            (503, "", Status, true),
            (429, "", Status, true),
            (400, r#"{"mid":7}"#, Status, false),
            (404, "", Status, false),
            (101, "", Status, true),
        ] {
            let failed = said(status, body).unwrap_err();
            assert_eq!((failed.why, failed.is_down), (Some(why), is_down), "{status} {body}");
        }
        assert_eq!(said(503, "").unwrap_err().retry_after_ms, Some(7_000));
        let huge = Reply { status: 200, retry_after_ms: None, body: Err(OutboundError::TooLarge { bytes_max: 1 }) };
        assert_eq!(read(Ok(huge), NOW_MS).unwrap_err().why, Some(TooLarge));
        let hung = read(Err(OutboundError::Deadline { deadline_ms: 5 }), NOW_MS).unwrap_err();
        assert_eq!((hung.why, hung.is_down), (Some(Deadline), true));
    }
}
