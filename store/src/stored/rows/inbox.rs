//! Rows of inboxes: references to timelines; what has no timeline stands in them whole.

use bytes::Bytes;
use perseid_protocol::frame::flag;
use perseid_protocol::operation::op;

use super::{Reader, Writer, bad_row};
use crate::stored::conv::Conv;
use crate::stored::kv::Broken;
use crate::stored::read::Message;
use crate::stored::step::Entry;

const META: u8 = 1;

/// Bits of a row's second byte; the low three are the kind of the frame.
mod bit {
    pub(super) const KIND: u8 = 0x07;
    pub(super) const QUIET: u8 = 0x08;
    /// The operation is not SEND_MSG, and follows.
    pub(super) const OP: u8 = 0x10;
    /// A `cid` follows.
    pub(super) const CID: u8 = 0x20;
}

/// Bits of the third byte; the low three are the sort of the conversation, 0: none.
mod place {
    pub(super) const SORT: u8 = 0x07;
    /// The owner of the inbox sent it.
    pub(super) const FROM_OWNER: u8 = 0x08;
    /// What stands for the conversation is the sender too.
    pub(super) const FROM_CONV: u8 = 0x10;
}

/// What stands at a position of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ref {
    /// Where the record stands in the log.
    pub(crate) offset: u64,
    pub(crate) id: u64,
    pub(crate) ts_ms: u64,
    pub(crate) from: u64,
    pub(crate) cid: u64,
    pub(crate) kind: u16,
    pub(crate) op: i32,
    pub(crate) quiet: bool,
    pub(crate) conv: Option<Conv>,
    /// 0: the body stands in `inline`.
    pub(crate) conv_pos: u64,
    pub(crate) inline: Bytes,
    /// Too late from then on, unix ms; 0: never, or the timeline says it.
    pub(crate) expires_at_ms: u64,
}

const fn sort_of(conv: Option<Conv>) -> u8 {
    match conv {
        None => 0,
        Some(Conv::Direct { .. }) => 1,
        Some(Conv::Group(_)) => 2,
        Some(Conv::Room(_)) => 4,
    }
}

impl Ref {
    /// The row of `mid` for this entry.
    pub(crate) fn bytes_of(entry: &Entry, offset: u64, mid: u64) -> Bytes {
        let seen = entry.conv.map_or(0, |conv| conv.seen_by(mid));
        let inline = entry.inline.as_ref().filter(|_| entry.conv_pos == 0);
        let mut bits = (entry.kind as u8) & bit::KIND;
        let mut placed = sort_of(entry.conv);
        for (is_set, bit) in
            [(entry.flags & flag::QUIET != 0, bit::QUIET), (entry.op != op::SEND_MSG, bit::OP), (entry.cid != 0, bit::CID)]
        {
            bits |= if is_set { bit } else { 0 };
        }
        if entry.from == mid {
            placed |= place::FROM_OWNER;
        } else if entry.conv.is_some() && entry.from == seen {
            placed |= place::FROM_CONV;
        }
        // Of what has a place in a timeline that row says when it is too late.
        let expires_at_ms = inline.map_or(0, |_| entry.expires_at_ms);
        let mut row = Writer::of_message(expires_at_ms, 48 + inline.map_or(0, Bytes::len));
        row.byte(bits).byte(placed).small(offset).wide(entry.id).small(entry.ts_ms);
        if entry.conv.is_some() {
            row.small(seen).small(entry.conv_pos);
        }
        if placed & (place::FROM_OWNER | place::FROM_CONV) == 0 {
            row.small(entry.from);
        }
        if entry.cid != 0 {
            row.wide(entry.cid);
        }
        if entry.op != op::SEND_MSG {
            row.int(entry.op);
        }
        row.rest(inline.map_or(&[], |body| body.as_ref())).finish()
    }

    fn parse(row: Bytes, mid: u64) -> Option<Self> {
        let (mut reader, expires_at_ms) = Reader::of_message(row)?;
        let (bits, placed) = (reader.byte()?, reader.byte()?);
        let (offset, id, ts_ms) = (reader.small()?, reader.wide()?, reader.small()?);
        let sort = placed & place::SORT;
        let (seen, conv_pos) = if sort == 0 { (0, 0) } else { (reader.small()?, reader.small()?) };
        let conv = match sort {
            0 => None,
            1 => Some(Conv::direct(mid, seen)),
            2 => Some(Conv::Group(seen)),
            4 => Some(Conv::Room(seen)),
            _ => return None,
        };
        let from = match placed & (place::FROM_OWNER | place::FROM_CONV) {
            place::FROM_OWNER => mid,
            place::FROM_CONV => seen,
            _ => reader.small()?,
        };
        let cid = if bits & bit::CID == 0 { 0 } else { reader.wide()? };
        let op = if bits & bit::OP == 0 { op::SEND_MSG } else { reader.int()? };
        let (kind, quiet) = (u16::from(bits & bit::KIND), bits & bit::QUIET != 0);
        let inline = reader.rest();
        Some(Self { offset, id, ts_ms, from, cid, kind, op, quiet, conv, conv_pos, inline, expires_at_ms })
    }

    /// Reads a row of `mid`.
    pub(crate) fn from_bytes(row: Bytes, mid: u64) -> Result<Self, Broken> {
        Self::parse(row, mid).ok_or_else(|| bad_row("inbox"))
    }

    /// Where its body stands; `None`: here.
    pub(crate) fn place(&self) -> Option<(Conv, u64)> {
        self.conv.filter(|_| self.conv_pos != 0).map(|conv| (conv, self.conv_pos))
    }

    /// As its owner reads it, before its body was looked up.
    pub(crate) fn into_message(self, pos: u64) -> Message {
        Message {
            pos,
            id: self.id,
            ts_ms: self.ts_ms,
            conv: self.conv,
            conv_pos: self.conv_pos,
            from: self.from,
            cid: self.cid,
            kind: self.kind,
            op: self.op,
            flags: if self.quiet { flag::QUIET } else { 0 },
            body: self.inline,
            expires_at_ms: self.expires_at_ms,
        }
    }
}

/// What is known of an inbox besides its rows; not there while nothing was trimmed and no position was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxMeta {
    /// The user's own epoch, unix ms; 0: the bucket's.
    pub(crate) epoch: u64,
    /// Oldest position still kept.
    pub(crate) floor: u64,
    /// The newest position when this was written: what counts when no row is left.
    pub(crate) head: u64,
}

impl InboxMeta {
    pub(crate) fn to_bytes(self) -> Bytes {
        Writer::new(META, 24).small(self.epoch).small(self.floor).small(self.head).finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, META)?;
            let meta = Self { epoch: reader.small()?, floor: reader.small()?, head: reader.small()? };
            reader.end(meta)
        };
        parse().ok_or_else(|| bad_row("floor of an inbox"))
    }
}

#[cfg(test)]
mod tests {
    use perseid_protocol::frame::kind;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn entry() -> Entry {
        Entry {
            id: 0x0102_0304_0506_0708,
            ts_ms: 5,
            from: 7,
            cid: 3,
            kind: kind::DIRECT,
            op: op::SEND_MSG,
            flags: 0,
            conv: Some(Conv::direct(7, 9)),
            conv_pos: 2,
            inline: None,
            expires_at_ms: 0,
        }
    }

    /// These bytes may never change: they are on disks.
    #[test]
    fn golden() {
        let direct = entry();
        let tail = "ac02".to_owned() + "0102030405060708" + "05";
        assert_eq!(hex(&Ref::bytes_of(&direct, 300, 7)), "012109".to_owned() + &tail + "0902" + "0000000000000003");
        assert_eq!(hex(&Ref::bytes_of(&direct, 300, 9)), "012111".to_owned() + &tail + "0702" + "0000000000000003");
        let inline = Some(Bytes::from_static(b"hi"));
        let notice = Entry {
            kind: kind::NOTICE,
            op: 1000,
            cid: 0,
            from: 0,
            flags: flag::QUIET,
            conv: None,
            conv_pos: 0,
            inline,
            ..direct.clone()
        };
        assert_eq!(hex(&Ref::bytes_of(&notice, 300, 9)), "011800".to_owned() + &tail + "00" + "000003e8" + "6869");
        let mortal = Entry { expires_at_ms: 300, ..notice };
        assert_eq!(hex(&Ref::bytes_of(&mortal, 300, 9)), "02ac021800".to_owned() + &tail + "00" + "000003e8" + "6869");
        let elsewhere = Entry { expires_at_ms: 300, ..direct.clone() };
        assert_eq!(Ref::bytes_of(&elsewhere, 300, 9), Ref::bytes_of(&direct, 300, 9), "the timeline says it");
        let meta = InboxMeta { epoch: 1, floor: 2, head: 200 };
        assert_eq!(hex(&meta.to_bytes()), "010102c801");
        assert_eq!(InboxMeta::from_bytes(&meta.to_bytes()), Ok(meta));
    }

    #[test]
    fn entries_come_back() {
        let plain = entry();
        let event = Entry { kind: kind::EVENT, from: u64::MAX, conv_pos: 0, inline: Some("{}".into()), ..plain.clone() };
        let group = Entry { kind: kind::GROUP, conv: Some(Conv::Group(u64::MAX)), op: -1, cid: 0, ..plain.clone() };
        let own = Entry { conv: Some(Conv::direct(7, 7)), ..plain.clone() };
        let mortal = Entry { expires_at_ms: u64::MAX, ..event.clone() };
        for (entry, mid) in [(plain.clone(), 7), (plain, 9), (event, 9), (group, 9), (own, 7), (mortal, 9)] {
            let read = Ref::from_bytes(Ref::bytes_of(&entry, u64::MAX, mid), mid).unwrap();
            assert_eq!((read.offset, read.quiet), (u64::MAX, entry.flags != 0));
            let message = read.into_message(4);
            let inline = entry.inline.clone().unwrap_or_default();
            assert_eq!((message.pos, message.id, message.from, message.cid), (4, entry.id, entry.from, entry.cid));
            assert_eq!(
                (message.kind, message.op, message.conv, message.conv_pos),
                (entry.kind, entry.op, entry.conv, entry.conv_pos)
            );
            assert_eq!((message.body, message.ts_ms, message.expires_at_ms), (inline, entry.ts_ms, entry.expires_at_ms));
        }
    }

    #[test]
    fn what_is_no_row() {
        let bytes = Ref::bytes_of(&entry(), 300, 9);
        for cut in 0..bytes.len() {
            assert!(Ref::from_bytes(bytes.slice(..cut), 9).is_err(), "cut at {cut}");
        }
        assert!(Ref::from_bytes(Bytes::from_static(&[1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), 9).is_err());
    }
}
