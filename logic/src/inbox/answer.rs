//! What is answered to a request about stored messages, and where.

use std::borrow::Cow;

use bytes::Bytes;
use perseid_log::AppendError;
use perseid_protocol::Refusal;
use perseid_protocol::frame::Extension;
use perseid_store::stored::read::{InboxView, StoreDown};

/// When to try again after the log or the store had no room, ms.
pub(super) const RETRY_AFTER_MS: u64 = 1_000;

/// What is answered to a [`StoredRequest`](super::StoredRequest).
pub type StoredOutcome = Result<StoredReply, StoredRefusal>;

/// The answer to a request about stored messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredReply {
    /// The extended fields of the reply.
    pub ext: Extension,
    /// Its body: frames, or nothing.
    pub body: Bytes,
    /// No reply is sent: the request wants none.
    pub silent: bool,
}

/// A request about stored messages that is refused; the session goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", refusal.word())]
pub struct StoredRefusal {
    /// Why.
    pub refusal: Refusal,
    /// What to do about it.
    pub message: Cow<'static, str>,
    /// When to try again, ms.
    pub retry_after_ms: Option<u64>,
    /// Where the inbox stands, if the client has to start anew.
    pub detail: Option<InboxView>,
    /// No ERROR is sent: the request wants none.
    pub silent: bool,
}

/// On which thread an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// On that of the log, before [`Consumer::on_answered`](perseid_log::Consumer::on_answered): what is waiting there for a
    /// wake is woken soon.
    Log,
    /// On any other.
    Other,
}

/// Where an answer that comes later is given, once.
pub type Answerer = Box<dyn FnOnce(StoredOutcome, Thread) + Send>;

impl StoredRefusal {
    /// A refusal without more.
    pub fn new(refusal: Refusal, message: impl Into<Cow<'static, str>>) -> Self {
        Self { refusal, message: message.into(), retry_after_ms: None, detail: None, silent: false }
    }

    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Refusal::BadRequest, message)
    }

    pub(super) fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Refusal::PermissionDenied, message)
    }

    pub(super) fn not_member() -> Self {
        Self::new(Refusal::NotMember, "you are no member of this group, or there is none: ask its owner")
    }

    pub(super) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after_ms: Some(RETRY_AFTER_MS), ..Self::new(Refusal::Unavailable, message) }
    }

    pub(super) fn rate_limited(retry_after_ms: u64) -> Self {
        let message = "too many messages at once: send the same again after retry_after_ms";
        Self { retry_after_ms: Some(retry_after_ms.max(1)), ..Self::new(Refusal::RateLimited, message) }
    }

    pub(super) fn starts_anew(refusal: Refusal, message: &'static str, inbox: InboxView) -> Self {
        Self { detail: Some(inbox), ..Self::new(refusal, message) }
    }
}

impl From<StoreDown> for StoredRefusal {
    fn from(StoreDown(why): StoreDown) -> Self {
        Self::unavailable(format!("the store does not answer ({why}): nothing was done; try again"))
    }
}

impl From<AppendError> for StoredRefusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::TooLarge { .. } => Self::bad(error.to_string()),
            AppendError::Overloaded | AppendError::Unavailable(_) => {
                Self::unavailable(format!("{error}: nothing was written; try again"))
            }
            AppendError::Unknown(_) => Self::new(Refusal::Unknown, format!("{error}: send the same again, with the same cid")),
        }
    }
}

/// The log was dropped before it answered.
pub(super) fn forgotten() -> StoredRefusal {
    StoredRefusal::new(
        Refusal::Unknown,
        "the log stopped before it answered: it is unknown whether this was written; send the same again, with the same cid",
    )
}
