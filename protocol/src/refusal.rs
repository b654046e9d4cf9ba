//! Refused requests: what stands in the JSON of an ERROR frame (op 32). The session goes on.

use serde_json::json;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(missing_docs)] // the words say it; the advice says what to do
pub enum Refusal {
    BadRequest = 400,
    PermissionDenied = 403,
    NotMember = 404,
    Conflict = 409,
    TooOld = 410,
    EpochChanged = 412,
    Blocked = 423,
    RateLimited = 429,
    Unsupported = 501,
    Unavailable = 503,
    Unknown = 504,
}

/// `detail` of a refusal that sends the client back to the start: what its inbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxSpan {
    /// The epoch of its positions, unix ms.
    pub epoch: u64,
    /// The oldest position kept; head + 1 when none is.
    pub floor: u64,
    /// The newest position.
    pub head: u64,
}

impl Refusal {
    /// Every refusal, in the order of the codes.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::PermissionDenied,
        Self::NotMember,
        Self::Conflict,
        Self::TooOld,
        Self::EpochChanged,
        Self::Blocked,
        Self::RateLimited,
        Self::Unsupported,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// The code in the JSON.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The reason word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotMember => "NOT_MEMBER",
            Self::Conflict => "CONFLICT",
            Self::TooOld => "TOO_OLD",
            Self::EpochChanged => "EPOCH_CHANGED",
            Self::Blocked => "BLOCKED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The JSON body of ERROR; `message` says what to do about it, `detail` where to start anew.
    pub fn json(self, message: &str, retry_after_ms: Option<u64>, detail: Option<InboxSpan>) -> String {
        let mut body = json!({ "code": self.code(), "reason": self.word(), "message": message });
        if let Some(after) = retry_after_ms {
            body["retry_after_ms"] = after.into();
        }
        if let Some(InboxSpan { epoch, floor, head }) = detail {
            body["detail"] = json!({ "epoch": epoch, "floor": floor, "head": head });
        }
        body.to_string()
    }
}
