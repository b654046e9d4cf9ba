//! What is asked of stored messages, and the answers. All values.

use bytes::Bytes;
use perseid_protocol::frame::flag;
use perseid_protocol::operation::op;
use thiserror::Error;

use super::conv::{Conv, ConvKind};

/// The store does not answer now: nothing was changed. Worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the store does not work: {0}")]
pub struct StoreDown(pub String);

/// A stored message as somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Position in the inbox; 0 when it was read from a timeline.
    pub pos: u64,
    /// Message id.
    pub id: u64,
    /// When it was accepted, unix ms.
    pub ts_ms: u64,
    /// Its conversation; `None` for notices.
    pub conv: Option<Conv>,
    /// Position in the conversation; 0: none.
    pub conv_pos: u64,
    /// Sender; 0 = the system.
    pub from: u64,
    /// The sender's `cid`; 0: none.
    pub cid: u64,
    /// Kind of the frame.
    pub kind: u16,
    /// Operation of the frame.
    pub op: i32,
    /// GONE and QUIET, where they hold.
    pub flags: u16,
    /// Body of the frame; empty when it is GONE.
    pub body: Bytes,
    /// Nobody is given its body at or after this time, unix ms: see [`Message::as_of`]. 0: never too late.
    pub expires_at_ms: u64,
}

impl Message {
    /// Whether it is too late for it at `now_ms`.
    #[must_use]
    pub const fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms != 0 && now_ms >= self.expires_at_ms
    }

    /// As it may be shown at `now_ms`: what is too late keeps its position, and is GONE.
    #[must_use]
    pub fn as_of(self, now_ms: u64) -> Self {
        if !self.is_expired(now_ms) {
            return self;
        }
        Self { flags: self.flags | flag::GONE, body: Bytes::new(), ..self }
    }
}

/// The `cid` that readers of a message see: what a client chose, while that by which a business or an event is known is nobody's.
#[must_use]
pub fn shown_cid(is_event: bool, from: u64, operation: i32, idem: u64) -> u64 {
    if is_event || from == 0 || operation != op::SEND_MSG { 0 } else { idem }
}

/// Where an inbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxView {
    /// Newest position; 0: nothing ever came.
    pub head: u64,
    /// Oldest position still kept; head + 1 when none is.
    pub floor: u64,
    /// Changes only when positions were lost, unix ms.
    pub epoch: u64,
}

/// A session begins to use an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenInbox {
    /// The user.
    pub mid: u64,
    /// The device, at most 64 bytes.
    pub device: Box<str>,
    /// What the client says it has: (epoch, position); `None`: it says nothing.
    pub has: Option<(u64, u64)>,
    /// Now, unix ms.
    pub now_ms: u64,
}

/// Answer to [`OpenInbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedInbox {
    /// Where the inbox stands.
    pub inbox: InboxView,
    /// What the device has acknowledged. What the client said counts as an acknowledgement, where it can be true.
    pub cursor: u64,
    /// What the client says it has can't be: another epoch, or above the head.
    pub foreign: bool,
}

/// A device of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCursor {
    /// Its name.
    pub device: Box<str>,
    /// What it has acknowledged.
    pub pos: u64,
    /// When it last said so, unix ms.
    pub seen_ms: u64,
}

/// A part of an inbox, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxPage {
    /// Where the inbox stands.
    pub inbox: InboxView,
    /// The messages after the position asked for, without a gap.
    pub messages: Vec<Message>,
    /// There are more.
    pub more: bool,
}

/// A position that a page can't start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OutOfRange {
    /// What follows it is not kept any more.
    #[error("below the floor")]
    TooOld(InboxView),
    /// It was never given.
    #[error("above the head")]
    AboveHead(InboxView),
}

/// How much a page may hold. It always holds one message, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBound {
    /// Messages.
    pub messages_max: usize,
    /// Bytes of their frames, 72 for each header.
    pub bytes_max: usize,
}

/// What a timeline is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The conversation.
    pub conv: Conv,
    /// Who reads; 0: the business, who may read all.
    pub reader: u64,
    /// From where.
    pub from: PullFrom,
    /// Of the past a member sees only what came since he joined.
    pub since_joined: bool,
    /// How much.
    pub bound: PageBound,
}

/// From where a timeline is read. Pages ascend either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullFrom {
    /// What follows this position; 0: from the floor.
    After(u64),
    /// The last before this position; 0: the newest.
    Before(u64),
}

/// A part of a timeline, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelinePage {
    /// What the conversation is.
    pub kind: ConvKind,
    /// Newest position; 0: nothing ever came.
    pub head: u64,
    /// Oldest position that this reader may see; head + 1 when none is.
    pub floor: u64,
    /// The messages.
    pub messages: Vec<Message>,
    /// There are more in the direction asked for.
    pub more: bool,
}

/// Why a timeline is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PullError {
    /// The reader is no member, or there is no such group.
    #[error("not a member")]
    NotMember,
    /// What follows the position is not kept any more.
    #[error("below the floor {floor}")]
    TooOld {
        /// Oldest position that this reader may see.
        floor: u64,
        /// Newest position.
        head: u64,
    },
    /// The position was never given.
    #[error("above the head {head}")]
    AboveHead {
        /// Newest position.
        head: u64,
    },
}

/// One of a user's conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvHead {
    /// What it is now.
    pub kind: ConvKind,
    /// As the user sees it.
    pub conv: u64,
    /// Newest position.
    pub head: u64,
    /// What the user has read.
    pub read: u64,
    /// Id of the newest message.
    pub id: u64,
}

/// A user's conversations, ordered by (kind, conv).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadsPage {
    /// Some of them.
    pub heads: Vec<ConvHead>,
    /// There are more.
    pub more: bool,
}

/// A group or channel as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Group or channel.
    pub kind: ConvKind,
    /// Its owner; 0: none.
    pub owner: u64,
    /// Its name.
    pub name: Box<str>,
    /// Its members, ascending.
    pub members: Vec<u64>,
    /// Position of the last change of its members: their version.
    pub version: u64,
    /// Newest position of the timeline.
    pub head: u64,
}

/// A message that is about to be written to the log asks whether it may, and under which id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Where to.
    pub conv: Conv,
    /// Who sends; 0: the business, who need not be a member.
    pub from: u64,
    /// The client's `cid`, or the hash of an idempotency key; not 0.
    pub idem: u64,
    /// Hash of what is sent.
    pub hash: u64,
    /// The id that it gets if it is new.
    pub id: u64,
    /// It is about to be written. `false`: it is only asked, and nothing is remembered.
    pub hold: bool,
    /// Now, unix ms.
    pub now_ms: u64,
}

/// Answer to [`Reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Write it, with the id that was offered.
    New {
        /// What the conversation is.
        kind: ConvKind,
    },
    /// It was reserved before, and perhaps written: write it again, with this id.
    Retry {
        /// Id of the first attempt.
        id: u64,
        /// What the conversation is.
        kind: ConvKind,
    },
    /// It is stored.
    Duplicate {
        /// Its id.
        id: u64,
        /// What the conversation is.
        kind: ConvKind,
        /// Its position.
        conv_pos: u64,
    },
    /// The same `idem` came with another hash.
    Conflict,
    /// The sender is no member, or there is no such group.
    NotMember,
    /// Only the owner may write there.
    NotOwner,
    /// The receiver has blocked the sender.
    Blocked,
    /// What is known of earlier messages is not whole yet: later.
    Rebuilding,
}
