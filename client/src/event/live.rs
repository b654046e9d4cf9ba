//! What happens now, and is kept nowhere or in a ring.

use bytes::Bytes;
use perseid_protocol::frame::Header;

/// A push that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The business' operation.
    pub op: i32,
    /// Its id, 0 = none.
    pub id: u64,
    /// Sender's mid; 0 = the system.
    pub from: u64,
    /// What was pushed.
    pub body: Bytes,
}

/// Typing and the like, from a peer or a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    /// [`kind`](crate::kind): DIRECT or GROUP.
    pub kind: u16,
    /// The conversation as this user sees it.
    pub conv: u64,
    /// Who.
    pub from: u64,
    /// What.
    pub body: Bytes,
}

/// A conversation and how far it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConversationHead {
    /// [`kind`](crate::kind): DIRECT, GROUP or CHANNEL.
    pub kind: u16,
    /// The conversation as this user sees it.
    pub conv: u64,
    /// The timeline's head.
    pub conv_pos: u64,
    /// Up to where this user has read; only in the list that `heads` gives.
    pub read_pos: u64,
    /// Id of the last message; only in the list that `heads` gives.
    pub id: u64,
}

impl ConversationHead {
    pub(crate) const fn new(header: &Header) -> Self {
        let ext = &header.ext;
        Self { kind: ext.kind, conv: ext.conv, conv_pos: ext.conv_pos, read_pos: ext.pos, id: ext.id }
    }
}

/// A frame of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFrame {
    /// The business' operation.
    pub op: i32,
    /// Its id, 0 = none.
    pub id: u64,
    /// Its position in the room; 0 in a room without recovery.
    pub pos: u64,
    /// Sender's mid; 0 = the system.
    pub from: u64,
    /// What was pushed.
    pub body: Bytes,
}

/// Frames of a room that were missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomGap {
    /// The room's id.
    pub room: String,
    /// The last position before the gap; 0 in a room without recovery.
    pub after: u64,
    /// The room's head: what follows comes from here; 0 in a room without recovery.
    pub head: u64,
}
