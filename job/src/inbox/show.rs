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

/// The frame of an entry, for all who have it; where it stands in the inbox, the target tells.
fn entry_push(entry: &Entry, body: &Bytes, trace: Option<Trace>) -> Push {
    Push {
        id: entry.id,
        op: entry.op,
        kind: entry.kind,
        from: entry.from,
        conv_pos: entry.conv_pos,
        cid: entry.cid,
        flags: entry.flags | flag::STORED,
        body: body.clone(),
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

/// Tells `to` what was applied, in the order of the log.
pub fn show(applied: &Applied, to: &mut dyn Showing) -> ShownCounts {
    let mut counts = ShownCounts::default();
    let mut heads = BTreeMap::new();
    let mut dones = applied.dones.as_slice();
    let mut sessions = Vec::new();
    for shown in &applied.shown {
        let behind = dones.iter().take_while(|done| done.offset < shown.offset).count();
        let (_, rest) = dones.split_at(behind);
        let (of_this, rest) = rest.split_at(rest.iter().take_while(|done| done.offset == shown.offset).count());
        dones = rest;
        match &shown.what {
            What::Room(frame) => to.room(frame),
            What::Channel(hint) => to.channel(*hint),
            What::Inbox { entry, body } => {
                let push = Arc::new(entry_push(entry, body, shown.trace));
                for done in of_this.iter().filter(|done| done.pos != 0) {
                    sessions.clear();
                    to.sessions(done.mid, &mut sessions);
                    if !done.fresh {
                        counts.repeated += 1;
                        let head = heads.entry(done.mid).or_insert(0);
                        *head = done.pos.max(*head);
                    } else if applied.again {
                        counts.fresh += 1;
                        counts.ended += end(&sessions, to);
                    } else {
                        counts.fresh += 1;
                        let conv = entry.conv.map_or(0, |conv| conv.seen_by(done.mid));
                        for session in &sessions {
                            let target = Target::Inbox { session: *session, pos: done.pos, conv };
                            to.deliver(*session, Delivery { target, push: Arc::clone(&push) });
                        }
                    }
                }
            }
        }
    }
    hint_heads(&heads, to, &mut counts);
    counts
}

fn end(sessions: &[SessionAddr], to: &mut dyn Showing) -> u64 {
    for session in sessions {
        let target = Target::End(*session, CloseReason::Resync);
        to.deliver(*session, Delivery { target, push: Arc::default() });
    }
    sessions.len() as u64
}

/// One hint for each user, however much was applied before: the client pulls.
fn hint_heads(heads: &BTreeMap<u64, u64>, to: &mut dyn Showing, counts: &mut ShownCounts) {
    let push = Arc::new(Push { op: op::HEAD, ..Push::default() });
    let mut sessions = Vec::new();
    for (mid, pos) in heads {
        sessions.clear();
        to.sessions(*mid, &mut sessions);
        for session in &sessions {
            let target = Target::Inbox { session: *session, pos: *pos, conv: 0 };
            to.deliver(*session, Delivery { target, push: Arc::clone(&push) });
            counts.hints += 1;
        }
    }
}

/// The hint that a channel has something new.
pub(super) fn channel_push(hint: Hint) -> Push {
    Push { id: hint.id, op: op::HEAD, kind: kind::CHANNEL, conv: hint.group, conv_pos: hint.pos, ..Push::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions of a user stand in the slots (mid, mid + 100).
    #[derive(Default)]
    struct Told(Vec<(u32, u64, String)>);

    impl Showing for Told {
        fn sessions(&mut self, mid: u64, out: &mut Vec<SessionAddr>) {
            let mid = u32::try_from(mid).unwrap();
            out.extend([mid, mid + 100].map(|slot| SessionAddr { slot, ..SessionAddr::default() }));
        }

        fn deliver(&mut self, session: SessionAddr, delivery: Delivery) {
            let (pos, what) = match delivery.target {
                Target::Inbox { pos, conv, .. } if delivery.push.op == op::HEAD => (pos, format!("head {conv}")),
                Target::Inbox { pos, conv, .. } => (pos, format!("{} {conv}", delivery.push.id)),
                Target::End(_, reason) => (0, format!("{reason:?}")),
                other => panic!("{other:?}"),
            };
            self.0.push((session.slot, pos, what));
        }

        fn room(&mut self, frame: &RoomFrame) {
            self.0.push((0, frame.push.pos, frame.room.to_string()));
        }

        fn channel(&mut self, hint: Hint) {
            self.0.push((0, hint.pos, format!("channel {}", hint.group)));
        }
    }

    fn message(offset: u64, id: u64) -> Shown {
        let conv = Some(perseid_store::stored::conv::Conv::direct(1, 2));
        let (kind, op) = (kind::DIRECT, op::SEND_MSG);
        let entry = Entry { id, ts_ms: 0, from: 1, cid: 0, kind, op, flags: 0, conv, conv_pos: 5, inline: None };
        Shown { offset, trace: None, what: What::Inbox { entry: Arc::new(entry), body: Bytes::new() } }
    }

    fn done(offset: u64, mid: u64, pos: u64, fresh: bool) -> UserDone {
        UserDone { offset, mid, pos, fresh }
    }

    fn told(applied: &Applied) -> (Vec<(u32, u64, String)>, ShownCounts) {
        let mut told = Told::default();
        let counts = show(applied, &mut told);
        (told.0, counts)
    }

    #[test]
    fn in_the_order_of_the_log_each_as_he_sees_it() {
        let channel = Shown { offset: 4, trace: None, what: What::Channel(Hint { group: 8, pos: 3, id: 9 }) };
        let shown = vec![message(3, 50), channel, message(6, 51)];
        // 5 has an entry for nobody; 7 is an effect without a position.
        let dones =
            vec![done(3, 1, 10, true), done(3, 2, 20, true), done(5, 1, 0, true), done(6, 2, 21, true), done(6, 1, 0, true)];
        let (told, counts) = told(&Applied { upto: 7, shown, dones, ..Applied::default() });
        let wanted = [(1, 10, "50 2"), (101, 10, "50 2"), (2, 20, "50 1"), (102, 20, "50 1"), (0, 3, "channel 8")];
        let last = [(2, 21, "51 1"), (102, 21, "51 1")];
        let wanted: Vec<_> = wanted.into_iter().chain(last).map(|(slot, pos, what)| (slot, pos, what.to_owned())).collect();
        assert_eq!(told, wanted);
        assert_eq!(counts, ShownCounts { fresh: 3, ..ShownCounts::default() });
    }

    #[test]
    fn what_was_applied_before_is_one_hint() {
        let shown = vec![message(3, 50), message(4, 51)];
        let dones = vec![done(3, 1, 10, false), done(4, 1, 11, false)];
        let (told, counts) = told(&Applied { upto: 4, shown, dones, ..Applied::default() });
        assert_eq!(told, [(1, 11, "head 0".to_owned()), (101, 11, "head 0".to_owned())]);
        assert_eq!(counts, ShownCounts { repeated: 2, hints: 2, ..ShownCounts::default() });
    }

    #[test]
    fn who_gets_a_position_anew_begins_anew() {
        let applied = Applied {
            upto: 3,
            shown: vec![message(3, 50)],
            dones: vec![done(3, 1, 10, true), done(3, 2, 20, false)],
            again: true,
            ..Applied::default()
        };
        let (told, counts) = told(&applied);
        let ended = |slot| (slot, 0, "Resync".to_owned());
        let head = |slot| (slot, 20, "head 0".to_owned());
        assert_eq!(told, [ended(1), ended(101), head(2), head(102)]);
        assert_eq!(counts, ShownCounts { fresh: 1, repeated: 1, hints: 2, ended: 2 });
    }
}
