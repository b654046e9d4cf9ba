//! The newest journal after a loss of power: its last second was not synced, and its pages may have got to the disk in any order.
//!
//! Fjall cuts what ends too early, but takes a hole inside a value for damage of all of it, and does not open. What is behind the
//! last whole commit is of no use to anybody: its guard is not there, so it is applied again from the log.
//!
//! ```text
//! commit:  1 | items: u32 | number: u64        then the items, then  3 | xxh3 of the items: u64 | "FJL\x03"
//! item:    2 | sort: u8 | compression: u8 | keyspace: u64 | key bytes: u16 | value bytes: u32 | the same as stored: u32 | key | value
//! clear:   4 | keyspace: u64
//! ```

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// Cuts the newest journal of the folder behind its last whole commit; gives whether there was anything to cut.
pub(super) fn cut_newest_journal(folder: &Path) -> io::Result<bool> {
    let Some(path) = newest(folder)? else { return Ok(false) };
    let bytes = fs::read(&path)?;
    let whole = whole_bytes(&bytes);
    let is_torn = bytes.get(whole..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
    if is_torn {
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(whole as u64)?;
        file.sync_all()?;
    }
    Ok(is_torn)
}

fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(highest, _)| *highest < number)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the whole commits end that the journal begins with.
fn whole_bytes(journal: &[u8]) -> usize {
    let mut rest = journal;
    while let Some(after) = behind_commit(rest) {
        rest = after;
    }
    journal.len() - rest.len()
}

fn behind_commit(bytes: &[u8]) -> Option<&[u8]> {
    let (items, mut rest) = number::<4>(tagged(bytes, START)?)?;
    (_, rest) = number::<8>(rest)?;
    let mut sum = Xxh3::default();
    for _ in 0..items {
        let behind = behind_item(rest)?;
        sum.update(rest.get(..rest.len() - behind.len())?);
        rest = behind;
    }
    let (wanted, rest) = number::<8>(tagged(rest, END)?)?;
    let rest = rest.strip_prefix(TRAILER)?;
    (sum.digest() == wanted).then_some(rest)
}

fn behind_item(bytes: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = tagged(bytes, CLEAR) {
        return number::<8>(rest).map(|(_, rest)| rest);
    }
    // Sort and compression.
    let rest = tagged(bytes, ITEM)?.get(2..)?;
    let (_, rest) = number::<8>(rest)?;
    let (key_bytes, rest) = number::<2>(rest)?;
    let (_, rest) = number::<4>(rest)?;
    let (value_bytes, rest) = number::<4>(rest)?;
    rest.get(usize::try_from(key_bytes.checked_add(value_bytes)?).ok()?..)
}

fn tagged(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    bytes.strip_prefix(&[tag])
}

/// A number of this many bytes, little-endian, and what is behind it.
fn number<const BYTES: usize>(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<BYTES>()?;
    Some((number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}
