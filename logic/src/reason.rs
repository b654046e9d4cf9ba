//! Why a request is refused: one table of words and HTTP statuses for all APIs.

/// A reason word, as in the client protocol where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request is wrong; the same one always will be.
    BadRequest,
    /// No token, or one that is not accepted.
    Unauthenticated,
    /// The time of the token is over.
    TokenExpired,
    /// The caller is known, and may not do this.
    PermissionDenied,
    /// There is no such thing.
    NotFound,
    /// The user is no member of the group.
    NotMember,
    /// The path is right, the method is not.
    MethodNotAllowed,
    /// The idempotency key came with another request before.
    Conflict,
    /// What was asked for is not kept any more.
    TooOld,
    /// Larger than allowed.
    TooLarge,
    /// This node is not known by the name in `Host`.
    Misdirected,
    /// Too much, too fast; not done.
    RateLimited,
    /// This node does not do that.
    Unsupported,
    /// Surely not done: retry.
    Unavailable,
    /// May be done: retry with the same idempotency key.
    Unknown,
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::PermissionDenied,
        Self::NotFound,
        Self::NotMember,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::TooOld,
        Self::TooLarge,
        Self::Misdirected,
        Self::RateLimited,
        Self::Unsupported,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// The word in answers and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::NotMember => "NOT_MEMBER",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Conflict => "CONFLICT",
            Self::TooOld => "TOO_OLD",
            Self::TooLarge => "TOO_LARGE",
            Self::Misdirected => "MISDIRECTED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated | Self::TokenExpired => 401,
            Self::PermissionDenied => 403,
            Self::NotFound | Self::NotMember => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooOld => 410,
            Self::TooLarge => 413,
            Self::Misdirected => 421,
            Self::RateLimited => 429,
            Self::Unsupported => 501,
            Self::Unavailable => 503,
            Self::Unknown => 504,
        }
    }

    /// A short title for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is wrong",
            Self::Unauthenticated => "A token is needed",
            Self::TokenExpired => "The time of the token is over",
            Self::PermissionDenied => "Not allowed",
            Self::NotFound => "There is no such thing",
            Self::NotMember => "Not a member of the group",
            Self::MethodNotAllowed => "The method does not fit the path",
            Self::Conflict => "It is something else already",
            Self::TooOld => "That is not kept any more",
            Self::TooLarge => "The request is too large",
            Self::Misdirected => "This node has another name",
            Self::RateLimited => "Too much, too fast",
            Self::Unsupported => "This node does not do that",
            Self::Unavailable => "Not accepted now: retry",
            Self::Unknown => "May be accepted: retry with the same id",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_words_are_unique() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert!(Reason::ALL.iter().filter(|other| other.word() == reason.word()).count() == 1);
        }
    }
}
