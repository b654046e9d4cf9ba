//! What a client tells its application.

use bytes::Bytes;
use perseid_protocol::auth::AuthReply;
use perseid_protocol::frame::{Header, flag, kind};
use serde_json::Value;

use crate::error::{Disconnect, Error};
use crate::json;

/// A position in the user's inbox, with the epoch that gives it a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Changes only when the server lost positions; all begins anew then.
    pub epoch: u64,
    /// Dense, from 1; 0 is before the first.
    pub pos: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A session began.
    Connected(Box<AuthReply>),
    /// All messages up to `head` have been given to the application; from here they come as they are written.
    Synced {
        /// The inbox head then.
        head: u64,
    },
    /// A connection ended or could not be made; the client tries again.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// When it tries again, ms from now.
        retry_in_ms: u64,
    },
    /// The client will not come back by itself: see [`Client::connect_again`](crate::Client::connect_again).
    Closed {
        /// Why.
        reason: Disconnect,
    },
    /// A stored message: each position once, in order, own messages from this and other devices too.
    Message(Message),
    /// Something changed in a conversation; stored, and in order with the messages.
    Change(Change),
    /// Positions that this device can't be given any more. Reload what is older with `heads` and `pull`.
    Skipped(Skipped),
    /// A push that is not stored: to this user, this session or all.
    Push(Push),
    /// Typing and the like.
    Ephemeral(Ephemeral),
    /// A timeline has grown whose messages are not written to inboxes: `pull` it.
    Head(ConversationHead),
    /// A frame of the room.
    RoomFrame(RoomFrame),
    /// Frames of the room were missed and can't be had any more: reload the room's state.
    RoomGap(RoomGap),
    /// What became of a message whose `send` was called in an earlier life of the program.
    Outcome {
        /// Its `cid`.
        cid: u64,
        /// What became of it.
        result: Result<Sent, Error>,
    },
    /// Pushes, heads, room frames and the like that were dropped because too much was waiting for the application: look at
    /// `heads`, and reload the state of a room. Messages are never dropped.
    Dropped {
        /// How many.
        count: u64,
    },
    /// People online in the room; with each heartbeat.
    Online(i32),
}

impl Event {
    /// The inbox position that is done with when the application has processed this event.
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Message(message) => Some(message.at),
            Self::Change(change) => Some(change.at),
            Self::Skipped(skipped) => Some(skipped.at),
            _ => None,
        }
    }

    /// About how much memory it takes, bytes.
    pub(crate) fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        FIXED
            + match self {
                Self::Message(message) => message.body.len(),
                Self::Change(change) => change.body.len().saturating_mul(2),
                Self::Push(push) => push.body.len(),
                Self::Ephemeral(ephemeral) => ephemeral.body.len(),
                Self::RoomFrame(frame) => frame.body.len(),
                _ => 0,
            }
    }
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its position in the inbox; position 0 when it was read from a timeline.
    pub at: Position,
    /// 4 for a user's message, else the business operation of a notice.
    pub op: i32,
    /// Its id: identity, and by `limits.id_epoch_ms` the time of its acceptance.
    pub id: u64,
    /// [`kind`]: NOTICE, DIRECT, GROUP or CHANNEL.
    pub kind: u16,
    /// The conversation as this user sees it: the peer's mid or the group's id.
    pub conv: u64,
    /// Its position in the conversation's timeline.
    pub conv_pos: u64,
    /// Sender's mid; 0 = the system.
    pub from: u64,
    /// The id that its sender chose.
    pub cid: u64,
    /// Whether its body was taken back or has expired: the position holds nothing any more.
    pub gone: bool,
    /// Whether it does not count as unread.
    pub quiet: bool,
    /// What was sent.
    pub body: Bytes,
}

impl Message {
    pub(crate) fn new(epoch: u64, header: &Header, body: Bytes) -> Self {
        let ext = &header.ext;
        Self {
            at: Position { epoch, pos: ext.pos },
            op: header.op,
            id: ext.id,
            kind: ext.kind,
            conv: ext.conv,
            conv_pos: ext.conv_pos,
            from: ext.from,
            cid: ext.cid,
            gone: ext.flags & flag::GONE != 0,
            quiet: ext.flags & flag::QUIET != 0,
            body,
        }
    }
}

/// A stored event: something that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its position in the inbox.
    pub at: Position,
    /// Its id.
    pub id: u64,
    /// The conversation as this user sees it.
    pub conv: u64,
    /// Its position in the conversation's timeline; 0 if it takes none.
    pub conv_pos: u64,
    /// Who did it.
    pub from: u64,
    /// What it is.
    pub what: What,
    /// Its JSON as it came.
    pub body: Bytes,
}

/// What a [`Change`] says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// `from` has read up to here.
    Read {
        /// Position in the timeline.
        conv_pos: u64,
    },
    /// A message was taken back.
    Recall {
        /// Its position in the timeline.
        conv_pos: u64,
        /// Its id.
        id: u64,
    },
    /// The group's members changed.
    Members {
        /// Who came.
        add: Vec<u64>,
        /// Who went.
        remove: Vec<u64>,
        /// Of the list of members.
        version: u64,
    },
    /// The group became a channel, or a channel a group.
    Convert,
    /// The group was deleted.
    Deleted,
    /// Who may write to whom changed.
    Blocked,
    /// A message of this user was accepted and came to nothing.
    Rejected {
        /// Its `cid`.
        cid: u64,
        /// Why.
        reason: String,
    },
    /// Something that this version does not know, or a tombstone: see the body.
    Other {
        /// `type` in its JSON.
        name: String,
    },
}

impl Change {
    pub(crate) fn new(epoch: u64, header: &Header, body: Bytes) -> Self {
        let ext = &header.ext;
        Self {
            at: Position { epoch, pos: ext.pos },
            id: ext.id,
            conv: ext.conv,
            conv_pos: ext.conv_pos,
            from: ext.from,
            what: What::parse(&body),
            body,
        }
    }
}

impl What {
    fn parse(body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let number = |name: &str| json::number(&json[name]).unwrap_or(0);
        let name = json::text(&json["type"]);
        match name.as_str() {
            "read" => Self::Read { conv_pos: number("conv_pos") },
            "recall" => Self::Recall { conv_pos: number("conv_pos"), id: number("id") },
            "members" => Self::Members {
                add: json::numbers(&json["add"]),
                remove: json::numbers(&json["remove"]),
                version: number("version"),
            },
            "convert" => Self::Convert,
            "deleted" => Self::Deleted,
            "blocked" => Self::Blocked,
            "rejected" => Self::Rejected { cid: number("cid"), reason: json::text(&json["reason"]) },
            _ => Self::Other { name },
        }
    }
}

/// Positions that were skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The last position before those that are given next, in the epoch that holds now.
    pub at: Position,
    /// The first that is missing; of the old epoch, if that changed.
    pub from: u64,
    /// The last that is missing. After a change of the epoch nobody can say what is missing: positions begin anew, and
    /// what the server still has comes again under new ones.
    pub to: u64,
    /// Whether the epoch changed.
    pub epoch_changed: bool,
}

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
    /// [`kind`]: DIRECT or GROUP.
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
    /// [`kind`]: DIRECT, GROUP or CHANNEL.
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

/// A message that the server has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The id that this client gave it.
    pub cid: u64,
    /// The id that the server gave it.
    pub id: u64,
    /// What the conversation is; the server's word counts for groups.
    pub kind: u16,
    /// The conversation.
    pub conv: u64,
    /// Its position in the timeline, 0 if that is not known yet.
    pub conv_pos: u64,
    /// Whether an earlier try had been accepted already.
    pub duplicate: bool,
}

impl Sent {
    pub(crate) const fn new(header: &Header) -> Self {
        let ext = &header.ext;
        Self {
            cid: ext.cid,
            id: ext.id,
            kind: ext.kind,
            conv: ext.conv,
            conv_pos: ext.conv_pos,
            duplicate: ext.flags & flag::DUPLICATE != 0,
        }
    }
}

/// Whether a stored frame is an event, and not a message. A tombstone of one is an event, too.
pub(crate) const fn is_change(header: &Header) -> bool {
    header.ext.kind == kind::EVENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_typed() {
        let table: [(&str, What); 8] = [
            (r#"{"type":"read","conv_pos":7}"#, What::Read { conv_pos: 7 }),
            (r#"{"type":"recall","conv_pos":7,"id":"99"}"#, What::Recall { conv_pos: 7, id: 99 }),
            (
                r#"{"type":"members","add":[1,"2"],"remove":[3],"version":4}"#,
                What::Members { add: vec![1, 2], remove: vec![3], version: 4 },
            ),
            (r#"{"type":"convert"}"#, What::Convert),
            (r#"{"type":"deleted"}"#, What::Deleted),
            (r#"{"type":"rejected","cid":"5","reason":"GONE"}"#, What::Rejected { cid: 5, reason: "GONE".into() }),
            (r#"{"type":"later"}"#, What::Other { name: "later".into() }),
            ("", What::Other { name: String::new() }),
        ];
        for (body, what) in table {
            assert_eq!(What::parse(body.as_bytes()), what, "{body}");
        }
    }
}
