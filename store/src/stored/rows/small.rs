//! The other rows: attributes, members, guards, cursors, read positions, what came of records.

use bytes::Bytes;

use super::{Reader, Writer, bad_row};
use crate::stored::conv::ConvKind;
use crate::stored::kv::Broken;
use crate::stored::read::DeviceCursor;

const FORMAT: u8 = 1;

/// A row that is one number.
pub(crate) fn number(value: u64) -> Bytes {
    Writer::new(FORMAT, 10).small(value).finish()
}

/// Reads [`number`].
pub(crate) fn read_number(row: &Bytes) -> Result<u64, Broken> {
    let parse = || {
        let mut reader = Reader::new(row, FORMAT)?;
        let value = reader.small()?;
        reader.end(value)
    };
    parse().ok_or_else(|| bad_row("number"))
}

/// What a bucket has applied of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// The last offset.
    pub(crate) offset: u64,
    /// The life of the store in which that was written.
    pub(crate) boot: u64,
    /// E: up to here positions may have been shown, and been lost since.
    pub(crate) shown: u64,
}

impl Guard {
    pub(crate) fn to_bytes(self) -> Bytes {
        Writer::new(FORMAT, 30).small(self.offset).wide(self.boot).small(self.shown).finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, FORMAT)?;
            let guard = Self { offset: reader.small()?, boot: reader.wide()?, shown: reader.small()? };
            reader.end(guard)
        };
        parse().ok_or_else(|| bad_row("guard"))
    }
}

/// What a conversation is: of groups and channels all, of direct chats who blocks whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attrs {
    pub(crate) kind: ConvKind,
    /// The group is there; else it was deleted.
    pub(crate) alive: bool,
    pub(crate) lo_blocks: bool,
    pub(crate) hi_blocks: bool,
    pub(crate) owner: u64,
    pub(crate) name: Box<str>,
    /// Position of the last change of members.
    pub(crate) version: u64,
    /// Who was a member below this position is not known any more.
    pub(crate) members_floor: u64,
}

impl Attrs {
    /// Of a conversation of which nothing special is known.
    pub(crate) fn plain(kind: ConvKind) -> Self {
        let (alive, lo_blocks, hi_blocks) = (false, false, false);
        Self { kind, alive, lo_blocks, hi_blocks, owner: 0, name: "".into(), version: 0, members_floor: 0 }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        let bits = (self.kind.to_frame() as u8) << 4
            | u8::from(self.alive)
            | u8::from(self.lo_blocks) << 1
            | u8::from(self.hi_blocks) << 2;
        let mut row = Writer::new(FORMAT, 32 + self.name.len());
        row.byte(bits).small(self.owner).small(self.version).small(self.members_floor);
        row.rest(self.name.as_bytes()).finish()
    }

    fn parse(row: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(row, FORMAT)?;
        let bits = reader.byte()?;
        let kind = ConvKind::from_frame(u16::from(bits >> 4))?;
        let (owner, version, members_floor) = (reader.small()?, reader.small()?, reader.small()?);
        let name = std::str::from_utf8(&reader.rest()).ok()?.into();
        let (alive, lo_blocks, hi_blocks) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        Some(Self { kind, alive, lo_blocks, hi_blocks, owner, name, version, members_floor })
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        Self::parse(row).ok_or_else(|| bad_row("attributes"))
    }
}

/// A time as a member: what came at `join` and after, up to `leave`, which belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) join: u64,
    /// 0: still.
    pub(crate) leave: u64,
    /// When that was, unix ms.
    pub(crate) left_ms: u64,
}

/// A member of a group, or somebody who was one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Ascending.
    pub(crate) intervals: Vec<Interval>,
}

impl Member {
    /// Since when he has been a member; `None`: he is none now.
    pub(crate) fn since(&self) -> Option<u64> {
        self.intervals.last().filter(|interval| interval.leave == 0).map(|interval| interval.join)
    }

    /// Whether he was one at this position.
    pub(crate) fn at(&self, pos: u64) -> bool {
        self.intervals.iter().any(|interval| interval.join <= pos && (interval.leave == 0 || pos <= interval.leave))
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut row = Writer::new(FORMAT, 24 * self.intervals.len());
        for interval in &self.intervals {
            row.small(interval.join).small(interval.leave).small(interval.left_ms);
        }
        row.finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, FORMAT)?;
            let mut intervals = Vec::new();
            while !reader.is_empty() {
                intervals.push(Interval { join: reader.small()?, leave: reader.small()?, left_ms: reader.small()? });
            }
            Some(Self { intervals })
        };
        parse().ok_or_else(|| bad_row("member"))
    }
}

/// What came of a record that has no row in the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutcomeRow {
    /// 1 done, 2 duplicate, 3 nothing, 4 and above: rejected, and why.
    pub(crate) what: u8,
    /// When the record was accepted, unix ms.
    pub(crate) ts_ms: u64,
    /// Of a duplicate: the first one.
    pub(crate) id: u64,
    pub(crate) pos: u64,
}

impl OutcomeRow {
    pub(crate) fn to_bytes(self) -> Bytes {
        Writer::new(FORMAT, 30).byte(self.what).small(self.ts_ms).wide(self.id).small(self.pos).finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, FORMAT)?;
            let outcome = Self { what: reader.byte()?, ts_ms: reader.small()?, id: reader.wide()?, pos: reader.small()? };
            reader.end(outcome)
        };
        parse().ok_or_else(|| bad_row("outcome"))
    }
}

/// What dedupe needs of a row that is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrimmedRow {
    pub(crate) ts_ms: u64,
    pub(crate) offset: u64,
    pub(crate) id: u64,
    pub(crate) from: u64,
    pub(crate) idem: u64,
    pub(crate) hash: u64,
}

impl TrimmedRow {
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut row = Writer::new(FORMAT, 48);
        row.small(self.ts_ms).small(self.offset).wide(self.id).small(self.from).wide(self.idem).wide(self.hash).finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, FORMAT)?;
            let (ts_ms, offset, id) = (reader.small()?, reader.small()?, reader.wide()?);
            let row = Self { ts_ms, offset, id, from: reader.small()?, idem: reader.wide()?, hash: reader.wide()? };
            reader.end(row)
        };
        parse().ok_or_else(|| bad_row("dedupe"))
    }
}

/// What has been read of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadRow {
    pub(crate) read: u64,
    /// What the devices were told.
    pub(crate) told: u64,
}

impl ReadRow {
    pub(crate) fn to_bytes(self) -> Bytes {
        Writer::new(FORMAT, 20).small(self.read).small(self.told).finish()
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        let parse = || {
            let mut reader = Reader::new(row, FORMAT)?;
            let read = Self { read: reader.small()?, told: reader.small()? };
            reader.end(read)
        };
        parse().ok_or_else(|| bad_row("read position"))
    }
}

/// The devices of a user in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursors {
    /// The cursors belong to it; in another one they are nothing.
    pub(crate) epoch: u64,
    pub(crate) devices: Vec<DeviceCursor>,
}

impl Cursors {
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut row = Writer::new(FORMAT, 32 * self.devices.len() + 8);
        row.small(self.epoch);
        for device in &self.devices {
            row.small(device.pos).small(device.seen_ms).counted(device.device.as_bytes());
        }
        row.finish()
    }

    fn parse(row: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(row, FORMAT)?;
        let epoch = reader.small()?;
        let mut devices = Vec::new();
        while !reader.is_empty() {
            let (pos, seen_ms) = (reader.small()?, reader.small()?);
            let device = std::str::from_utf8(&reader.counted()?).ok()?.into();
            devices.push(DeviceCursor { device, pos, seen_ms });
        }
        Some(Self { epoch, devices })
    }

    pub(crate) fn from_bytes(row: &Bytes) -> Result<Self, Broken> {
        Self::parse(row).ok_or_else(|| bad_row("cursors"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// These bytes may never change: they are on disks.
    #[test]
    fn golden() {
        assert_eq!(hex(&number(300)), "01ac02");
        assert_eq!(hex(&Guard { offset: 300, boot: 1, shown: 2 }.to_bytes()), "01ac02000000000000000102");
        let attrs = Attrs {
            alive: true,
            hi_blocks: true,
            owner: 1,
            name: "é".into(),
            version: 2,
            members_floor: 3,
            ..Attrs::plain(ConvKind::Group)
        };
        assert_eq!(hex(&attrs.to_bytes()), "0125010203c3a9");
        let member =
            Member { intervals: vec![Interval { join: 1, leave: 2, left_ms: 3 }, Interval { join: 4, leave: 0, left_ms: 0 }] };
        assert_eq!(hex(&member.to_bytes()), "01010203040000");
        assert_eq!(hex(&OutcomeRow { what: 2, ts_ms: 1, id: 3, pos: 4 }.to_bytes()), "010201000000000000000304");
        let trimmed = TrimmedRow { ts_ms: 1, offset: 2, id: 3, from: 4, idem: 5, hash: 6 };
        assert_eq!(hex(&trimmed.to_bytes()), "01010200000000000000030400000000000000050000000000000006");
        assert_eq!(hex(&ReadRow { read: 1, told: 2 }.to_bytes()), "010102");
        let cursors = Cursors { epoch: 1, devices: vec![DeviceCursor { device: "web".into(), pos: 2, seen_ms: 3 }] };
        assert_eq!(hex(&cursors.to_bytes()), "0101020303776562");
        assert_eq!(Attrs::from_bytes(&attrs.to_bytes()), Ok(attrs));
        assert_eq!(Member::from_bytes(&member.to_bytes()), Ok(member));
        assert_eq!(TrimmedRow::from_bytes(&trimmed.to_bytes()), Ok(trimmed));
        assert_eq!(Cursors::from_bytes(&cursors.to_bytes()), Ok(cursors));
        assert_eq!(read_number(&number(u64::MAX)), Ok(u64::MAX));
    }

    #[test]
    fn what_is_no_row() {
        assert!(Attrs::from_bytes(&Bytes::from_static(&[1, 0, 0, 0, 0])).is_err(), "kind 0");
        assert!(Attrs::from_bytes(&Bytes::from_static(&[1, 0x10, 0, 0, 0, 0xff])).is_err(), "not UTF-8");
        assert!(Member::from_bytes(&Bytes::from_static(&[1, 1])).is_err());
        assert!(Cursors::from_bytes(&Bytes::from_static(&[1, 1, 1, 1, 9])).is_err());
        assert!(Guard::from_bytes(&number(1)).is_err() && ReadRow::from_bytes(&number(1)).is_err());
        assert!(OutcomeRow::from_bytes(&number(1)).is_err() && TrimmedRow::from_bytes(&number(1)).is_err());
        assert!(read_number(&Bytes::from_static(&[1, 1, 1])).is_err());
    }

    #[test]
    fn who_is_a_member_when() {
        let member =
            Member { intervals: vec![Interval { join: 3, leave: 5, left_ms: 1 }, Interval { join: 8, leave: 0, left_ms: 0 }] };
        let at: Vec<u64> = (1..10).filter(|pos| member.at(*pos)).collect();
        assert_eq!((at, member.since()), (vec![3, 4, 5, 8, 9], Some(8)));
        assert_eq!(Member::default().since(), None);
    }
}
