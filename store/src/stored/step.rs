//! What a job applies, in the order of the log, and what it learns of it. All values.
//!
//! A **bucket** is the unit of atomicity, guard and loss. Its **guard** says for each partition of the log the last offset that
//! was applied to it: what is not above the guard was applied before, and is found again instead of being applied twice.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::conv::{Conv, ConvKind};

/// A bucket of conversations, or of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// Timelines, members, dedupe.
    Conv(u32),
    /// Inboxes, cursors, read positions.
    User(u32),
}

/// What a bucket knows of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketState {
    /// Which bucket.
    pub bucket: Bucket,
    /// When the bucket was made, unix ms; `None`: it is lost, or was never made.
    pub epoch: Option<u64>,
    /// The last offset of the partition that was applied; 0: none.
    pub guard: u64,
    /// The life of the store in which that was written; another than [`Loaded::boot`] means that newer writes may be lost.
    pub boot: u64,
    /// E: up to here positions may have been shown, and been lost since.
    pub shown: u64,
}

/// What all buckets know of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The life of the store that answers.
    pub boot: u64,
    /// Every bucket, once.
    pub buckets: Vec<BucketState>,
}

/// What has to be written before a partition is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The partition.
    pub partition: u32,
    /// As loaded; another one now is [`StepError::Rebooted`].
    pub boot: u64,
    /// E, for every bucket.
    pub shown: u64,
    /// Buckets that get this as their new epoch, unix ms: they were lost, or the log no longer reaches back to their guard.
    pub renewed: Vec<(Bucket, u64)>,
}

/// A run of items for one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<T> {
    /// Partition of the log that they come from.
    pub partition: u32,
    /// The number of the bucket; which sort, the call says.
    pub bucket: u32,
    /// As loaded.
    pub boot: u64,
    /// The guard that the bucket must have reached: a lower one means that a write was lost.
    pub prev: u64,
    /// The guard afterwards, unless it is higher already.
    pub last: u64,
    /// Ascending by offset; of one offset in a fixed order.
    pub items: Vec<T>,
}

/// Why a step was not applied: nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StepError {
    /// The bucket has no epoch: it is not there (any more). Load again.
    #[error("the bucket is lost: it has to be filled again from the log")]
    Lost,
    /// The bucket's guard is below `prev`. Load again.
    #[error("the bucket has lost writes: it stands at {guard}")]
    Gap {
        /// Where it stands.
        guard: u64,
    },
    /// The store is another process than the one that was loaded from. Load again.
    #[error("the store was started again")]
    Rebooted,
    /// Too much is applied and not committed yet. Try the same step again later.
    #[error("the store is busy: try again")]
    Busy,
    /// It does not answer, or its disk fails. Try the same step again later.
    #[error("the store does not work: {0}")]
    Down(String),
}

/// Something that happens in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvOp {
    /// Offset of its record.
    pub offset: u64,
    /// Where.
    pub conv: Conv,
    /// Message id.
    pub id: u64,
    /// When it was accepted, unix ms.
    pub ts_ms: u64,
    /// Who did it; 0 = the system.
    pub from: u64,
    /// With `from` and the conversation: what a repetition is known by; 0: it is none. Clients' are their `cid`.
    pub idem: u64,
    /// Hash of what was sent.
    pub hash: u64,
    /// Of a message: nobody is given its body at or after this time, unix ms; 0: never too late.
    pub expires_at_ms: u64,
    /// What happens.
    pub change: Change,
}

/// What happens in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody writes. Takes a position.
    Message {
        /// Operation of the frame.
        op: i32,
        /// It does not count as unread.
        quiet: bool,
        /// Body of the frame.
        body: Bytes,
    },
    /// A room that keeps its last frames gets one. Takes a position; the first one of a room is `unix seconds << 20`.
    RoomFrame {
        /// Operation of the frame.
        op: i32,
        /// Body of the frame.
        body: Bytes,
        /// How many frames are kept from now on.
        keep: u32,
    },
    /// The group is made, or described anew with this whole list of members. Takes a position, as an event.
    Put {
        /// It is a channel.
        channel: bool,
        /// Its owner; 0: none.
        owner: u64,
        /// Its name.
        name: Box<str>,
        /// All its members.
        members: Vec<u64>,
    },
    /// Members come and go. Takes a position, as an event; none if nobody really does.
    Members {
        /// Who comes.
        add: Vec<u64>,
        /// Who goes; stronger than `add`.
        remove: Vec<u64>,
    },
    /// A group becomes a channel. Takes a position, as an event.
    Convert,
    /// The group is no more. Takes a position, as an event.
    Delete,
    /// The message at `pos` is taken back, if its id is `id`. Takes a position, as an event; none if it was taken back before.
    Recall {
        /// Where it stands.
        pos: u64,
        /// Its id.
        id: u64,
    },
    /// `from` blocks the other side of the direct chat, or no longer. Takes no position.
    Block {
        /// Whether it does from now on.
        blocked: bool,
    },
}

/// What became of a [`ConvOp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvDone {
    /// Offset of its record.
    pub offset: u64,
    /// Applied by this very call; else an earlier one had done it, and this is what it had done.
    pub fresh: bool,
    /// What it is now.
    pub outcome: ConvOutcome,
}

/// What became of a [`ConvOp`]. A pure function of the log up to its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvOutcome {
    /// It has a position.
    Row {
        /// The position.
        pos: u64,
        /// What the conversation is at that position.
        kind: ConvKind,
        /// Of events: their JSON body. `None`: the body is that of the record.
        event: Option<Bytes>,
        /// Who is to have it.
        recipients: Recipients,
        /// Who became a member, and who was one until now.
        joined: Arc<[u64]>,
        /// See `joined`.
        left: Arc<[u64]>,
    },
    /// It was done, and has no position: a block.
    Done,
    /// It repeats an earlier record, and is nothing.
    Duplicate {
        /// Id of the first one.
        id: u64,
        /// Position of the first one.
        pos: u64,
    },
    /// It changes nothing: a member who is one already, a message taken back before, a block that holds already.
    Nothing,
    /// It came to nothing; its sender has to be told.
    Rejected(Rejection),
    /// It was applied before, and the rows by which it would be known are gone (retention): nobody needs it any more.
    Old,
}

/// Who gets what has a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Nobody has it in the inbox: the members of a channel, who get a hint at most, and watchers of a room.
    Nobody,
    /// Both sides of a direct chat, or the one.
    Pair(u64, u64),
    /// The members at that position, ascending.
    Members(Arc<[u64]>),
}

/// Why something that the log has came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The group is not there (any more).
    NoGroup,
    /// A group can't be put as a channel, nor a channel as a group.
    OtherKind,
    /// What was to be taken back is not there, or is another message.
    NoMessage,
}

impl Rejection {
    /// The word in events.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoGroup => "NO_GROUP",
            Self::OtherKind => "OTHER_KIND",
            Self::NoMessage => "NO_MESSAGE",
        }
    }
}

/// Something that happens to a user: an entry in the inbox, a change of what is remembered, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserItem {
    /// Offset of its record. At most one item has this offset and this user.
    pub offset: u64,
    /// Whose.
    pub mid: u64,
    /// What goes into the inbox. Shared between all who get it.
    pub entry: Option<Arc<Entry>>,
    /// What else is remembered.
    pub effect: Effect,
}

/// What goes into inboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Message id.
    pub id: u64,
    /// When it was accepted, unix ms.
    pub ts_ms: u64,
    /// Sender; 0 = the system.
    pub from: u64,
    /// The sender's `cid`; 0: none.
    pub cid: u64,
    /// Kind of the frame: 0 notice, 1 direct, 2 group, 5 event.
    pub kind: u16,
    /// Operation of the frame.
    pub op: i32,
    /// QUIET, or nothing.
    pub flags: u16,
    /// The conversation; `None` for notices, and events that belong to none.
    pub conv: Option<Conv>,
    /// Its place in the timeline, where its body stands; 0: it has none, and the body stands in `inline`.
    pub conv_pos: u64,
    /// The body of what has no place in a timeline.
    pub inline: Option<Bytes>,
    /// Nobody is given its body at or after this time, unix ms; 0: never too late. Of what has a place in a timeline that row
    /// says it too.
    pub expires_at_ms: u64,
}

/// What is remembered of a user besides the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The conversation is one of the user's from now on.
    Has(Conv),
    /// It is no longer.
    HasNot(Conv),
    /// `by` (the user, or the peer in a direct chat) has read up to here. The entry is made only if `told` and that is further
    /// than what was told before.
    Read {
        /// Where.
        conv: Conv,
        /// Who.
        by: u64,
        /// Up to here.
        pos: u64,
        /// The devices are told.
        told: bool,
    },
}

/// What became of a [`UserItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserDone {
    /// Offset of its record.
    pub offset: u64,
    /// Whose.
    pub mid: u64,
    /// Position of its entry in the inbox; 0: it has none.
    pub pos: u64,
    /// Applied by this very call.
    pub fresh: bool,
}
