//! Rows of timelines.

use bytes::Bytes;
use perseid_protocol::frame::{flag, kind};
use perseid_protocol::operation::op;

use super::{Reader, Writer, bad_row};
use crate::stored::conv::{Conv, ConvKind};
use crate::stored::kv::Broken;
use crate::stored::read::{Message, shown_cid};

const META: u8 = 1;

/// Bits of a row's second byte; the low three are the kind of the conversation.
mod bit {
    pub(super) const KIND: u8 = 0x07;
    pub(super) const QUIET: u8 = 0x08;
    pub(super) const GONE: u8 = 0x10;
    pub(super) const EVENT: u8 = 0x20;
    /// The operation is not SEND_MSG, and follows.
    pub(super) const OP: u8 = 0x40;
    /// It went to the inboxes of the members at its position.
    pub(super) const INBOXES: u8 = 0x80;
}

/// What stands at a position of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimelineRow {
    /// Where the record stands in the log.
    pub(crate) offset: u64,
    pub(crate) id: u64,
    pub(crate) ts_ms: u64,
    pub(crate) from: u64,
    pub(crate) idem: u64,
    pub(crate) hash: u64,
    /// What the conversation is at that position.
    pub(crate) kind: ConvKind,
    pub(crate) op: i32,
    pub(crate) quiet: bool,
    pub(crate) gone: bool,
    pub(crate) event: bool,
    pub(crate) inboxes: bool,
    /// Too late from then on, unix ms; 0: never.
    pub(crate) expires_at_ms: u64,
    pub(crate) body: Bytes,
}

impl TimelineRow {
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bits = (self.kind.to_frame() as u8) & bit::KIND;
        let with_op = self.op != op::SEND_MSG;
        let set = [
            (self.quiet, bit::QUIET),
            (self.gone, bit::GONE),
            (self.event, bit::EVENT),
            (with_op, bit::OP),
            (self.inboxes, bit::INBOXES),
        ];
        for (_, bit) in set.into_iter().filter(|(is_set, _)| *is_set) {
            bits |= bit;
        }
        let mut row = Writer::of_message(self.expires_at_ms, 48 + self.body.len());
        row.byte(bits);
        if with_op {
            row.int(self.op);
        }
        row.small(self.offset).wide(self.id).small(self.ts_ms).small(self.from).wide(self.idem);
        if self.idem != 0 {
            row.wide(self.hash);
        }
        row.rest(&self.body).finish()
    }

    fn parse(row: Bytes) -> Option<Self> {
        let (mut reader, expires_at_ms) = Reader::of_message(row)?;
        let bits = reader.byte()?;
        let has = |bit: u8| bits & bit != 0;
        let kind = ConvKind::from_frame(u16::from(bits & bit::KIND))?;
        let op = if has(bit::OP) { reader.int()? } else { op::SEND_MSG };
        let (offset, id, ts_ms) = (reader.small()?, reader.wide()?, reader.small()?);
        let (from, idem) = (reader.small()?, reader.wide()?);
        let hash = if idem == 0 { 0 } else { reader.wide()? };
        let (quiet, gone, event, inboxes) = (has(bit::QUIET), has(bit::GONE), has(bit::EVENT), has(bit::INBOXES));
        let body = reader.rest();
        Some(Self { offset, id, ts_ms, from, idem, hash, kind, op, quiet, gone, event, inboxes, expires_at_ms, body })
    }

    pub(crate) fn from_bytes(row: Bytes) -> Result<Self, Broken> {
        Self::parse(row).ok_or_else(|| bad_row("timeline"))
    }

    /// As somebody reads it.
    pub(crate) fn into_message(self, conv: Conv, conv_pos: u64) -> Message {
        let mut shown = if self.gone { flag::GONE } else { 0 };
        if self.quiet {
            shown |= flag::QUIET;
        }
        let cid = shown_cid(self.event, self.from, self.op, self.idem);
        let frame_kind = if self.event { kind::EVENT } else { self.kind.to_frame() };
        Message {
            pos: 0,
            id: self.id,
            ts_ms: self.ts_ms,
            conv: Some(conv),
            conv_pos,
            from: self.from,
            cid,
            kind: frame_kind,
            op: self.op,
            flags: shown,
            body: self.body,
            expires_at_ms: self.expires_at_ms,
        }
    }
}

/// What is known of a timeline besides its rows; not there while nothing was trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimelineMeta {
    /// Oldest position still kept.
    pub(crate) floor: u64,
    /// The newest position when this was written, and its id: what counts when no row is left.
    pub(crate) head: u64,
    pub(crate) id: u64,
}

impl TimelineMeta {
    pub(crate) fn to_bytes(self) -> Bytes {
        Writer::new(META, 24).small(self.floor).small(self.head).wide(self.id).finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, META)?;
            let meta = Self { floor: reader.small()?, head: reader.small()?, id: reader.wide()? };
            reader.end(meta)
        };
        parse().ok_or_else(|| bad_row("floor of a timeline"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn row() -> TimelineRow {
        TimelineRow {
            offset: 300,
            id: 0x0102_0304_0506_0708,
            ts_ms: 5,
            from: 7,
            idem: 3,
            hash: 4,
            kind: ConvKind::Direct,
            op: op::SEND_MSG,
            quiet: false,
            gone: false,
            event: false,
            inboxes: false,
            expires_at_ms: 0,
            body: "hi".into(),
        }
    }

    /// These bytes may never change: they are on disks.
    #[test]
    fn golden() {
        let plain = "0101ac0201020304050607080507".to_owned() + "0000000000000003" + "0000000000000004" + "6869";
        assert_eq!(hex(&row().to_bytes()), plain);
        let event = TimelineRow {
            op: 1000,
            event: true,
            quiet: true,
            inboxes: true,
            gone: true,
            kind: ConvKind::Group,
            idem: 0,
            hash: 0,
            ..row()
        };
        let wanted = "01fa000003e8ac02".to_owned() + "01020304050607080507" + "0000000000000000" + "6869";
        assert_eq!(hex(&event.to_bytes()), wanted);
        let mortal = TimelineRow { expires_at_ms: 300, ..row() };
        assert_eq!(hex(&mortal.to_bytes()), "02ac02".to_owned() + &plain[2..]);
        for row in [row(), event, mortal] {
            assert_eq!(TimelineRow::from_bytes(row.to_bytes()), Ok(row));
        }
        let meta = TimelineMeta { floor: 2, head: 200, id: 3 };
        assert_eq!(hex(&meta.to_bytes()), "0102c8010000000000000003");
        assert_eq!(TimelineMeta::from_bytes(&meta.to_bytes()), Ok(meta));
    }

    #[test]
    fn what_is_no_row() {
        let bytes = row().to_bytes();
        for cut in 0..bytes.len() - 2 {
            assert!(TimelineRow::from_bytes(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        assert!(TimelineRow::from_bytes(Bytes::from_static(&[1, 0])).is_err(), "kind 0");
    }

    #[test]
    fn a_cid_is_shown_only_where_a_client_chose_it() {
        let conv = Conv::direct(7, 8);
        assert_eq!(row().into_message(conv, 1).cid, 3);
        assert_eq!(TimelineRow { from: 0, ..row() }.into_message(conv, 1).cid, 0);
        assert_eq!(TimelineRow { op: 1_000, ..row() }.into_message(conv, 1).cid, 0);
        let event = TimelineRow { event: true, quiet: true, ..row() }.into_message(conv, 1);
        assert_eq!((event.cid, event.kind, event.flags), (0, kind::EVENT, flag::QUIET));
    }
}
