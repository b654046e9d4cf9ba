//! What an answer means for the events that were posted.

use perseid_outbound::{OutboundError, Response};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The receiver has them.
    Delivered,
    /// Something is wrong with the receiver, the way to it, or our right to call it: the same request may succeed later.
    /// Tried until the events are too old.
    Later {
        /// A word for metrics.
        reason: &'static str,
        /// How long the receiver wants to be left alone, ms.
        retry_after_ms: Option<u64>,
    },
    /// The receiver does not want what it was sent: one of the events is the reason, or its number. Given up after some tries.
    Refused {
        /// A word for metrics.
        reason: &'static str,
    },
}

/// Statuses of 4xx that speak of the receiver, the address or the right to call it, and not of what was sent. While an
/// operator puts that right nothing is thrown away.
const NOT_THE_CONTENT: [u16; 19] =
    [401, 402, 403, 404, 405, 406, 407, 408, 410, 411, 415, 421, 423, 425, 426, 428, 429, 431, 451];

pub(crate) fn judge(result: &Result<Response, OutboundError>) -> Judged {
    match result {
        Ok(response) => judge_status(response.status, response.retry_after_ms),
        Err(error) => Judged::Later { reason: error.reason(), retry_after_ms: None },
    }
}

fn judge_status(status: u16, retry_after_ms: Option<u64>) -> Judged {
    let later = |reason| Judged::Later { reason, retry_after_ms };
    match status {
        200..=299 => Judged::Delivered,
        300..=399 => later("redirect"),
        429 => later("rate_limited"),
        401 | 403 | 407 => later("forbidden"),
        404 | 410 => later("not_found"),
        400..=499 if NOT_THE_CONTENT.contains(&status) => later("client_error"),
        413 => Judged::Refused { reason: "too_large" },
        400..=499 => Judged::Refused { reason: "refused" },
        500..=599 => later("server_error"),
        _ => later("nonsense"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let word = |status| match judge_status(status, None) {
            Judged::Delivered => "delivered".to_owned(),
            Judged::Later { reason, .. } => format!("later: {reason}"),
            Judged::Refused { reason } => format!("refused: {reason}"),
        };
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], "delivered"),
            (&[301, 302, 307, 308], "later: redirect"),
            (&[401, 403], "later: forbidden"),
            (&[404, 410], "later: not_found"),
            (&[408, 415, 425], "later: client_error"),
            (&[429], "later: rate_limited"),
            (&[400, 409, 422, 499], "refused: refused"),
            (&[413], "refused: too_large"),
            (&[500, 502, 503, 504, 599], "later: server_error"),
            (&[101, 600, 999], "later: nonsense"),
        ] {
            for status in statuses {
                assert_eq!(word(*status), expected, "{status}");
            }
        }
        assert_eq!(judge_status(503, Some(7)), Judged::Later { reason: "server_error", retry_after_ms: Some(7) });
        let hang = judge(&Err(OutboundError::Deadline { deadline_ms: 1 }));
        assert_eq!(hang, Judged::Later { reason: "deadline", retry_after_ms: None });
    }
}
