//! Records as bytes. The only file that knows their form; pinned by a golden test.

use bytes::Bytes;

use super::super::{OutboxEntry, Record};
use crate::event::Position;

/// Length, its checksum, the checksum of what follows; bytes.
const HEAD_BYTES: usize = 12;
/// No record is longer: a message is at most 1 MiB, bytes.
const BYTES_MAX: usize = 2 * 1024 * 1024;

const CURSOR: u8 = 1;
const QUEUED: u8 = 2;
const SENT: u8 = 3;
const DONE: u8 = 4;

/// Appends a record.
pub(super) fn put(out: &mut Vec<u8>, record: &Record) {
    let mut body = Vec::new();
    match record {
        Record::Cursor(at) => put_numbers(&mut body, CURSOR, &[at.epoch, at.pos]),
        Record::Queued(entry) => {
            put_numbers(&mut body, QUEUED, &[entry.cid, entry.conv, entry.sent_ms]);
            body.extend_from_slice(&entry.kind.to_be_bytes());
            body.push(u8::from(entry.quiet));
            body.extend_from_slice(&entry.body);
        }
        Record::Sent { cid, at_ms } => put_numbers(&mut body, SENT, &[*cid, *at_ms]),
        Record::Done { cid } => put_numbers(&mut body, DONE, &[*cid]),
    }
    // Bodies are bounded far below 4 GiB.
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&crc32c::crc32c(&len).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
}

fn put_numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// The record at the start of `input` and its length; `None` at the end, and at a torn tail.
///
/// # Errors
/// Damage that no torn write explains.
pub(super) fn take(input: &[u8]) -> Result<Option<(Record, usize)>, String> {
    let Some((head, rest)) = input.split_at_checked(HEAD_BYTES) else { return Ok(None) };
    if input.iter().all(|byte| *byte == 0) {
        return Ok(None); // room that the system had made for a write that never came
    }
    let len = usize::try_from(be32(head, 0)).unwrap_or(usize::MAX);
    if be32(head, 4) != crc32c::crc32c(&head[..4]) || len > BYTES_MAX {
        return Err("a length in it is wrong".to_owned());
    }
    let Some(body) = rest.get(..len) else { return Ok(None) };
    if be32(head, 8) != crc32c::crc32c(body) {
        return if rest.len() == len { Ok(None) } else { Err("a checksum in it is wrong".to_owned()) };
    }
    let record = parse(body).ok_or("a record in it is of a kind that this version does not know")?;
    Ok(Some((record, HEAD_BYTES + len)))
}

fn parse(body: &[u8]) -> Option<Record> {
    let (kind, rest) = body.split_first()?;
    let number = |at: usize| Some(u64::from_be_bytes(*rest.get(at * 8..)?.first_chunk()?));
    Some(match *kind {
        CURSOR => Record::Cursor(Position { epoch: number(0)?, pos: number(1)? }),
        QUEUED => {
            let (kind, rest) = rest.get(24..)?.split_first_chunk()?;
            let (quiet, message) = rest.split_first()?;
            Record::Queued(OutboxEntry {
                cid: number(0)?,
                conv: number(1)?,
                sent_ms: number(2)?,
                kind: u16::from_be_bytes(*kind),
                quiet: *quiet != 0,
                body: Bytes::copy_from_slice(message),
            })
        }
        SENT => Record::Sent { cid: number(0)?, at_ms: number(1)? },
        DONE => Record::Done { cid: number(0)? },
        _ => return None,
    })
}

/// `at` is inside of a head, whose length was checked.
fn be32(head: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}
