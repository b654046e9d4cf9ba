//! What a log may hold: generated histories.

use bytes::Bytes;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::step::{Change, ConvOp};

use crate::dice::Dice;

/// Users: also such as no 63 bits hold.
pub(crate) const MIDS: [u64; 9] = [1, 2, 3, 4, 5, 6, 1 << 53, 1 << 63, u64::MAX];
pub(crate) const GROUPS: [u64; 4] = [1, 7, 1 << 63, u64::MAX];
pub(crate) const ROOMS: [u64; 2] = [3, u64::MAX];
const START_MS: u64 = 1_700_000_000_000;

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Op(ConvOp),
    /// `by` has read the chat or group up to here.
    Read {
        offset: u64,
        ts_ms: u64,
        id: u64,
        conv: Conv,
        by: u64,
        pos: u64,
        told: bool,
    },
    /// To some users, without a timeline.
    Notice {
        offset: u64,
        ts_ms: u64,
        id: u64,
        mids: Vec<u64>,
        body: Bytes,
    },
}

impl Record {
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::Op(op) => op.offset,
            Self::Read { offset, .. } | Self::Notice { offset, .. } => *offset,
        }
    }
}

fn some_mids(dice: &mut Dice) -> Vec<u64> {
    (0..dice.below(6)).map(|_| dice.pick(&MIDS)).collect()
}

fn text(dice: &mut Dice) -> Bytes {
    vec![b'a' + dice.below(26) as u8; dice.below(40) as usize].into()
}

fn group_change(dice: &mut Dice) -> Change {
    match dice.below(12) {
        0..=4 => {
            let (channel, owner) = (dice.one_in(5), dice.pick(&MIDS));
            Change::Put { channel, owner, name: format!("name {}", dice.below(5)).into(), members: some_mids(dice) }
        }
        5..=9 => Change::Members { add: some_mids(dice), remove: some_mids(dice) },
        10 => Change::Convert,
        _ => Change::Delete,
    }
}

/// An operation in a conversation. `heads`: about where conversations stand.
fn op(dice: &mut Dice, offset: u64, ts_ms: u64, sent: &[ConvOp]) -> ConvOp {
    let from = dice.pick(&MIDS);
    let conv = match dice.below(10) {
        0..=4 => Conv::direct(from, dice.pick(&MIDS)),
        5..=8 => Conv::Group(dice.pick(&GROUPS)),
        _ => Conv::Room(dice.pick(&ROOMS)),
    };
    let change = match (conv, dice.below(20)) {
        (Conv::Room(_), _) => Change::RoomFrame { op: 1_000, body: text(dice), keep: 3 + dice.below(20) as u32 },
        (Conv::Direct { .. }, 0) => Change::Block { blocked: dice.one_in(2) },
        (Conv::Group(_), 0..=5) => group_change(dice),
        (_, 6..=7) if !sent.is_empty() => {
            let known = &sent[dice.below(sent.len() as u64) as usize];
            return recall(dice, offset, ts_ms, known);
        }
        _ => Change::Message { op: if dice.one_in(8) { -5 } else { 4 }, quiet: dice.one_in(4), body: text(dice) },
    };
    let idems = dice.pick(&[1, 8, u64::MAX]);
    let idem = if dice.one_in(4) { 0 } else { dice.below(idems).saturating_add(1) };
    let expires_at_ms = expiry(offset, ts_ms);
    ConvOp { offset, conv, id: offset << 22, ts_ms, from, idem, hash: dice.below(3), expires_at_ms, change }
}

/// Some messages are too late for their readers one day. Takes no number of the dice, so that histories stay what they were.
pub(crate) const fn expiry(offset: u64, ts_ms: u64) -> u64 {
    if offset.is_multiple_of(5) { ts_ms + offset } else { 0 }
}

/// Takes back something that may be there.
fn recall(dice: &mut Dice, offset: u64, ts_ms: u64, known: &ConvOp) -> ConvOp {
    let change = Change::Recall { pos: dice.below(30), id: known.id };
    let (conv, from, expires_at_ms) = (known.conv, known.from, 0);
    ConvOp { offset, conv, id: offset << 22, ts_ms, from, idem: 0, hash: 0, expires_at_ms, change }
}

/// A log of so many records; offsets have gaps, some records stand in it twice.
pub(crate) fn history(dice: &mut Dice, len: usize) -> Vec<Record> {
    let (mut records, mut sent): (Vec<Record>, Vec<ConvOp>) = (Vec::new(), Vec::new());
    let (mut offset, mut ts_ms) = (0, START_MS);
    while records.len() < len {
        offset += 1 + dice.below(3);
        ts_ms += dice.below(100_000) + if dice.one_in(60) { 2 * 3_600_000 } else { 0 };
        let jittered = ts_ms - dice.below(60_000);
        let record = match dice.below(12) {
            0 => {
                let by = dice.pick(&MIDS);
                let conv = if dice.one_in(2) { Conv::Group(dice.pick(&GROUPS)) } else { Conv::direct(by, dice.pick(&MIDS)) };
                Record::Read { offset, ts_ms, id: offset << 22, conv, by, pos: dice.below(20), told: !dice.one_in(3) }
            }
            1 => {
                let mids: std::collections::BTreeSet<u64> = some_mids(dice).into_iter().collect();
                Record::Notice { offset, ts_ms, id: offset << 22, mids: mids.into_iter().collect(), body: text(dice) }
            }
            2 if !sent.is_empty() => {
                // What was sent twice, or is sent again much later.
                let again = sent[dice.below(sent.len() as u64) as usize].clone();
                Record::Op(ConvOp { offset, ts_ms: jittered, ..again })
            }
            _ => Record::Op(op(dice, offset, jittered, &sent)),
        };
        if let Record::Op(op) = &record {
            sent.push(op.clone());
        }
        records.push(record);
    }
    records
}
