//! What has to come of a log, told by the rules alone: a plain fold over the records, without buckets, guards or batches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use perseid_protocol::frame::{flag, kind};
use perseid_protocol::operation::op;
use perseid_rpc::log_record::Body;
use perseid_rpc::{GroupChange, GroupChangeKind, LogRecord};
use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::event;
use perseid_store::stored::step::Rejection;

/// A message as somebody has to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: u64,
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) op: i32,
    pub(crate) flags: u16,
    pub(crate) conv: Option<Conv>,
    pub(crate) conv_pos: u64,
    pub(crate) body: Bytes,
}

/// A conversation at the end of the log.
#[derive(Default)]
pub(crate) struct ModelConv {
    pub(crate) rows: Vec<Wanted>,
    is_event: Vec<bool>,
    first: HashMap<(u64, u64), u64>,
    blocks: BTreeSet<u64>,
    /// Of groups.
    pub(crate) group: Option<ModelGroup>,
    /// Before the first row of a room.
    pub(crate) base: u64,
}

#[derive(Clone)]
pub(crate) struct ModelGroup {
    pub(crate) channel: bool,
    pub(crate) members: BTreeSet<u64>,
}

/// What a log comes to.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) convs: BTreeMap<Conv, ModelConv>,
    /// Entries of each user, in the order of the one log that they come from.
    pub(crate) inboxes: BTreeMap<u64, Vec<Wanted>>,
    told: HashMap<(u64, Conv, u64), u64>,
}

impl Model {
    pub(crate) fn apply(&mut self, record: &LogRecord) {
        let from = record.from;
        match record.body.as_ref() {
            Some(Body::Direct(message)) => {
                let conv = Conv::direct(from, message.peer);
                self.message(record, conv, op::SEND_MSG, message.quiet, &message.body);
            }
            Some(Body::Group(message)) => {
                self.message(record, Conv::Group(message.group), op::SEND_MSG, message.quiet, &message.body);
            }
            Some(Body::Change(change)) => self.change(record, change),
            Some(Body::Recall(recall)) => {
                if let Some(conv) = Conv::of_frame(recall.kind as u16, recall.conv, from) {
                    self.recall(record, conv, recall.conv_pos, recall.id);
                }
            }
            Some(Body::Read(mark)) => {
                if let Some(conv) = Conv::of_frame(mark.kind as u16, mark.conv, from) {
                    self.read(record, conv, mark.conv_pos, mark.silent);
                }
            }
            Some(Body::Block(mark)) => {
                let blocks = &mut self.convs.entry(Conv::direct(from, mark.peer)).or_default().blocks;
                let changes = if mark.blocked { blocks.insert(from) } else { blocks.remove(&from) };
                if changes {
                    let conv = Some(Conv::direct(from, mark.peer));
                    self.tell(&[from], &inline(record, from, conv, event::blocked(mark.blocked)));
                }
            }
            Some(Body::Notice(notice)) => {
                let mids: BTreeSet<u64> = notice.mids.iter().copied().collect();
                let wanted =
                    Wanted { kind: kind::NOTICE, op: notice.op, flags: 0, ..inline(record, from, None, notice.body.clone()) };
                self.tell(&mids.into_iter().collect::<Vec<_>>(), &wanted);
            }
            Some(Body::Room(message)) => {
                let conv = Conv::Room(perseid_protocol::room::room_hash(&message.room));
                let base = ((record.ts_ms / 1_000) << 20) - 1;
                let known = self.convs.entry(conv).or_default();
                if known.rows.is_empty() {
                    known.base = base;
                }
                if self.is_first(record, conv) {
                    let pos = self.next_pos(conv);
                    let row =
                        Wanted { kind: kind::ROOM, flags: 0, op: message.op, ..row(record, conv, pos, message.body.clone()) };
                    self.append(record, conv, row, false);
                }
            }
            None => {}
        }
    }

    fn key(record: &LogRecord) -> u64 {
        match &record.body {
            Some(Body::Change(_) | Body::Recall(_)) if record.idem == 0 => record.id,
            _ => record.idem,
        }
    }

    fn is_first(&self, record: &LogRecord, conv: Conv) -> bool {
        let key = (record.from, Self::key(record));
        key.1 == 0 || !self.convs.get(&conv).is_some_and(|known| known.first.contains_key(&key))
    }

    fn next_pos(&self, conv: Conv) -> u64 {
        self.convs.get(&conv).map_or(1, |known| known.base + known.rows.len() as u64 + 1)
    }

    fn append(&mut self, record: &LogRecord, conv: Conv, row: Wanted, is_event: bool) {
        let known = self.convs.entry(conv).or_default();
        known.first.insert((record.from, Self::key(record)), row.conv_pos);
        known.rows.push(row);
        known.is_event.push(is_event);
    }

    fn tell(&mut self, mids: &[u64], wanted: &Wanted) {
        for mid in mids {
            self.inboxes.entry(*mid).or_default().push(wanted.clone());
        }
    }

    fn reject(&mut self, record: &LogRecord, conv: Conv, reason: Rejection) {
        if record.from != 0 {
            let kind = if matches!(conv, Conv::Direct { .. }) { kind::DIRECT } else { kind::GROUP };
            let wanted = inline(record, 0, Some(conv), event::rejected(kind, record.idem, reason));
            self.tell(&[record.from], &wanted);
        }
    }

    fn group(&self, conv: Conv) -> Option<&ModelGroup> {
        self.convs.get(&conv)?.group.as_ref()
    }

    /// Who gets what happens there now, and its kind; `None`: there is no such group.
    fn audience(&self, conv: Conv) -> Option<(ConvKind, Vec<u64>)> {
        match conv {
            Conv::Direct { lo, hi } => Some((ConvKind::Direct, if lo == hi { vec![lo] } else { vec![lo, hi] })),
            Conv::Group(_) => self.group(conv).map(|group| {
                let members = group.members.iter().copied().collect();
                if group.channel { (ConvKind::Channel, Vec::new()) } else { (ConvKind::Group, members) }
            }),
            Conv::Room(_) => None,
        }
    }

    fn message(&mut self, record: &LogRecord, conv: Conv, op: i32, quiet: bool, body: &Bytes) {
        if !self.is_first(record, conv) {
            return;
        }
        let Some((kind, audience)) = self.audience(conv) else {
            return self.reject(record, conv, Rejection::NoGroup);
        };
        let flags = if quiet { flag::QUIET } else { 0 };
        let wanted = Wanted { kind: kind.to_frame(), op, flags, ..row(record, conv, self.next_pos(conv), body.clone()) };
        self.append(record, conv, wanted.clone(), false);
        self.tell(&audience, &wanted);
    }

    fn event(&mut self, record: &LogRecord, conv: Conv, audience: &[u64], body: Bytes) {
        let wanted = Wanted { kind: kind::EVENT, cid: 0, ..row(record, conv, self.next_pos(conv), body) };
        self.append(record, conv, wanted.clone(), true);
        self.tell(audience, &wanted);
    }

    fn recall(&mut self, record: &LogRecord, conv: Conv, pos: u64, id: u64) {
        if !self.is_first(record, conv) {
            return;
        }
        let Some((kind, audience)) = self.audience(conv) else {
            return self.reject(record, conv, Rejection::NoGroup);
        };
        let known = self.convs.entry(conv).or_default();
        let at = pos.wrapping_sub(1) as usize;
        match known.rows.get_mut(at).filter(|row| row.id == id) {
            Some(row) if !known.is_event[at] => {
                if row.flags & flag::GONE == 0 {
                    (row.flags, row.body) = (row.flags | flag::GONE, Bytes::new());
                    self.event(record, conv, &audience, event::recall(kind, pos, id));
                }
            }
            _ => self.reject(record, conv, Rejection::NoMessage),
        }
    }

    fn read(&mut self, record: &LogRecord, conv: Conv, pos: u64, silent: bool) {
        let by = record.from;
        let Some(kind) = conv_kind_said(record) else { return };
        let (mut mids, direct) = match conv {
            Conv::Direct { lo, hi } => (vec![lo, hi], true),
            _ => (vec![by], false),
        };
        mids.dedup();
        for mid in mids.into_iter().filter(|mid| direct || *mid == by) {
            let told = self.told.entry((mid, conv, by)).or_insert(0);
            if !silent && pos > *told {
                *told = pos;
                self.tell(&[mid], &inline(record, by, Some(conv), event::read(kind, pos)));
            }
        }
    }

    fn change(&mut self, record: &LogRecord, change: &GroupChange) {
        let conv = Conv::Group(change.group);
        if !self.is_first(record, conv) {
            return;
        }
        let what = GroupChangeKind::try_from(change.kind).unwrap();
        let before = self.group(conv).cloned();
        let channel = what == GroupChangeKind::Put && change.channel;
        let was = match (&before, what) {
            (Some(group), GroupChangeKind::Put) if group.channel != channel => {
                return self.reject(record, conv, Rejection::OtherKind);
            }
            (None, GroupChangeKind::Put) => ModelGroup { channel, members: BTreeSet::new() },
            (None, _) => return self.reject(record, conv, Rejection::NoGroup),
            (Some(group), _) => group.clone(),
        };
        let mut after = was.clone();
        let kind = if was.channel { ConvKind::Channel } else { ConvKind::Group };
        match what {
            GroupChangeKind::Put => after.members = change.add.iter().copied().collect(),
            GroupChangeKind::Members => {
                after.members.extend(&change.add);
                change.remove.iter().for_each(|mid| _ = after.members.remove(mid));
            }
            GroupChangeKind::Convert => after.channel = true,
            GroupChangeKind::Delete => after.members.clear(),
        }
        let joined: Vec<u64> = after.members.difference(&was.members).copied().collect();
        let left: Vec<u64> = was.members.difference(&after.members).copied().collect();
        let pos = self.next_pos(conv);
        let body = match what {
            GroupChangeKind::Members if joined.is_empty() && left.is_empty() => return,
            GroupChangeKind::Convert if was.channel => return,
            GroupChangeKind::Put | GroupChangeKind::Members => event::members(kind, &joined, &left, pos),
            GroupChangeKind::Convert => event::convert(),
            GroupChangeKind::Delete => event::deleted(kind),
        };
        let audience: Vec<u64> = was.members.union(&after.members).copied().collect();
        self.event(record, conv, if was.channel { &[] } else { &audience }, body);
        self.convs.entry(conv).or_default().group = (what != GroupChangeKind::Delete).then_some(after);
    }
}

fn conv_kind_said(record: &LogRecord) -> Option<ConvKind> {
    match &record.body {
        Some(Body::Read(mark)) => ConvKind::from_frame(mark.kind as u16),
        _ => None,
    }
}

fn row(record: &LogRecord, conv: Conv, conv_pos: u64, body: Bytes) -> Wanted {
    let LogRecord { id, from, idem, .. } = *record;
    Wanted { id, from, cid: idem, kind: 0, op: op::SEND_MSG, flags: flag::QUIET, conv: Some(conv), conv_pos, body }
}

fn inline(record: &LogRecord, from: u64, conv: Option<Conv>, body: Bytes) -> Wanted {
    let (kind, op, flags) = (kind::EVENT, op::SEND_MSG, flag::QUIET);
    Wanted { id: record.id, from, cid: 0, kind, op, flags, conv, conv_pos: 0, body }
}
