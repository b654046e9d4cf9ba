//! What stands in inboxes and timelines.

use bytes::Bytes;
use perseid_protocol::frame::{Header, flag, kind};
use serde_json::Value;

use super::Position;
use crate::json;

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
