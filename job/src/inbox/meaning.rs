//! What a record of the log does in its conversation, if it does anything there.

use std::collections::HashMap;

use perseid_protocol::frame::kind;
use perseid_protocol::operation::op;
use perseid_protocol::room::room_hash;
use perseid_rpc::log_record::Body;
use perseid_rpc::{BadRecord, GroupChange, GroupChangeKind, LogRecord};
use perseid_store::stored::conv::Conv;
use perseid_store::stored::step::{Change, ConvOp};
use thiserror::Error;

/// Why a record comes to nothing: it is counted, told to people, and counts as applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Senseless {
    /// Its bytes are no record.
    #[error("{0}")]
    Undecodable(BadRecord),
    /// It says nothing that this version knows.
    #[error("the record says nothing that this version knows: it was written by a newer one")]
    Unknown,
    /// Of a conversation that can't have this.
    #[error("the record is for a conversation of kind {0}, which can't have it")]
    Kind(u32),
    /// It is for nobody.
    #[error("the record names no user, group or room")]
    Nobody,
}

/// How many frames rooms keep, by the type of the room.
#[derive(Clone, Debug, Default)]
pub struct RoomKeep(HashMap<Box<str>, u32>);

impl RoomKeep {
    /// From pairs of type and count.
    pub fn new(kept: impl IntoIterator<Item = (Box<str>, u32)>) -> Self {
        Self(kept.into_iter().collect())
    }

    /// Frames that this room keeps. One at least: what stands in the log had a position when it was accepted.
    fn of(&self, room: &str) -> u32 {
        let kind = room.split_once("://").map_or("", |(kind, _)| kind);
        self.0.get(kind).copied().unwrap_or(0).max(1)
    }
}

/// The conversation that `from` calls (`kind`, `conv`), if it is one with members.
pub(super) fn conv_named(frame_kind: u32, conv: u64, from: u64) -> Result<Conv, Senseless> {
    let known = u16::try_from(frame_kind).ok().filter(|kind| *kind != kind::ROOM);
    let named = known.and_then(|kind| Conv::of_frame(kind, conv, from)).ok_or(Senseless::Kind(frame_kind))?;
    if conv == 0 { Err(Senseless::Nobody) } else { Ok(named) }
}

/// What the record does in its conversation; `None`: nothing, it concerns users alone.
pub(super) fn conv_op(offset: u64, record: &LogRecord, keep: &RoomKeep) -> Result<Option<ConvOp>, Senseless> {
    let Some((conv, change)) = what(record, keep)? else { return Ok(None) };
    let idem = match change {
        // The last one wins, however often it comes.
        Change::Block { .. } => 0,
        Change::Message { .. } | Change::RoomFrame { .. } => record.idem,
        // What a business or logic asks for twice has the same id.
        _ if record.idem == 0 => record.id,
        _ => record.idem,
    };
    let LogRecord { id, ts_ms, from, hash, expire_at_ms: expires_at_ms, .. } = *record;
    Ok(Some(ConvOp { offset, conv, id, ts_ms, from, idem, hash, expires_at_ms, change }))
}

fn what(record: &LogRecord, keep: &RoomKeep) -> Result<Option<(Conv, Change)>, Senseless> {
    let from = record.from;
    Ok(Some(match record.body.as_ref().ok_or(Senseless::Unknown)? {
        Body::Direct(message) => {
            let change = Change::Message { op: op::SEND_MSG, quiet: message.quiet, body: message.body.clone() };
            (conv_named(kind::DIRECT.into(), message.peer, from)?, change)
        }
        Body::Group(message) => {
            let op = if message.op == 0 { op::SEND_MSG } else { message.op };
            let change = Change::Message { op, quiet: message.quiet, body: message.body.clone() };
            (conv_named(kind::GROUP.into(), message.group, from)?, change)
        }
        Body::Change(change) => (conv_named(kind::GROUP.into(), change.group, from)?, group_change(change)?),
        Body::Recall(recall) => {
            let change = Change::Recall { pos: recall.conv_pos, id: recall.id };
            (conv_named(recall.kind, recall.conv, from)?, change)
        }
        Body::Block(mark) => (conv_named(kind::DIRECT.into(), mark.peer, from)?, Change::Block { blocked: mark.blocked }),
        Body::Room(message) if message.room.is_empty() => return Err(Senseless::Nobody),
        Body::Room(message) => {
            let change = Change::RoomFrame { op: message.op, body: message.body.clone(), keep: keep.of(&message.room) };
            (Conv::Room(room_hash(&message.room)), change)
        }
        Body::Read(mark) => {
            conv_named(mark.kind, mark.conv, from)?;
            return Ok(None);
        }
        Body::Notice(_) => return Ok(None),
    }))
}

fn group_change(change: &GroupChange) -> Result<Change, Senseless> {
    let without_0 = |mids: &[u64]| mids.iter().copied().filter(|mid| *mid != 0).collect();
    Ok(match GroupChangeKind::try_from(change.kind).map_err(|_| Senseless::Unknown)? {
        GroupChangeKind::Put => Change::Put {
            channel: change.channel,
            owner: change.owner,
            name: change.name.as_str().into(),
            members: without_0(&change.add),
        },
        GroupChangeKind::Members => Change::Members { add: without_0(&change.add), remove: without_0(&change.remove) },
        GroupChangeKind::Convert => Change::Convert,
        GroupChangeKind::Delete => Change::Delete,
    })
}
