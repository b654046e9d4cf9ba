//! Why a session ends: the code, the word, and whether the client should come back.

use serde_json::json;

/// The reason for which the server ends a session.
///
/// 4000–4499: come back; 4500–4999: do not, unless something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseReason {
    /// The node is leaving.
    Draining = 4001,
    /// The token's time is over; get a fresh one.
    TokenExpired = 4002,
    /// The client reads too slowly.
    SlowConsumer = 4003,
    /// What the session knows is no longer right; start again.
    Resync = 4004,
    /// Nothing was heard for heartbeat × heartbeat_max.
    HeartbeatTimeout = 4005,
    /// Too much, too fast.
    RateLimited = 4006,
    /// AUTH did not arrive in time.
    HandshakeTimeout = 4007,
    /// The node has no room now.
    Overloaded = 4008,
    /// Our fault.
    Internal = 4010,
    /// Who you say you are is not accepted.
    Unauthenticated = 4500,
    /// The bytes are no frame, or the frame is not allowed here.
    BadFrame = 4501,
    /// The frame is larger than allowed.
    FrameTooLarge = 4502,
    /// An operator or a business ended the session.
    Kicked = 4503,
    /// Too many sessions.
    ConnectionLimit = 4504,
    /// You may not.
    PermissionDenied = 4505,
    /// This node does not do that.
    Unsupported = 4506,
    /// A newer session took this key.
    Replaced = 4507,
}

impl CloseReason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 17] = [
        Self::Draining,
        Self::TokenExpired,
        Self::SlowConsumer,
        Self::Resync,
        Self::HeartbeatTimeout,
        Self::RateLimited,
        Self::HandshakeTimeout,
        Self::Overloaded,
        Self::Internal,
        Self::Unauthenticated,
        Self::BadFrame,
        Self::FrameTooLarge,
        Self::Kicked,
        Self::ConnectionLimit,
        Self::PermissionDenied,
        Self::Unsupported,
        Self::Replaced,
    ];

    /// The code: in DISCONNECT and in a WebSocket close frame.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The reason of a code, if it is one of ours.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether the client should come back by itself.
    pub const fn comes_back(self) -> bool {
        self.code() < 4500
    }

    /// The reason word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Draining => "DRAINING",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::SlowConsumer => "SLOW_CONSUMER",
            Self::Resync => "RESYNC",
            Self::HeartbeatTimeout => "HEARTBEAT_TIMEOUT",
            Self::RateLimited => "RATE_LIMITED",
            Self::HandshakeTimeout => "HANDSHAKE_TIMEOUT",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::BadFrame => "BAD_FRAME",
            Self::FrameTooLarge => "FRAME_TOO_LARGE",
            Self::Kicked => "KICKED",
            Self::ConnectionLimit => "CONNECTION_LIMIT",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Replaced => "REPLACED",
        }
    }

    /// What the client should do about it, when nobody has something better to say.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Draining => "this node is leaving: connect again after retry_after_ms",
            Self::TokenExpired => "get a fresh token and connect again",
            Self::SlowConsumer => "read faster; connect again and catch up",
            Self::Resync => "connect again and SYNC",
            Self::HeartbeatTimeout => "send HEARTBEAT every heartbeat_ms; connect again",
            Self::RateLimited => "send less; connect again after a pause",
            Self::HandshakeTimeout => "send AUTH as the first frame, soon after connecting",
            Self::Overloaded => "this node is full: connect again later",
            Self::Internal => "this is our fault: connect again",
            Self::Unauthenticated => "the AUTH body was not accepted: correct it before connecting again",
            Self::BadFrame => "a frame broke the protocol: correct the client",
            Self::FrameTooLarge => "a frame was larger than allowed: send smaller ones",
            Self::Kicked => "the session was ended by the service",
            Self::ConnectionLimit => "too many sessions: close others first",
            Self::PermissionDenied => "this is not allowed for this user",
            Self::Unsupported => "this node does not support what was asked",
            Self::Replaced => "a newer session uses the same key",
        }
    }

    /// The JSON body of DISCONNECT.
    pub fn json(self, message: Option<&str>, retry_after_ms: Option<u64>) -> String {
        let mut body = json!({
            "code": self.code(),
            "reason": self.word(),
            "message": message.unwrap_or(self.advice()),
        });
        if let Some(after) = retry_after_ms.filter(|_| self.comes_back()) {
            body["retry_after_ms"] = after.into();
        }
        body.to_string()
    }
}

impl From<crate::FrameError> for CloseReason {
    fn from(error: crate::FrameError) -> Self {
        match error {
            crate::FrameError::TooLarge { .. } => Self::FrameTooLarge,
            crate::FrameError::HeaderLen(_) | crate::FrameError::PackageLen { .. } | crate::FrameError::Cut { .. } => {
                Self::BadFrame
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ascending_and_found_again() {
        for pair in CloseReason::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code());
        }
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(CloseReason::from_code(4009), None);
    }

    #[test]
    fn retry_advice_only_where_coming_back_helps() {
        assert!(CloseReason::Draining.json(None, Some(5)).contains("retry_after_ms"));
        assert!(!CloseReason::Kicked.json(None, Some(5)).contains("retry_after_ms"));
    }
}
