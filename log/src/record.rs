//! The bytes of one record. The only file that knows their places.
//!
//! ```text
//! at  size  field      little-endian
//!  0  4     length     bytes after the crc: 19 + key + value; 0 = no record here
//!  4  4     crc        crc32c of length and of the bytes after the crc, started from the log's salt
//!  8  8     offset
//! 16  8     ts_ms      ms since 1970
//! 24  1     topic      bits 0–6 the topic; bit 7: this record begins a write
//! 25  2     key_bytes  0 to 1,024
//! 27  …     key
//!  …  …     value      0 to 2 MiB
//! ```
//!
//! **Bit 7 of the topic.** The writer starts a write only after the sync of the one before has returned. A
//! record with this bit therefore proves that all records before it were durable when it was written. After a
//! power failure a disk may keep later sectors of an interrupted write and lose earlier ones; without the bit
//! such a torn tail (never acknowledged, cut) would look like damage (acknowledged, refused), or the reverse.
//!
//! **The salt** is random per log and in every segment header. It keeps a value that happens to contain
//! (or was crafted to contain) the bytes of a record from being taken for one by the search after a bad place.

use std::ops::Range;

use crate::{Offset, Topic};

/// Largest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest value in bytes that the format allows.
pub const VALUE_BYTES_MAX: usize = 2 << 20;

/// Length and crc.
const PREFIX_BYTES: usize = 8;
/// Offset, ts_ms, topic, key_bytes.
const FIXED_BYTES: usize = 19;
const BODY_BYTES_MAX: usize = FIXED_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX;
const BEGINS_WRITE: u8 = 0x80;

/// Smallest encoded record.
pub(crate) const RECORD_BYTES_MIN: usize = PREFIX_BYTES + FIXED_BYTES;

/// Everything of a record but its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) offset: Offset,
    pub(crate) ts_ms: u64,
    pub(crate) topic: Topic,
    pub(crate) begins_write: bool,
}

/// A whole, valid record at the start of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) head: Head,
    /// Where the value is in the buffer; the record ends where the value ends.
    pub(crate) value: Range<usize>,
}

/// What the start of a buffer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Record(Found),
    /// A length of zero, or nothing at all.
    Zeros,
    /// The record needs this many bytes, the buffer has fewer.
    Short(usize),
    Bad(&'static str),
}

/// Bytes of a record on disk.
pub(crate) fn encoded_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    RECORD_BYTES_MIN + key_bytes + value_bytes
}

/// Appends a record to `out`. Key and value must be within their bounds (the log checks them first).
pub(crate) fn encode(out: &mut Vec<u8>, salt: u32, head: &Head, key: &[u8], value: &[u8]) {
    debug_assert!(key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX);
    // Both fit: the bounds above are far below u32 and u16.
    let length = ((FIXED_BYTES + key.len() + value.len()) as u32).to_le_bytes();
    let key_bytes = (key.len() as u16).to_le_bytes();
    let flag = if head.begins_write { BEGINS_WRITE } else { 0 };

    let start = out.len();
    out.reserve(encoded_bytes(key.len(), value.len()));
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.offset.to_le_bytes());
    out.extend_from_slice(&head.ts_ms.to_le_bytes());
    out.push(head.topic as u8 | flag);
    out.extend_from_slice(&key_bytes);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    let crc = checksum(salt, length, &out[start + PREFIX_BYTES..]);
    out[start + 4..start + PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the record at the start of `buffer`.
pub(crate) fn parse(buffer: &[u8], salt: u32) -> Parsed {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else {
        return if buffer.iter().all(|&byte| byte == 0) { Parsed::Zeros } else { Parsed::Short(RECORD_BYTES_MIN) };
    };
    let body_bytes = u32::from_le_bytes(*length) as usize;
    if body_bytes == 0 {
        return Parsed::Zeros;
    }
    if !(FIXED_BYTES..=BODY_BYTES_MAX).contains(&body_bytes) {
        return Parsed::Bad("an impossible length");
    }
    let short = Parsed::Short(PREFIX_BYTES + body_bytes);
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return short };
    let Some(body) = rest.get(..body_bytes) else { return short };
    if checksum(salt, *length, body) != u32::from_le_bytes(*crc) {
        return Parsed::Bad("a wrong checksum");
    }
    parse_body(body).map_or(Parsed::Bad("fields that contradict each other"), Parsed::Record)
}

/// Whether `buffer` starts with a record that begins a write and has an offset in `offsets`. For the search
/// after a bad place, so the cheap questions come first.
pub(crate) fn begins_write_at(buffer: &[u8], salt: u32, offsets: &Range<Offset>) -> bool {
    let Some(offset) = buffer.get(8..).and_then(<[u8]>::first_chunk::<8>) else { return false };
    if !offsets.contains(&u64::from_le_bytes(*offset)) {
        return false;
    }
    matches!(parse(buffer, salt), Parsed::Record(found) if found.head.begins_write)
}

fn parse_body(body: &[u8]) -> Option<Found> {
    let (offset, rest) = body.split_first_chunk::<8>()?;
    let (ts_ms, rest) = rest.split_first_chunk::<8>()?;
    let (topic, rest) = rest.split_first()?;
    let (key_bytes, rest) = rest.split_first_chunk::<2>()?;
    let key_bytes = usize::from(u16::from_le_bytes(*key_bytes));
    if key_bytes > KEY_BYTES_MAX || key_bytes > rest.len() || rest.len() - key_bytes > VALUE_BYTES_MAX {
        return None;
    }
    let head = Head {
        offset: u64::from_le_bytes(*offset),
        ts_ms: u64::from_le_bytes(*ts_ms),
        topic: Topic::from_byte(topic & !BEGINS_WRITE)?,
        begins_write: topic & BEGINS_WRITE != 0,
    };
    Some(Found { head, value: RECORD_BYTES_MIN + key_bytes..PREFIX_BYTES + body.len() })
}

fn checksum(salt: u32, length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &length), body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(offset: Offset) -> Head {
        Head { offset, ts_ms: 1_700_000_000_123, topic: Topic::Log, begins_write: true }
    }

    /// These bytes may never change: they are on disks.
    #[test]
    fn golden() {
        let mut out = Vec::new();
        encode(&mut out, 0, &head(7), b"u9", b"hi");
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&hex[..8], "17000000");
        assert_eq!(&hex[16..], "07000000000000007b68e5cf8b0100008202007539".to_owned() + "6869");
        let mut summed = out[..4].to_vec();
        summed.extend_from_slice(&out[8..]);
        assert_eq!(out[4..8], crc32c::crc32c(&summed).to_le_bytes());
    }

    #[test]
    fn every_cut_is_short_and_every_flipped_bit_is_seen() {
        let mut out = Vec::new();
        encode(&mut out, 5, &head(7), b"key", b"some value");
        for cut in 1..out.len() {
            let parsed = parse(&out[..cut], 5);
            assert!(matches!(parsed, Parsed::Short(need) if need > cut), "{cut}: {parsed:?}");
        }
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&flipped, 5), Parsed::Record(_)), "bit {bit}");
        }
        assert!(matches!(parse(&out, 6), Parsed::Bad(_)), "another log's salt");
    }

    #[test]
    fn nothing_and_zeros_are_no_record() {
        for zeros in 0..64 {
            assert_eq!(parse(&vec![0; zeros], 9), Parsed::Zeros);
        }
        assert_eq!(parse(&[0, 1], 9), Parsed::Short(RECORD_BYTES_MIN));
    }

    proptest! {
        #[test]
        fn round_trip(offset: u64, ts_ms: u64, topic in 1u8..=3, begins_write: bool, salt: u32,
                      key in prop::collection::vec(any::<u8>(), 0..=KEY_BYTES_MAX),
                      value in prop::collection::vec(any::<u8>(), 0..5000), after in prop::collection::vec(any::<u8>(), 0..40)) {
            let head = Head { offset, ts_ms, topic: Topic::from_byte(topic).unwrap(), begins_write };
            let mut out = Vec::new();
            encode(&mut out, salt, &head, &key, &value);
            prop_assert_eq!(out.len(), encoded_bytes(key.len(), value.len()));
            let end = out.len();
            out.extend_from_slice(&after);
            let Parsed::Record(found) = parse(&out, salt) else { panic!("not a record") };
            prop_assert_eq!(found.head, head);
            prop_assert_eq!(found.value.end, end);
            prop_assert_eq!(&out[found.value], &value[..]);
            prop_assert_eq!(begins_write_at(&out, salt, &(offset..offset.saturating_add(1))), begins_write && offset != u64::MAX);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), salt: u32) {
            let _ = parse(&bytes, salt);
            let _ = begins_write_at(&bytes, salt, &(0..u64::MAX));
        }
    }
}
