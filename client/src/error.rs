//! What can go wrong, whose fault it is, and what to do next.

use perseid_protocol::{CloseReason, Refusal};
use serde_json::Value;
use thiserror::Error;

use crate::json;

/// A request that the server refused. The session goes on.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{reason} ({code}): {message}")]
pub struct Refused {
    /// The code, like HTTP's.
    pub code: u16,
    /// The reason word.
    pub reason: String,
    /// What to do about it, in the server's words.
    pub message: String,
    /// When to try again, ms; only where the server says so.
    pub retry_after_ms: Option<u64>,
    /// What belongs to the reason, such as `epoch`, `floor` and `head`; else null.
    pub detail: Value,
}

impl Refused {
    /// Reads the body of an ERROR frame; what is missing stays empty.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            code: json::number(&json["code"]).and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
            reason: json::text(&json["reason"]),
            message: json::text(&json["message"]),
            retry_after_ms: json::number(&json["retry_after_ms"]),
            detail: json["detail"].clone(),
        }
    }

    /// The reason as a value, if this version knows it.
    pub fn refusal(&self) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| refusal.code() == self.code)
    }

    /// Whether the same request may succeed later: nothing was wrong with it.
    pub fn is_passing(&self) -> bool {
        match self.refusal() {
            Some(Refusal::RateLimited | Refusal::Unavailable | Refusal::Unknown) => true,
            Some(_) => false,
            // A word of a later version: 5xx is the server's trouble, all else is ours.
            None => self.code >= 500,
        }
    }
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused it, and trying again would not help.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The server accepted the message, but it came to nothing: its group was deleted before it.
    #[error("the message was accepted and then rejected: {reason}")]
    Rejected {
        /// The server's word for it.
        reason: String,
    },
    /// Nobody can say any more whether the message was accepted: the server has forgotten its `cid`, and the positions
    /// that would show it are gone. Look at the conversation (`pull`) before sending it anew.
    #[error("whether the message was accepted can't be told any more: look at the conversation before sending it anew")]
    Unknown,
    /// No answer in time. The request may have taken effect; all requests that end like this may be repeated.
    #[error("no answer within {after_ms} ms: try again")]
    TimedOut {
        /// How long it was waited for, ms.
        after_ms: u64,
    },
    /// The connection ended, and this request is not repeated by itself.
    #[error("the connection ended before the answer came")]
    Disconnected,
    /// Too much is waiting to be sent.
    #[error("{waiting_bytes} bytes wait already, more than {bytes_max} may not: wait until some are sent")]
    Full {
        /// What waits, bytes.
        waiting_bytes: usize,
        /// What may wait, bytes.
        bytes_max: usize,
    },
    /// The body is larger than the server takes.
    #[error("a body of {bytes} bytes is larger than the {bytes_max} that the server takes")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The request can't be put into a frame; the text says why.
    #[error("{0}")]
    Invalid(&'static str),
    /// What this client has to keep could not be stored or read: free space, or look at the file's rights.
    #[error("the client's storage failed: {0}")]
    Storage(String),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// The server's refusal as a value, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refused) => refused.refusal(),
            _ => None,
        }
    }
}

/// What the server said before it ended the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The code: below 4500 the client comes back by itself.
    pub code: u16,
    /// The reason word.
    pub reason: String,
    /// What to do about it, in the server's words.
    pub message: String,
    /// Upper end of the wait before coming back, ms; only where the server says so.
    pub retry_after_ms: Option<u64>,
}

impl Farewell {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            code: json::number(&json["code"]).and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
            reason: json::text(&json["reason"]),
            message: json::text(&json["message"]),
            retry_after_ms: json::number(&json["retry_after_ms"]),
        }
    }

    /// The reason as a value, if this version knows it.
    pub fn known(&self) -> Option<CloseReason> {
        CloseReason::from_code(self.code)
    }

    /// Whether the client should come back by itself.
    pub fn comes_back(&self) -> bool {
        !(4500..5000).contains(&self.code)
    }
}

/// Why a connection ended, or could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The server said why.
    #[error("{}: {}", .0.reason, .0.message)]
    Told(Farewell),
    /// The network.
    #[error("{0}")]
    Lost(String),
    /// Nothing was heard for two heartbeats, or a request was not answered.
    #[error("the server is silent")]
    Silent,
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Breach(String),
    /// The server speaks only goim's protocol on this port.
    #[error("the server does not speak the extended protocol")]
    Unsupported,
    /// This client's storage failed.
    #[error("the client's storage failed: {0}")]
    Storage(String),
    /// The application asked for it.
    #[error("the application closed the client")]
    Asked,
}

impl Disconnect {
    /// Whether the client comes back by itself after this.
    pub fn comes_back(&self) -> bool {
        match self {
            Self::Told(farewell) => farewell.comes_back(),
            Self::Lost(_) | Self::Silent | Self::Breach(_) => true,
            Self::Unsupported | Self::Storage(_) | Self::Asked => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_and_sorted() {
        let refused = Refused::parse(br#"{"code":429,"reason":"RATE_LIMITED","message":"wait","retry_after_ms":"7"}"#);
        assert_eq!((refused.refusal(), refused.retry_after_ms), (Some(Refusal::RateLimited), Some(7)));
        assert!(refused.is_passing());
        for (code, passing) in [(400, false), (409, false), (410, false), (418, false), (501, false), (503, true), (599, true)] {
            let body = format!(r#"{{"code":{code}}}"#);
            assert_eq!(Refused::parse(body.as_bytes()).is_passing(), passing, "{code}");
        }
        assert!(!Refused::parse(b"not JSON").is_passing());
    }

    #[test]
    fn who_comes_back() {
        for reason in CloseReason::ALL {
            let farewell = Farewell::parse(reason.json(None, Some(5)).as_bytes());
            assert_eq!(farewell.known(), Some(reason));
            assert_eq!(farewell.comes_back(), reason.comes_back(), "{reason:?}");
        }
        // An end without a word is no order to stay away.
        assert!(Farewell::parse(b"").comes_back());
    }
}
