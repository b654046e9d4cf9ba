//! What travels from job to comet: pushes, where they go, and what became of them.

use std::sync::Arc;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::frame::{self, Extension, Header, VER_CLASSIC, VER_EXTENDED, kind};
use crate::operation::op;
use crate::trace::Trace;

/// How much a push matters: what matters less is dropped first where not all can wait. It never changes the order of what is
/// delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Dropped before all others.
    Low = 0,
    /// As most.
    #[default]
    Normal = 1,
    /// Dropped after all others.
    High = 2,
}

impl Priority {
    /// All of them, in the order in which they are dropped: that of their discriminants.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];
}

/// What stands for a collapse key in [`Push::collapse`]: FNV-1a 64 of its bytes. An empty key is none: 0.
pub fn collapse_hash(key: &str) -> u64 {
    if key.is_empty() { 0 } else { crate::room::fnv1a_64(key).max(1) }
}

/// A push, ready to be framed. Shared by reference between all that it goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// Message id (snowflake).
    pub id: u64,
    /// Operation of the frame.
    pub op: i32,
    /// The operation that a session must accept to get it, where that is another one (goim's `protoOp`); 0: `op`.
    pub filter_op: i32,
    /// [`kind`] for extended sessions: NOTICE, or ROOM.
    pub kind: u16,
    /// Sender's mid, 0 = the system.
    pub from: u64,
    /// Conversation for extended sessions: a room's hash, a group; else 0. Of [`Target::Inbox`] the target tells it.
    pub conv: u64,
    /// Position in a room that keeps its last frames; 0: none. Of [`Target::Inbox`] the target tells it.
    pub pos: u64,
    /// Position in the conversation's timeline; 0: none.
    pub conv_pos: u64,
    /// The id that the sending client chose; 0: none.
    pub cid: u64,
    /// Flags of the frame; see [`frame::flag`].
    pub flags: u16,
    /// Not delivered at or after this unix time, ms; 0 = never too late.
    pub expires_at_ms: u64,
    /// Who is dropped for whom where not all can wait.
    pub priority: Priority,
    /// [`collapse_hash`] of the key by which a later push replaces this one where it still waits; 0: none does.
    pub collapse: u64,
    /// Body of the frame.
    pub body: Bytes,
    /// The request that it belongs to, if its sender told.
    pub trace: Option<Trace>,
}

impl Push {
    /// The operation that a session must accept to get it. No session accepts 0.
    pub const fn accepted_as(&self) -> i32 {
        if self.filter_op == 0 { self.op } else { self.filter_op }
    }

    /// The trace for which spans are made, if there is one.
    pub fn sampled(&self) -> Option<Trace> {
        self.trace.filter(|trace| trace.sampled)
    }

    /// Whether it is too late at `now_ms`.
    pub const fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms != 0 && now_ms >= self.expires_at_ms
    }

    /// Length of the frame, bytes.
    pub fn frame_len(&self, extended: bool) -> usize {
        self.body.len() + if extended { frame::EXTENDED_HEADER_LEN } else { frame::CLASSIC_HEADER_LEN }
    }

    /// Appends the frame: `ver` 1 with 16 bytes of header, or `ver` 2 with 72; `seq` 0.
    pub fn put_frame(&self, out: &mut Vec<u8>, extended: bool) {
        if extended {
            self.put_extended(out, self.pos, self.conv);
        } else {
            frame::put_classic(out, &Header { ver: VER_CLASSIC, op: self.op, seq: 0, ext: Extension::default() }, &self.body);
        }
    }
}

impl Push {
    /// Appends the extended frame of one who has it at `pos` and calls its conversation `conv`.
    pub fn put_extended(&self, out: &mut Vec<u8>, pos: u64, conv: u64) {
        let ext = Extension {
            id: self.id,
            pos,
            conv,
            conv_pos: self.conv_pos,
            from: self.from,
            cid: self.cid,
            kind: self.kind,
            flags: self.flags,
        };
        frame::put_extended(out, &Header { ver: VER_EXTENDED, op: self.op, seq: 0, ext }, &self.body);
    }
}

/// Appends the header that wraps `inner_len` bytes of frames for a classic WebSocket session (op 9).
pub fn put_raw_header(out: &mut Vec<u8>, inner_len: usize) {
    frame::put_classic_header(out, &Header { ver: VER_CLASSIC, op: op::RAW, seq: 0, ext: Extension::default() }, inner_len);
}

/// Builds the push of a room: `kind` ROOM and `conv` as extended sessions see it.
pub fn room_push(room_id: &str, push: Push) -> Push {
    Push { kind: kind::ROOM, conv: crate::room::room_hash(room_id), ..push }
}

/// Where a session lives. Addresses are never reused: `incarnation` and `generation` see to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionAddr {
    /// The comet, as numbered by discovery; 0 in the standalone.
    pub node: u32,
    /// Which life of that comet (low bits of its start time).
    pub incarnation: u32,
    /// The worker in it.
    pub worker: u16,
    /// Slot in the worker's slab.
    pub slot: u32,
    /// Which use of that slot.
    pub generation: u32,
}

/// Whom one delivery is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One session; filtered by what it accepts.
    Session(SessionAddr),
    /// What one session's user has in the inbox. An extended session gets it whatever it accepts, once it is live; a session
    /// without an inbox (a classic one, or of a node that keeps no messages) as [`Target::Session`], if the push is no event and
    /// of another user. A push with the operation HEAD is a hint: sessions with an inbox alone get it.
    Inbox {
        /// The session.
        session: SessionAddr,
        /// Position in the user's inbox; of a hint the head, or 0.
        pos: u64,
        /// The conversation as this user sees it.
        conv: u64,
    },
    /// One session, which has to go: what it was shown may no longer hold.
    End(SessionAddr, CloseReason),
    /// The sessions of a room, whatever they accept.
    Room(Arc<str>),
    /// Every session, filtered by what it accepts.
    All {
        /// Sessions per second on this comet; 0 = as fast as it goes.
        speed: u32,
    },
}

/// A push and whom it is for. The order of deliveries in a batch, and of batches, is the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// For whom.
    pub target: Target,
    /// What.
    pub push: Arc<Push>,
}

/// Why a frame was not delivered. Every drop is counted under one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drop {
    /// The target has no session (any more).
    Offline,
    /// The session does not accept the operation.
    Filtered,
    /// Too late.
    Expired,
    /// The session (or the node) has too much waiting.
    Slow,
    /// The session was ending.
    Closing,
    /// A later one with the same collapse key came before it was written.
    Collapsed,
}

impl Drop {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 6] = [Self::Offline, Self::Filtered, Self::Expired, Self::Slow, Self::Closing, Self::Collapsed];

    /// The word in metrics and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Filtered => "filtered",
            Self::Expired => "expired",
            Self::Slow => "slow",
            Self::Closing => "closing",
            Self::Collapsed => "collapsed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_indexed_by_stands_at_its_discriminant() {
        assert_eq!(Drop::ALL.map(|reason| reason as usize), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Priority::ALL.map(|priority| priority as usize), [0, 1, 2]);
        assert!(Priority::ALL.is_sorted());
    }

    /// Comets of another version compare them.
    #[test]
    fn hashes_of_keys_never_change() {
        for (key, hash) in [("", 0), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)] {
            assert_eq!(collapse_hash(key), hash, "{key}");
        }
    }
}
