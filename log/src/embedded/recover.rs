//! Opening: finds the end of the log and tells an interrupted write from damage.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{self, Disk, Purpose};
use super::segment::{self, HEADER_BYTES, Segment, segment_path};
use crate::record::{Parsed, RECORD_BYTES_MIN, begins_write_at, parse};
use crate::{LogError, Offset};

/// A log as it was found, its torn tail cut.
pub(super) struct Recovered {
    /// At least one, ascending.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Where the next record goes in the last segment.
    pub(super) tail: u64,
    /// The offset of the next record.
    pub(super) next: Offset,
    pub(super) torn_bytes: u64,
}

/// What a segment holds after its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the last write with a good record began.
    pub(super) last_write: u64,
    /// Where the good records end.
    pub(super) tail: u64,
    /// The offset that would come next.
    pub(super) next: Offset,
    pub(super) end: End,
}

/// What is found where the good records end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Zeros only.
    Clean,
    /// Bytes up to this position, none of which proves that the place before was ever durable.
    Torn { up_to: u64, found: &'static str },
    /// A later write exists, so what should be here was durable once.
    Damaged { found: &'static str },
}

/// Opens the segments of `dir`, `None` if there are none. `consumed` is the largest stored offset of any
/// consumer: such an offset was durable, so it must be there.
pub(super) fn recover(dir: &Path, disk: &dyn Disk, consumed: Option<(&str, Offset)>) -> Result<Option<Recovered>, LogError> {
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    for first in segment::list(dir)? {
        let segment = Segment::open(segment_path(dir, first), first)?;
        if let Some(before) = segments.last() {
            check_chain(before, &segment)?;
        }
        segments.push(Arc::new(segment));
    }
    let Some(last) = segments.last() else {
        return match consumed {
            Some((consumer, stored)) if stored > 0 => {
                Err(LogError::ConsumerAhead { consumer: consumer.to_owned(), stored, end: 0 })
            }
            _ => Ok(None),
        };
    };
    let bytes = last.read_all()?;
    let scan = scan(&bytes, last.header.salt, last.first());
    let seen = consumed.is_some_and(|(_, stored)| stored >= scan.next);
    let torn_bytes = match (&scan.end, consumed) {
        (End::Damaged { found }, _) => return Err(damaged(last, scan.tail, scan.next, found)),
        (End::Torn { found, .. }, _) if seen => return Err(damaged(last, scan.tail, scan.next, found)),
        (End::Clean, Some((consumer, stored))) if seen => {
            return Err(LogError::ConsumerAhead { consumer: consumer.to_owned(), stored, end: scan.next - 1 });
        }
        (End::Torn { up_to, .. }, _) => {
            disk::zero(disk, &last.file, scan.tail, *up_to).map_err(LogError::io("cut the torn tail of", &last.path))?;
            up_to - scan.tail
        }
        (End::Clean, _) => 0,
    };
    make_durable(dir, disk, last, &bytes, &scan).map_err(LogError::io("make durable", &last.path))?;
    Ok(Some(Recovered { tail: scan.tail, next: scan.next, torn_bytes, segments }))
}

/// Writes the last write once more and syncs it. It may be in the page cache only: the process was killed before
/// the sync, or the sync failed, after which the kernel takes the pages for clean and another sync does nothing.
/// From here on its records count as durable.
fn make_durable(dir: &Path, disk: &dyn Disk, last: &Segment, bytes: &[u8], scan: &Scan) -> io::Result<()> {
    let written = bytes.get(scan.last_write as usize..scan.tail as usize).unwrap_or_default();
    disk::write_all(disk, Purpose::Records, &last.file, written, scan.last_write)?;
    disk.sync(Purpose::Records, &last.file)?;
    segment::sync_dir(dir)
}

/// Walks the records of one segment. Pure.
pub(super) fn scan(bytes: &[u8], salt: u32, first: Offset) -> Scan {
    let mut tail = HEADER_BYTES as usize;
    let mut last_write = tail as u64;
    let mut next = first;
    let found = loop {
        let rest = bytes.get(tail..).unwrap_or_default();
        match parse(rest, salt) {
            Parsed::Record(record) if record.head.offset == next => {
                if record.head.begins_write {
                    last_write = tail as u64;
                }
                tail += record.value.end;
                next += 1;
            }
            // Its checksum is right, so it was written, but not for this place.
            Parsed::Record(_) => {
                let end = End::Damaged { found: "a record with another offset" };
                return Scan { last_write, tail: tail as u64, next, end };
            }
            Parsed::Zeros if is_zero(rest) => return Scan { last_write, tail: tail as u64, next, end: End::Clean },
            Parsed::Zeros => break "zeros before other bytes",
            Parsed::Short(_) => break "a record that is cut off",
            Parsed::Bad(found) => break found,
        }
    };
    let end = if later_write(&bytes[tail..], salt, next) {
        End::Damaged { found }
    } else {
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(tail, |last| last + 1);
        End::Torn { up_to: used.max(tail) as u64, found }
    };
    Scan { last_write, tail: tail as u64, next, end }
}

/// Whether a write that began after the record `missing` was synced left anything in `bytes`.
fn later_write(bytes: &[u8], salt: u32, missing: Offset) -> bool {
    let most = (bytes.len() / RECORD_BYTES_MIN) as u64;
    let offsets = missing.saturating_add(1)..missing.saturating_add(most).saturating_add(1);
    (1..bytes.len()).any(|at| begins_write_at(&bytes[at..], salt, &offsets))
}

fn is_zero(bytes: &[u8]) -> bool {
    // By blocks: a byte at a time would cost tens of ms for a segment.
    const BLOCK: [u8; 4096] = [0; 4096];
    bytes.chunks(BLOCK.len()).all(|chunk| chunk == &BLOCK[..chunk.len()])
}

fn check_chain(before: &Segment, segment: &Segment) -> Result<(), LogError> {
    if segment.header.previous == before.first() {
        return Ok(());
    }
    Err(LogError::Damaged {
        segment: segment.path.clone(),
        position: 24,
        expected: segment.header.previous,
        found: format!("that the segment before starts with {}", before.first()),
        advice: format!(
            "The segment that starts with offset {} is missing; restore it from a backup, or move all older segments \
             away to give up their records",
            segment.header.previous
        ),
    })
}

fn damaged(segment: &Segment, position: u64, expected: Offset, found: &str) -> LogError {
    LogError::Damaged {
        segment: segment.path.clone(),
        position,
        expected,
        found: found.to_owned(),
        advice: format!(
            "Records from {expected} on were acknowledged. Restore the log's directory from a backup; or, to give \
             them up, cut the file there (truncate -s {position}), and delete the consumers' offsets and what was \
             projected from this log if they are ahead of it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;
    use crate::record::{Head, encode};

    const SALT: u32 = 77;

    /// A segment of records given as (begins a write, value), and where each starts.
    fn segment(records: &[(bool, &[u8])]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0xff; HEADER_BYTES as usize];
        let mut starts = Vec::new();
        for (index, (begins_write, value)) in records.iter().enumerate() {
            starts.push(bytes.len());
            let head = Head { offset: 10 + index as u64, ts_ms: 5, topic: Topic::Push, begins_write: *begins_write };
            encode(&mut bytes, SALT, &head, b"k", value);
        }
        bytes.resize(bytes.len() + 10_000, 0);
        (bytes, starts)
    }

    #[test]
    fn clean_end_with_and_without_zeros() {
        let (mut bytes, starts) = segment(&[(true, b"a"), (true, b"b"), (true, b"c")]);
        let end = Scan { last_write: starts[2] as u64, tail: (starts[2] + 29) as u64, next: 13, end: End::Clean };
        assert_eq!(scan(&bytes, SALT, 10), end);
        bytes.truncate(starts[2] + 29);
        assert_eq!(scan(&bytes, SALT, 10), end);
    }

    #[test]
    fn a_write_torn_at_any_byte_is_cut() {
        let (whole, starts) = segment(&[(true, b"one"), (true, b"two"), (false, b"three"), (false, b"four")]);
        let end = starts[3] + 28 + 4;
        for cut in starts[1]..end {
            let expect_tail = *starts.iter().rfind(|&&start| start <= cut).unwrap() as u64;
            let mut zeroed = whole.clone();
            zeroed[cut..].fill(0);
            for bytes in [&zeroed[..], &whole[..cut]] {
                let scan = scan(bytes, SALT, 10);
                assert_eq!(scan.tail, expect_tail, "cut at {cut}");
                assert!(!matches!(scan.end, End::Damaged { .. }), "cut at {cut}: {scan:?}");
            }
        }
    }

    /// A disk may keep a later sector of an interrupted write and lose an earlier one.
    #[test]
    fn a_hole_within_the_last_write_is_torn_and_before_a_later_write_is_damage() {
        let records: [(bool, &[u8]); 4] = [(true, b"a"), (true, &[7; 600]), (false, &[8; 600]), (false, &[9; 600])];
        let (mut bytes, starts) = segment(&records);
        bytes[starts[1]..starts[2] + 5].fill(0);
        let torn = scan(&bytes, SALT, 10);
        assert_eq!((torn.last_write, torn.tail, torn.next), (starts[0] as u64, starts[1] as u64, 11));
        assert_eq!(torn.end, End::Torn { up_to: (starts[3] + 628) as u64, found: "zeros before other bytes" });

        let mut records = records;
        records[3].0 = true;
        let (mut bytes, starts) = segment(&records);
        bytes[starts[1]..starts[2] + 5].fill(0);
        let damaged = scan(&bytes, SALT, 10);
        assert_eq!(damaged.end, End::Damaged { found: "zeros before other bytes" });
        assert_eq!((damaged.tail, damaged.next), (starts[1] as u64, 11));
    }

    #[test]
    fn any_flipped_bit_before_a_later_write_is_damage_at_its_record() {
        let (whole, starts) = segment(&[(true, b"a"), (false, b"bb"), (false, b"c"), (true, b"later")]);
        for bit in starts[0] * 8..starts[3] * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let scan = scan(&bytes, SALT, 10);
            let at = starts.iter().rposition(|&start| start <= bit / 8).unwrap();
            assert!(matches!(scan.end, End::Damaged { .. }), "bit {bit}: {scan:?}");
            assert_eq!((scan.tail, scan.next), (starts[at] as u64, 10 + at as u64), "bit {bit}");
        }
    }

    #[test]
    fn a_record_inside_a_value_is_no_proof_without_the_salt() {
        let mut crafted = Vec::new();
        let head = Head { offset: 12, ts_ms: 5, topic: Topic::Push, begins_write: true };
        encode(&mut crafted, 0, &head, b"", b"x");
        let (mut bytes, starts) = segment(&[(true, b"a"), (true, &crafted)]);
        bytes[starts[1] + 4] ^= 1;
        assert!(matches!(scan(&bytes, SALT, 10).end, End::Torn { .. }));
    }

    #[test]
    fn records_of_another_place_are_damage() {
        let (bytes, _) = segment(&[(true, b"a")]);
        assert!(matches!(scan(&bytes, SALT, 11).end, End::Damaged { .. }));
    }
}
