//! What comets are told of what was applied: a frame for each session of whoever has it in the inbox, a hint where the frame may
//! have been sent before, the end where what was shown no longer holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::close::CloseReason;
use perseid_protocol::frame::{flag, kind};
use perseid_protocol::operation::op;
use perseid_protocol::push::{Delivery, Push, SessionAddr, Target, room_push};
use perseid_protocol::trace::Trace;
use perseid_rpc::LogRecord;
use perseid_rpc::log_record::Body;
use perseid_store::stored::step::{Entry, UserDone};

use super::progress::Tally;

/// What comets are told of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands in the log.
    pub offset: u64,
    /// To which request it belongs.
    pub trace: Option<Trace>,
    /// What.
    pub what: What,
}

/// What comets are told of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An entry of inboxes, with the body of its frame.
    Inbox {
        /// The entry.
        entry: Arc<Entry>,
        /// Body of the frame.
        body: Bytes,
    },
    /// A channel has something new.
    Channel(Hint),
    /// A frame for those in a room.
    Room(Arc<RoomFrame>),
}

/// A channel has something new: its members are told where it stands, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The channel.
    pub group: u64,
    /// Newest position.
    pub pos: u64,
    /// Id of the newest message.
    pub id: u64,
}

/// A frame for those in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFrame {
    /// Its id, `type://id`.
    pub room: Arc<str>,
    /// The frame.
    pub push: Arc<Push>,
}

impl Shown {
    pub(super) fn new(offset: u64, record: &LogRecord, what: What) -> Self {
        Self { offset, trace: Trace::from_record(&record.trace), what }
    }
}

/// The frame of a record for a room, at `pos`.
pub(super) fn room_frame(record: &LogRecord, pos: u64) -> Option<What> {
    let Some(Body::Room(message)) = &record.body else { return None };
    let push = Push {
        id: record.id,
        op: message.op,
        from: record.from,
        pos,
        expires_at_ms: message.expire_at_ms,
        body: message.body.clone(),
        trace: Trace::from_record(&record.trace),
        ..Push::default()
    };
    let push = Arc::new(room_push(&message.room, push));
    Some(What::Room(Arc::new(RoomFrame { room: message.room.as_str().into(), push })))
}

/// The frame of an entry, for all who have it; where it stands in the inbox, the target tells. Too late it is GONE, because
/// positions have no gaps.
fn entry_push(entry: &Entry, body: &Bytes, trace: Option<Trace>, now_ms: u64) -> Push {
    let is_late = entry.expires_at_ms != 0 && now_ms >= entry.expires_at_ms;
    Push {
        id: entry.id,
        op: entry.op,
        kind: entry.kind,
        from: entry.from,
        conv_pos: entry.conv_pos,
        cid: entry.cid,
        flags: entry.flags | flag::STORED | if is_late { flag::GONE } else { 0 },
        body: if is_late { Bytes::new() } else { body.clone() },
        trace,
        ..Push::default()
    }
}

/// What was applied to the inboxes by one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// All up to this offset is applied.
    pub upto: u64,
    /// What the records came to, other than messages.
    pub tally: Tally,
    /// The records with something to tell, ascending.
    pub shown: Vec<Shown>,
    /// What became of the entries, ascending by offset.
    pub dones: Vec<UserDone>,
    /// Positions up to here may have been shown and been lost: who gets one anew has to begin anew.
    pub again: bool,
}

/// What was counted while deliveries were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownCounts {
    /// Entries that were applied by this job now.
    pub fresh: u64,
    /// Entries that had been applied before: a hint at most.
    pub repeated: u64,
    /// Hints to sessions.
    pub hints: u64,
    /// Sessions that were ended.
    pub ended: u64,
}

/// What a batch asks for, besides deliveries to sessions.
pub trait Showing {
    /// Appends where all sessions of a user live.
    fn sessions(&mut self, mid: u64, out: &mut Vec<SessionAddr>);
    /// Something for one session.
    fn deliver(&mut self, session: SessionAddr, delivery: Delivery);
    /// A frame for those in a room.
    fn room(&mut self, frame: &RoomFrame);
    /// A channel has something new.
    fn channel(&mut self, hint: Hint);
}

/// Tells `to` what was applied, in the order of the log; it is `now_ms`, unix time.
pub fn show(applied: &Applied, now_ms: u64, to: &mut dyn Showing) -> ShownCounts {
    let mut round =
        Round { again: applied.again, to, counts: ShownCounts::default(), heads: BTreeMap::new(), sessions: Vec::new() };
    let mut dones = applied.dones.as_slice();
    for shown in &applied.shown {
        let behind = dones.partition_point(|done| done.offset < shown.offset);
        let (_, rest) = dones.split_at(behind);
        let (of_this, rest) = rest.split_at(rest.partition_point(|done| done.offset == shown.offset));
        dones = rest;
        match &shown.what {
            What::Room(frame) => round.to.room(frame),
            What::Channel(hint) => round.to.channel(*hint),
            What::Inbox { entry, body } => {
                let push = Arc::new(entry_push(entry, body, shown.trace, now_ms));
                of_this.iter().filter(|done| done.pos != 0).for_each(|done| round.entry(entry, &push, done));
            }
        }
    }
    round.hint_heads();
    round.counts
}

/// One batch that is being told.
struct Round<'a> {
    again: bool,
    to: &'a mut dyn Showing,
    counts: ShownCounts,
    /// Users of whom something had been applied before, and up to where.
    heads: BTreeMap<u64, u64>,
    /// Lent from user to user.
    sessions: Vec<SessionAddr>,
}

impl Round<'_> {
    fn entry(&mut self, entry: &Entry, push: &Arc<Push>, done: &UserDone) {
        if !done.fresh {
            self.counts.repeated += 1;
            let head = self.heads.entry(done.mid).or_insert(0);
            *head = done.pos.max(*head);
            return;
        }
        self.counts.fresh += 1;
        if self.again {
            self.counts.ended += self.tell(done.mid, &Arc::default(), |session| Target::End(session, CloseReason::Resync));
            return;
        }
        let (pos, conv) = (done.pos, entry.conv.map_or(0, |conv| conv.seen_by(done.mid)));
        self.tell(done.mid, push, |session| Target::Inbox { session, pos, conv });
    }

    /// To all sessions of a user; gives how many those are.
    fn tell(&mut self, mid: u64, push: &Arc<Push>, target: impl Fn(SessionAddr) -> Target) -> u64 {
        self.sessions.clear();
        self.to.sessions(mid, &mut self.sessions);
        for session in &self.sessions {
            self.to.deliver(*session, Delivery { target: target(*session), push: Arc::clone(push) });
        }
        self.sessions.len() as u64
    }

    /// One hint for each user, however much was applied before: the client pulls.
    fn hint_heads(&mut self) {
        let push = Arc::new(Push { op: op::HEAD, ..Push::default() });
        for (mid, pos) in std::mem::take(&mut self.heads) {
            self.counts.hints += self.tell(mid, &push, |session| Target::Inbox { session, pos, conv: 0 });
        }
    }
}

/// The hint that a channel has something new.
pub(super) fn channel_push(hint: Hint) -> Push {
    Push { id: hint.id, op: op::HEAD, kind: kind::CHANNEL, conv: hint.group, conv_pos: hint.pos, ..Push::default() }
}

#[cfg(test)]
mod tests;
