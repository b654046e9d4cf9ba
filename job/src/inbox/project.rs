//! From what became of a record in its conversation to what happens to users, and to what comets are told. Pure: a record and
//! its outcome always give the same.

use std::sync::Arc;

use bytes::Bytes;
use perseid_protocol::frame::{flag, kind};
use perseid_protocol::operation::op;
use perseid_rpc::log_record::Body;
use perseid_rpc::{LogRecord, Notice, ReadMark};
use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::event;
use perseid_store::stored::read::shown_cid;
use perseid_store::stored::step::{Change, ConvDone, ConvOp, ConvOutcome, Effect, Entry, Recipients, Rejection, UserItem};

use super::meaning::conv_named;
use super::show::{Hint, Shown, What, room_frame};

/// A record that makes sense.
pub(super) struct Meant {
    /// Where it stands in the log.
    pub(super) offset: u64,
    /// What it says.
    pub(super) record: LogRecord,
}

/// Adds what happens to users to `items`, ascending by user for one record; gives what comets are told of it.
pub(super) fn project(meant: &Meant, in_conv: Option<(&ConvOp, &ConvDone)>, items: &mut Vec<UserItem>) -> Option<Shown> {
    let what = match (in_conv, &meant.record.body) {
        (Some((op, done)), _) => of_outcome(meant, op, done, items),
        (None, Some(Body::Notice(notice))) => of_notice(meant, notice, items),
        (None, Some(Body::Read(mark))) => of_read(meant, mark, items),
        (None, _) => None,
    };
    what.map(|what| Shown::new(meant.offset, &meant.record, what))
}

fn of_outcome(meant: &Meant, op: &ConvOp, done: &ConvDone, items: &mut Vec<UserItem>) -> Option<What> {
    match &done.outcome {
        ConvOutcome::Row { .. } => of_row(meant, op, done, items),
        ConvOutcome::Done => of_block(meant, op, items),
        ConvOutcome::Rejected(reason) => of_rejection(meant, op.conv, *reason, items),
        // The first one told everybody, or there is nothing to tell.
        ConvOutcome::Duplicate { .. } | ConvOutcome::Nothing | ConvOutcome::Old => None,
    }
}

fn of_row(meant: &Meant, conv_op: &ConvOp, done: &ConvDone, items: &mut Vec<UserItem>) -> Option<What> {
    let ConvOutcome::Row { pos, kind, event, recipients, joined, left } = &done.outcome else { return None };
    if *kind == ConvKind::Room {
        // A second time it would be shown twice; who missed it sees the jump of the next one.
        return if done.fresh { room_frame(&meant.record, *pos) } else { None };
    }
    let (op, quiet, body) = match (&conv_op.change, event) {
        (_, Some(event)) => (op::SEND_MSG, true, event.clone()),
        (Change::Message { op, quiet, body }, None) => (*op, *quiet, body.clone()),
        // Every other change is an event.
        (_, None) => (op::SEND_MSG, true, Bytes::new()),
    };
    let entry = Arc::new(Entry {
        id: conv_op.id,
        ts_ms: conv_op.ts_ms,
        from: conv_op.from,
        cid: shown_cid(event.is_some(), conv_op.from, op, conv_op.idem),
        kind: if event.is_some() { kind::EVENT } else { kind.to_frame() },
        op,
        flags: if quiet { flag::QUIET } else { 0 },
        conv: Some(conv_op.conv),
        conv_pos: *pos,
        inline: None,
        // Events are told whenever they are read.
        expires_at_ms: if event.is_some() { 0 } else { conv_op.expires_at_ms },
    });
    put_row(meant.offset, &entry, conv_op, recipients, [joined, left], items);
    Some(if matches!(recipients, Recipients::Nobody) && *kind == ConvKind::Channel {
        What::Channel(Hint { group: conv_op.conv.seen_by(0), pos: *pos, id: conv_op.id })
    } else {
        What::Inbox { entry, body }
    })
}

fn put_row(
    offset: u64,
    entry: &Arc<Entry>,
    op: &ConvOp,
    recipients: &Recipients,
    changed: [&Arc<[u64]>; 2],
    items: &mut Vec<UserItem>,
) {
    // The system (0) has no inbox.
    let mut put = |mid, entry: Option<&Arc<Entry>>, effect| {
        if mid != 0 {
            items.push(UserItem { offset, mid, entry: entry.cloned(), effect });
        }
        items.len()
    };
    let first = put(0, None, Effect::None);
    let last = match recipients {
        Recipients::Nobody => first,
        Recipients::Pair(one, other) => {
            let effect = if matches!(op.change, Change::Message { .. }) { Effect::Has(op.conv) } else { Effect::None };
            let last = put(*one, Some(entry), effect);
            if other == one { last } else { put(*other, Some(entry), effect) }
        }
        Recipients::Members(members) => members.iter().map(|mid| put(*mid, Some(entry), Effect::None)).last().unwrap_or(first),
    };
    let [joined, left] = changed;
    let joined = joined.iter().map(|mid| (*mid, Effect::Has(op.conv)));
    for (mid, effect) in joined.chain(left.iter().map(|mid| (*mid, Effect::HasNot(op.conv)))).filter(|(mid, _)| *mid != 0) {
        // Members come ascending: a channel may have very many.
        match items[first..last].binary_search_by_key(&mid, |item| item.mid) {
            Ok(at) => items[first + at].effect = effect,
            Err(_) => items.push(UserItem { offset, mid, entry: None, effect }),
        }
    }
}

fn of_block(meant: &Meant, conv_op: &ConvOp, items: &mut Vec<UserItem>) -> Option<What> {
    let Change::Block { blocked } = conv_op.change else { return None };
    let entry = inline_event(meant, Some(conv_op.conv), meant.record.from, event::blocked(blocked));
    put_one(meant, meant.record.from, &entry, Effect::None, items)
}

fn of_rejection(meant: &Meant, conv: Conv, reason: Rejection, items: &mut Vec<UserItem>) -> Option<What> {
    let kind = if matches!(conv, Conv::Direct { .. }) { kind::DIRECT } else { kind::GROUP };
    // By the system.
    let entry = inline_event(meant, Some(conv), 0, event::rejected(kind, meant.record.idem, reason));
    put_one(meant, meant.record.from, &entry, Effect::None, items)
}

fn of_notice(meant: &Meant, notice: &Notice, items: &mut Vec<UserItem>) -> Option<What> {
    let LogRecord { id, ts_ms, from, expire_at_ms: expires_at_ms, .. } = meant.record;
    let entry = Arc::new(Entry {
        id,
        ts_ms,
        from,
        cid: 0,
        kind: kind::NOTICE,
        op: notice.op,
        flags: 0,
        conv: None,
        conv_pos: 0,
        inline: Some(notice.body.clone()),
        expires_at_ms,
    });
    let mut mids = notice.mids.clone();
    mids.sort_unstable();
    mids.dedup();
    let to = mids.into_iter().filter(|mid| *mid != 0);
    let (offset, effect) = (meant.offset, Effect::None);
    items.extend(to.map(|mid| UserItem { offset, mid, entry: Some(Arc::clone(&entry)), effect }));
    Some(What::Inbox { entry, body: notice.body.clone() })
}

fn of_read(meant: &Meant, mark: &ReadMark, items: &mut Vec<UserItem>) -> Option<What> {
    let by = meant.record.from;
    let conv = conv_named(mark.kind, mark.conv, by).ok()?;
    let kind = ConvKind::from_frame(u16::try_from(mark.kind).ok()?)?;
    let effect = Effect::Read { conv, by, pos: mark.conv_pos, told: !mark.silent };
    let entry = inline_event(meant, Some(conv), by, event::read(kind, mark.conv_pos));
    let peer = (matches!(conv, Conv::Direct { .. }) && mark.conv != by).then_some(mark.conv);
    for mid in [Some(by), peer].into_iter().flatten().filter(|mid| *mid != 0) {
        let entry = (!mark.silent).then(|| Arc::clone(&entry));
        items.push(UserItem { offset: meant.offset, mid, entry, effect });
    }
    let body = entry.inline.clone()?;
    Some(What::Inbox { entry, body })
}

/// An event without a place in a timeline.
fn inline_event(meant: &Meant, conv: Option<Conv>, from: u64, body: Bytes) -> Arc<Entry> {
    let LogRecord { id, ts_ms, .. } = meant.record;
    let (kind, op, flags, expires_at_ms) = (kind::EVENT, op::SEND_MSG, flag::QUIET, 0);
    Arc::new(Entry { id, ts_ms, from, cid: 0, kind, op, flags, conv, conv_pos: 0, inline: Some(body), expires_at_ms })
}

fn put_one(meant: &Meant, mid: u64, entry: &Arc<Entry>, effect: Effect, items: &mut Vec<UserItem>) -> Option<What> {
    if mid == 0 {
        return None;
    }
    items.push(UserItem { offset: meant.offset, mid, entry: Some(Arc::clone(entry)), effect });
    Some(What::Inbox { entry: Arc::clone(entry), body: entry.inline.clone()? })
}

#[cfg(test)]
mod tests;
