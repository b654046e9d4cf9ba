//! The independent fold of a log: everything kept whole, nothing clever. What a store says is compared with it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::step::{Change, ConvOp, ConvOutcome, Effect, Entry, Recipients, Rejection, UserItem};

use crate::history::Record;

const HOUR_MS: u64 = 3_600_000;

/// A row of a timeline.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) op: ConvOp,
    pub(crate) body: Bytes,
    pub(crate) gone: bool,
    pub(crate) event: bool,
    pub(crate) kind: ConvKind,
}

/// A conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chat {
    /// By position.
    pub(crate) rows: BTreeMap<u64, Row>,
    pub(crate) floor: u64,
    pub(crate) group: Option<Group>,
    pub(crate) blocks: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) channel: bool,
    pub(crate) owner: u64,
    pub(crate) name: Box<str>,
    /// With the position at which each joined.
    pub(crate) members: BTreeMap<u64, u64>,
    pub(crate) version: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    /// Position 1 first; nothing is ever taken out.
    pub(crate) inbox: Vec<Entry>,
    pub(crate) floor: u64,
    pub(crate) convs: BTreeSet<Conv>,
    /// (read, told) by conversation and reader.
    pub(crate) reads: BTreeMap<(Conv, u64), (u64, u64)>,
}

/// Rows kept of timelines and inboxes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) timeline: u64,
    pub(crate) inbox: u64,
}

pub(crate) struct Model {
    pub(crate) chats: BTreeMap<Conv, Chat>,
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) kept: Kept,
}

fn floor_after(floor: u64, head: u64, rows_max: u64) -> u64 {
    if head - floor >= rows_max + (rows_max / 8).min(64) { head - rows_max + 1 } else { floor }
}

impl Model {
    pub(crate) fn new(kept: Kept) -> Self {
        Self { chats: BTreeMap::new(), users: BTreeMap::new(), kept }
    }

    /// What becomes of an operation.
    pub(crate) fn apply(&mut self, op: &ConvOp) -> ConvOutcome {
        let chat = self.chats.entry(op.conv).or_insert_with(|| Chat { floor: 1, ..Chat::default() });
        let hour = |ts_ms: u64| ts_ms / HOUR_MS;
        let repeated = chat.rows.iter().find(|(_, row)| {
            let known = &row.op;
            op.idem != 0 && (known.from, known.idem) == (op.from, op.idem) && hour(known.ts_ms).abs_diff(hour(op.ts_ms)) <= 1
        });
        if let Some((pos, row)) = repeated {
            return ConvOutcome::Duplicate { id: row.op.id, pos: *pos };
        }
        let (kind, body, event, changed) = match chat.change(op) {
            Ok(changed) => changed,
            Err(outcome) => return outcome,
        };
        let first = if matches!(op.conv, Conv::Room(_)) { (op.ts_ms / 1_000) << 20 } else { 1 };
        let pos = chat.rows.last_key_value().map_or(first, |(pos, _)| pos + 1);
        if chat.rows.is_empty() {
            chat.floor = first;
        }
        let event_body = event.then(|| body.clone());
        chat.rows.insert(pos, Row { op: op.clone(), body, gone: false, event, kind });
        let rows_max = if let Change::RoomFrame { keep, .. } = op.change { u64::from(keep) } else { self.kept.timeline };
        chat.floor = floor_after(chat.floor, pos, rows_max);
        let Changed { recipients, joined, left } = changed;
        if let Some(group) = &mut chat.group {
            group.members.values_mut().filter(|since| **since == 0).for_each(|since| *since = pos);
        }
        ConvOutcome::Row { pos, kind, event: event_body, recipients, joined: joined.into(), left: left.into() }
    }

    /// What follows from a record at users.
    pub(crate) fn items(record: &Record, outcome: Option<&ConvOutcome>) -> Vec<UserItem> {
        match (record, outcome) {
            (Record::Op(op), Some(outcome)) => crate::bench::items(op, outcome),
            (Record::Op(_), None) => Vec::new(),
            (Record::Notice { offset, ts_ms, id, mids, body }, _) => {
                let entry = Entry {
                    id: *id,
                    ts_ms: *ts_ms,
                    from: 0,
                    cid: 0,
                    kind: 0,
                    op: 1_000,
                    flags: 0,
                    conv: None,
                    conv_pos: 0,
                    inline: Some(body.clone()),
                    expires_at_ms: crate::history::expiry(*offset, *ts_ms),
                };
                let entry = std::sync::Arc::new(entry);
                let item = |mid: &u64| UserItem { offset: *offset, mid: *mid, entry: Some(entry.clone()), effect: Effect::None };
                mids.iter().map(item).collect()
            }
            (Record::Read { offset, ts_ms, id, conv, by, pos, told }, _) => {
                let mut mids = BTreeSet::from([*by]);
                if let Conv::Direct { lo, hi } = conv {
                    mids.extend([*lo, *hi]);
                }
                let body = perseid_store::stored::event::read(ConvKind::Direct, *pos);
                let entry = Entry {
                    id: *id,
                    ts_ms: *ts_ms,
                    from: *by,
                    cid: 0,
                    kind: 5,
                    op: 4,
                    flags: 32,
                    conv: Some(*conv),
                    conv_pos: 0,
                    inline: Some(body),
                    expires_at_ms: 0,
                };
                let entry = std::sync::Arc::new(entry);
                let effect = Effect::Read { conv: *conv, by: *by, pos: *pos, told: *told };
                mids.into_iter().map(|mid| UserItem { offset: *offset, mid, entry: Some(entry.clone()), effect }).collect()
            }
        }
    }

    /// Applies an item; gives the position of its entry.
    pub(crate) fn user(&mut self, item: &UserItem) -> u64 {
        let kept = self.kept.inbox;
        let user = self.users.entry(item.mid).or_insert_with(|| User { floor: 1, ..User::default() });
        match item.effect {
            Effect::None => {}
            Effect::Has(conv) => drop(user.convs.insert(conv)),
            Effect::HasNot(conv) => drop(user.convs.remove(&conv)),
            Effect::Read { conv, by, pos, told } => {
                let by = if by == item.mid { by } else { conv.seen_by(item.mid) };
                let (read, was_told) = user.reads.entry((conv, by)).or_default();
                *read = pos.max(*read);
                if !told || pos <= *was_told {
                    return 0;
                }
                *was_told = pos;
            }
        }
        let Some(entry) = &item.entry else { return 0 };
        user.inbox.push(entry.as_ref().clone());
        let head = user.inbox.len() as u64;
        user.floor = floor_after(user.floor, head, kept);
        head
    }
}

struct Changed {
    recipients: Recipients,
    joined: Vec<u64>,
    left: Vec<u64>,
}

type Planned = (ConvKind, Bytes, bool, Changed);

fn list(mids: &[u64]) -> String {
    mids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

impl Chat {
    fn head(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(pos, _)| *pos)
    }

    fn kind(&self, conv: Conv) -> ConvKind {
        match (conv, &self.group) {
            (Conv::Direct { .. }, _) => ConvKind::Direct,
            (Conv::Room(_), _) => ConvKind::Room,
            (Conv::Group(_), Some(group)) if group.channel => ConvKind::Channel,
            (Conv::Group(_), _) => ConvKind::Group,
        }
    }

    fn all(&self, conv: Conv) -> Changed {
        let recipients = match (conv, &self.group) {
            (Conv::Direct { lo, hi }, _) => Recipients::Pair(lo, hi),
            (Conv::Group(_), Some(group)) if !group.channel => Recipients::Members(group.members.keys().copied().collect()),
            _ => Recipients::Nobody,
        };
        Changed { recipients, joined: Vec::new(), left: Vec::new() }
    }

    fn change(&mut self, op: &ConvOp) -> Result<Planned, ConvOutcome> {
        if matches!(op.conv, Conv::Group(_)) && self.group.is_none() && !matches!(op.change, Change::Put { .. }) {
            return Err(ConvOutcome::Rejected(Rejection::NoGroup));
        }
        let all = self.all(op.conv);
        let kind = self.kind(op.conv);
        match &op.change {
            Change::Message { body, .. } | Change::RoomFrame { body, .. } => Ok((kind, body.clone(), false, all)),
            Change::Recall { pos, id } => {
                let (floor, word) = (self.floor, kind.to_frame());
                let there = self.rows.get_mut(pos).filter(|row| *pos >= floor && row.op.id == *id && !row.event);
                let row = there.ok_or(ConvOutcome::Rejected(Rejection::NoMessage))?;
                if row.gone {
                    return Err(ConvOutcome::Nothing);
                }
                (row.gone, row.body) = (true, Bytes::new());
                let body = format!(r#"{{"type":"recall","kind":{word},"conv_pos":{pos},"id":"{id}"}}"#);
                Ok((kind, body.into(), true, all))
            }
            Change::Block { blocked } => {
                let changed = if *blocked { self.blocks.insert(op.from) } else { self.blocks.remove(&op.from) };
                Err(if changed { ConvOutcome::Done } else { ConvOutcome::Nothing })
            }
            Change::Put { channel, owner, name, members } => {
                if self.group.as_ref().is_some_and(|group| group.channel != *channel) {
                    return Err(ConvOutcome::Rejected(Rejection::OtherKind));
                }
                let before = self.group.take().map(|group| group.members).unwrap_or_default();
                let after = members.iter().map(|mid| (*mid, before.get(mid).copied().unwrap_or(0))).collect();
                let version = self.head() + 1;
                self.group = Some(Group { channel: *channel, owner: *owner, name: name.clone(), members: after, version });
                Ok(self.members_event(op, before))
            }
            Change::Members { add, remove } => {
                let version = self.head() + 1;
                let group = self.group.as_mut().ok_or(ConvOutcome::Nothing)?;
                let before = group.members.clone();
                for mid in add {
                    group.members.entry(*mid).or_insert(0);
                }
                for mid in remove {
                    group.members.remove(mid);
                }
                if group.members.keys().eq(before.keys()) {
                    return Err(ConvOutcome::Nothing);
                }
                group.version = version;
                Ok(self.members_event(op, before))
            }
            Change::Convert if kind == ConvKind::Channel => Err(ConvOutcome::Nothing),
            Change::Convert => {
                self.group.as_mut().ok_or(ConvOutcome::Nothing)?.channel = true;
                Ok((ConvKind::Channel, r#"{"type":"convert","kind":3}"#.into(), true, all))
            }
            Change::Delete => {
                let left = self.group.take().map(|group| group.members.into_keys().collect()).unwrap_or_default();
                let body = format!(r#"{{"type":"deleted","kind":{}}}"#, kind.to_frame());
                Ok((kind, body.into(), true, Changed { left, ..all }))
            }
        }
    }

    fn members_event(&self, op: &ConvOp, before: BTreeMap<u64, u64>) -> Planned {
        let kind = self.kind(op.conv);
        let after: BTreeSet<u64> = self.group.iter().flat_map(|group| group.members.keys().copied()).collect();
        let before: BTreeSet<u64> = before.into_keys().collect();
        let joined: Vec<u64> = after.difference(&before).copied().collect();
        let left: Vec<u64> = before.difference(&after).copied().collect();
        let all = before.union(&after).copied().collect();
        let recipients = if kind == ConvKind::Group { Recipients::Members(all) } else { Recipients::Nobody };
        let (add, remove, version) = (list(&joined), list(&left), self.head() + 1);
        let body =
            format!(r#"{{"type":"members","kind":{},"add":[{add}],"remove":[{remove}],"version":{version}}}"#, kind.to_frame());
        (kind, body.into(), true, Changed { recipients, joined, left })
    }
}
