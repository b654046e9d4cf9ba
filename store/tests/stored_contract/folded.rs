//! Generated histories, applied in batches, again and from anywhere, and compared with the fold.

use std::collections::BTreeMap;

use perseid_store::stored::conv::{Conv, ConvKind};
use perseid_store::stored::read::{OutOfRange, PageBound, Pull, PullError, PullFrom};
use perseid_store::stored::step::{Change, ConvDone, ConvOp, ConvOutcome, Prepare, Step, StepError, UserDone, UserItem};
use perseid_store::stored::{Retention, Store, StoredConfig};

use crate::bench::{EPOCH, now};
use crate::dice::Dice;
use crate::history::{GROUPS, MIDS, ROOMS, Record};
use crate::model::{Kept, Model, Row};

/// Settings under which much is trimmed.
pub(crate) fn tight() -> (StoredConfig, Kept) {
    let retention = Retention { inbox_rows_max: 40, timeline_rows_max: 12, ..Retention::default() };
    (StoredConfig { retention, dedupe_bytes_max: 600, ..StoredConfig::default() }, Kept { timeline: 12, inbox: 40 })
}

/// What came of each record when it was applied first.
pub(crate) struct Fold {
    pub(crate) model: Model,
    outcomes: BTreeMap<u64, ConvOutcome>,
    positions: BTreeMap<(u64, u64), u64>,
    folded: u64,
}

impl Fold {
    pub(crate) fn new(kept: Kept) -> Self {
        Self { model: Model::new(kept), outcomes: BTreeMap::new(), positions: BTreeMap::new(), folded: 0 }
    }

    /// Folds records that were not folded before.
    pub(crate) fn fold(&mut self, records: &[Record]) {
        for record in records.iter().filter(|record| record.offset() > self.folded) {
            let outcome = match record {
                Record::Op(op) => Some(self.model.apply(op)),
                Record::Read { .. } | Record::Notice { .. } => None,
            };
            for item in Model::items(record, outcome.as_ref()) {
                let pos = self.model.user(&item);
                self.positions.insert((item.offset, item.mid), pos);
            }
            if let Some(outcome) = outcome {
                self.outcomes.insert(record.offset(), outcome);
            }
        }
        self.folded = records.last().map_or(self.folded, |record| record.offset().max(self.folded));
    }

    fn check_conv(&self, op: &ConvOp, done: &ConvDone) {
        let wanted = &self.outcomes[&op.offset];
        assert_eq!(done.offset, op.offset);
        if !done.fresh && done.outcome == ConvOutcome::Old {
            // Only what is trimmed may not be found again.
            let ConvOutcome::Row { pos, .. } = wanted else { panic!("{op:?} was {wanted:?} and is not found again") };
            assert!(*pos < self.model.chats[&op.conv].floor, "{op:?} is there and not found again");
        } else {
            assert_eq!(&done.outcome, wanted, "{op:?}, fresh: {}", done.fresh);
        }
    }

    fn check_user(&self, item: &UserItem, done: &UserDone) {
        let wanted = self.positions[&(item.offset, item.mid)];
        let is_trimmed = !done.fresh && wanted < self.model.users[&item.mid].floor;
        assert_eq!((done.offset, done.mid), (item.offset, item.mid));
        assert!(done.pos == wanted || (is_trimmed && done.pos == 0), "{item:?}: {done:?}, not {wanted}");
    }

    /// Applies records to a store as a job does, and compares what it says.
    pub(crate) fn apply<S: Store>(&mut self, store: &S, records: &[Record]) {
        self.fold(records);
        let Some(last) = records.last().map(Record::offset) else { return };
        let loaded = now(store.load(0)).unwrap();
        let (prev, boot) = (0, loaded.boot);
        let mut ops = BTreeMap::<u32, Vec<ConvOp>>::new();
        for record in records {
            if let Record::Op(op) = record {
                ops.entry(store.conv_bucket(op.conv)).or_default().push(op.clone());
            }
        }
        for (bucket, items) in ops {
            let step = Step { partition: 0, bucket, boot, prev, last, items };
            let done = patiently(|| now(store.conv(step.clone())));
            assert_eq!(done.len(), step.items.len());
            step.items.iter().zip(&done).for_each(|(op, done)| self.check_conv(op, done));
        }
        let mut items = BTreeMap::<u32, Vec<UserItem>>::new();
        for record in records {
            for item in Model::items(record, self.outcomes.get(&record.offset())) {
                items.entry(store.user_bucket(item.mid)).or_default().push(item);
            }
        }
        for (bucket, items) in items {
            let step = Step { partition: 0, bucket, boot, prev, last, items };
            let done = patiently(|| now(store.user(step.clone(), false)));
            assert_eq!(done.len(), step.items.len());
            step.items.iter().zip(&done).for_each(|(item, done)| self.check_user(item, done));
        }
    }
}

fn patiently<T>(mut step: impl FnMut() -> Result<T, StepError>) -> T {
    loop {
        match step() {
            Err(StepError::Busy) => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}

/// Makes a new store ready.
pub(crate) fn prepare<S: Store>(store: &S) {
    let loaded = now(store.load(0)).unwrap();
    let renewed = loaded.buckets.iter().filter(|state| state.epoch.is_none()).map(|state| (state.bucket, EPOCH)).collect();
    now(store.prepare(Prepare { partition: 0, boot: loaded.boot, shown: 0, renewed })).unwrap();
}

/// A bound that a page may have, small or large.
fn bound(dice: &mut Dice) -> PageBound {
    let messages_max = dice.pick(&[0, 1, 2, 7, 200, usize::MAX]);
    PageBound { messages_max, bytes_max: dice.pick(&[0, 100, 400, 1 << 20, usize::MAX]) }
}

/// Reads everything, and compares it.
pub(crate) fn compare<S: Store>(store: &S, model: &Model, dice: &mut Dice) {
    MIDS.iter().for_each(|mid| compare_inbox(store, model, *mid, dice));
    let direct = MIDS.iter().flat_map(|one| MIDS.iter().map(|other| Conv::direct(*one, *other)));
    let groups = GROUPS.iter().map(|id| Conv::Group(*id)).chain(ROOMS.iter().map(|hash| Conv::Room(*hash)));
    direct.chain(groups).for_each(|conv| compare_conv(store, model, conv, dice));
    MIDS.iter().for_each(|mid| compare_lists(store, model, *mid, dice));
}

fn compare_inbox<S: Store>(store: &S, model: &Model, mid: u64, dice: &mut Dice) {
    let user = model.users.get(&mid).cloned().unwrap_or_else(|| crate::model::User { floor: 1, ..Default::default() });
    let (head, floor) = (user.inbox.len() as u64, user.floor);
    let view = now(store.inbox(mid)).unwrap();
    assert_eq!((view.head, view.floor, view.epoch), (head, floor, EPOCH), "inbox of {mid}");
    assert_eq!(now(store.sync(mid, head + 1, bound(dice))).unwrap(), Err(OutOfRange::AboveHead(view)));
    assert_eq!(now(store.sync(mid, u64::MAX, bound(dice))).unwrap(), Err(OutOfRange::AboveHead(view)));
    if floor > 2 {
        assert_eq!(now(store.sync(mid, floor - 2, bound(dice))).unwrap(), Err(OutOfRange::TooOld(view)));
    }
    let mut after = 0;
    let mut next = floor;
    loop {
        let bound = bound(dice);
        let page = now(store.sync(mid, after, bound)).unwrap().unwrap();
        assert!(page.messages.len() <= bound.messages_max.max(1));
        let bytes: usize = page.messages.iter().map(|message| 72 + message.body.len()).sum();
        assert!(bytes <= bound.bytes_max || page.messages.len() == 1);
        for message in page.messages {
            let wanted = &user.inbox[next as usize - 1];
            let row = wanted.conv.and_then(|conv| model.chats.get(&conv).map(|chat| (chat, chat.rows.get(&wanted.conv_pos))));
            let (is_gone, body, expires_at_ms) = match row {
                Some((chat, Some(row))) if row.gone || wanted.conv_pos < chat.floor => (true, bytes::Bytes::new(), 0),
                Some((_, Some(row))) => (false, row.body.clone(), expiry_of(row)),
                _ => (false, wanted.inline.clone().unwrap_or_default(), wanted.expires_at_ms),
            };
            let flags = wanted.flags | if is_gone { 4 } else { 0 };
            assert_eq!(
                (message.pos, message.id, message.flags, &message.body),
                (next, wanted.id, flags, &body),
                "inbox of {mid}"
            );
            assert_eq!((message.from, message.cid, message.kind, message.op), (wanted.from, wanted.cid, wanted.kind, wanted.op));
            assert_eq!((message.conv, message.conv_pos, message.ts_ms), (wanted.conv, wanted.conv_pos, wanted.ts_ms));
            assert_eq!(message.expires_at_ms, expires_at_ms, "inbox of {mid}, {next}");
            after = message.pos;
            next += 1;
        }
        assert_eq!(page.more, next <= head);
        if !page.more {
            break;
        }
    }
    assert_eq!(next, head + 1);
    if head >= floor {
        let pos = floor + dice.below(head - floor + 1);
        let id = user.inbox[pos as usize - 1].id;
        // What was sent again much later has the same id and another position.
        let newest = user.inbox.iter().rposition(|row| row.id == id).map(|index| index as u64 + 1);
        assert_eq!(now(store.find(mid, id, usize::MAX)), Ok(newest));
    }
    assert_eq!(now(store.find(mid, 1, usize::MAX)), Ok(None));
}

/// Events are never too late.
fn expiry_of(row: &Row) -> u64 {
    if row.event { 0 } else { row.op.expires_at_ms }
}

fn compare_conv<S: Store>(store: &S, model: &Model, conv: Conv, dice: &mut Dice) {
    let chat = model.chats.get(&conv).cloned().unwrap_or_else(|| crate::model::Chat { floor: 1, ..Default::default() });
    let head = chat.rows.last_key_value().map_or(0, |(pos, _)| *pos);
    assert_eq!(now(store.head(conv)), Ok(head), "{conv:?}");
    compare_group(store, &chat, conv, head);
    for (pos, row) in &chat.rows {
        let stored = now(store.row(conv, *pos)).unwrap();
        assert_eq!(stored.is_some(), *pos >= chat.floor, "{conv:?} {pos}");
        let Some(stored) = stored else { continue };
        let by_client = matches!(row.op.change, Change::Message { op: 4, .. }) && row.op.from != 0;
        let cid = if row.event || !by_client { 0 } else { row.op.idem };
        assert_eq!(
            (stored.id, stored.from, stored.cid, &stored.body),
            (row.op.id, row.op.from, cid, &row.body),
            "{conv:?} {pos}"
        );
        assert_eq!(stored.flags & 4 != 0, row.gone);
        assert_eq!(stored.expires_at_ms, expiry_of(row), "{conv:?} {pos}");
        assert_eq!(stored.kind, if row.event { 5 } else { row.kind.to_frame() });
    }
    let reader = dice.pick(&MIDS);
    let since_joined = dice.one_in(2);
    let pull = |from, bound| now(store.pull(Pull { conv, reader, from, since_joined, bound })).unwrap();
    let may = match conv {
        Conv::Direct { lo, hi } => reader == lo || reader == hi,
        Conv::Room(_) => true,
        Conv::Group(_) => chat.group.as_ref().is_some_and(|group| group.members.contains_key(&reader)),
    };
    if !may {
        assert_eq!(pull(PullFrom::After(0), bound(dice)), Err(PullError::NotMember));
        return;
    }
    let joined = chat.group.as_ref().and_then(|group| group.members.get(&reader)).copied().filter(|_| since_joined);
    let floor = chat.floor.max(joined.unwrap_or(0)).min(head + 1);
    assert_eq!(pull(PullFrom::After(head + 1), bound(dice)), Err(PullError::AboveHead { head }));
    assert_eq!(pull(PullFrom::After(u64::MAX), bound(dice)), Err(PullError::AboveHead { head }));
    assert_eq!(pull(PullFrom::Before(u64::MAX), bound(dice)), Err(PullError::AboveHead { head }));
    if floor > 2 {
        assert_eq!(pull(PullFrom::After(floor - 2), bound(dice)), Err(PullError::TooOld { floor, head }));
        assert_eq!(pull(PullFrom::Before(floor - 1), bound(dice)), Err(PullError::TooOld { floor, head }));
    }
    let wanted: Vec<u64> = (floor..=head).collect();
    let (mut forward, mut from) = (Vec::new(), PullFrom::After(0));
    loop {
        let page = pull(from, bound(dice)).unwrap();
        assert_eq!((page.head, page.floor), (head, floor));
        forward.extend(page.messages.iter().map(|message| message.conv_pos));
        from = PullFrom::After(forward.last().copied().unwrap_or(0));
        if !page.more {
            break;
        }
    }
    assert_eq!(forward, wanted, "{conv:?}");
    let (mut backward, mut from) = (Vec::new(), PullFrom::Before(0));
    loop {
        let page = pull(from, bound(dice)).unwrap();
        backward = page.messages.iter().map(|message| message.conv_pos).chain(backward).collect();
        from = PullFrom::Before(backward.first().copied().unwrap_or(0));
        if !page.more {
            break;
        }
    }
    assert_eq!(backward, wanted, "{conv:?}");
}

fn compare_group<S: Store>(store: &S, chat: &crate::model::Chat, conv: Conv, head: u64) {
    if let Conv::Direct { lo, hi } = conv {
        assert_eq!(now(store.is_blocked(lo, hi)), Ok(chat.blocks.contains(&lo)));
        assert_eq!(now(store.is_blocked(hi, lo)), Ok(chat.blocks.contains(&hi)));
    }
    let Conv::Group(id) = conv else { return };
    let view = now(store.group(id)).unwrap();
    assert_eq!(view.is_some(), chat.group.is_some(), "{conv:?}");
    let (Some(view), Some(group)) = (view, &chat.group) else { return };
    let kind = if group.channel { ConvKind::Channel } else { ConvKind::Group };
    let members: Vec<u64> = group.members.keys().copied().collect();
    assert_eq!((view.kind, view.owner, &view.name, view.head), (kind, group.owner, &group.name, head));
    assert_eq!((view.members, view.version), (members, group.version));
    for mid in MIDS {
        assert_eq!(now(store.is_member(id, mid)), Ok(group.members.contains_key(&mid)));
    }
}

fn compare_lists<S: Store>(store: &S, model: &Model, mid: u64, dice: &mut Dice) {
    let Some(user) = model.users.get(&mid) else { return };
    let mut wanted: Vec<(u16, u64, u64, u64, u64)> = Vec::new();
    for conv in &user.convs {
        let Some(chat) = model.chats.get(conv) else { continue };
        let kind = match conv {
            Conv::Direct { .. } => 1,
            _ if chat.group.as_ref().is_none_or(|group| group.channel) => 3,
            _ => 2,
        };
        if kind != 1 && chat.group.is_none() {
            continue;
        }
        let (head, row) = chat.rows.last_key_value().unwrap();
        let read = user.reads.get(&(*conv, mid)).map_or(0, |read| read.0);
        wanted.push((kind, conv.seen_by(mid), *head, read, row.op.id));
    }
    wanted.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), (0, 0));
    loop {
        let page = now(store.heads(mid, after, None, 1 + dice.below(5) as usize)).unwrap();
        listed.extend(page.heads.iter().map(|head| (head.kind.to_frame(), head.conv, head.head, head.read, head.id)));
        after = listed.last().map_or((0, 0), |last| (last.0, last.1));
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, wanted, "conversations of {mid}");
    let channels = now(store.heads(mid, (0, 0), Some(ConvKind::Channel), 100)).unwrap().heads.len();
    assert_eq!(channels, wanted.iter().filter(|head| head.0 == 3).count());
    for ((conv, by), (read, told)) in &user.reads {
        assert_eq!(now(store.read_pos(mid, *conv, *by)), Ok(if *by == mid { *read } else { *told }), "{mid} {conv:?} {by}");
    }
}
