//! Reads durable records back from disk, for consumers that are behind.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use bytes::{Bytes, BytesMut};

use super::consumer::Subscribed;
use super::segment::{HEADER_BYTES, MARK_BYTES, Segment};
use super::shared::Shared;
use crate::record::{Parsed, parse};
use crate::{ConsumerState, LogError, Offset, Record, lock};

/// Records of one batch.
pub(super) const BATCH_RECORDS: usize = 512;
/// Bytes of one batch, unless a single record is larger.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of one read: about a batch of small records.
const BLOCK_BYTES: usize = 128 << 10;

/// A place in the log.
pub(super) struct Reader {
    segment: Arc<Segment>,
    position: u64,
    next: Offset,
    /// The first record from here on is marked in its segment.
    mark_at: u64,
}

impl Reader {
    /// A reader whose first record is `next`. Finding it reads the segment from the mark before it, or from its start.
    pub(super) fn at(segments: &[Arc<Segment>], next: Offset) -> Option<Self> {
        let segment = segments.iter().rfind(|segment| segment.first() <= next)?;
        let position = segment.position_before(next);
        Some(Self { segment: Arc::clone(segment), position, next, mark_at: position.saturating_add(MARK_BYTES) })
    }

    /// The offset of the next record.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Appends the next records to `out`, none beyond `durable`. `segments` gives the current list.
    pub(super) fn read(
        &mut self,
        segments: impl Fn() -> Vec<Arc<Segment>>,
        durable: Offset,
        out: &mut Vec<Record>,
    ) -> Result<(), LogError> {
        let mut bytes = 0;
        let mut block_bytes = BLOCK_BYTES;
        while out.len() < BATCH_RECORDS && bytes < BATCH_BYTES && self.next <= durable {
            let block = self.block(block_bytes).map_err(LogError::io("read", &self.segment.path))?;
            let mut at = 0;
            let stop = loop {
                if out.len() == BATCH_RECORDS || bytes >= BATCH_BYTES || self.next > durable {
                    return Ok(());
                }
                match parse(&block[at..], self.segment.header.salt) {
                    Parsed::Record(found) => {
                        let value = at + found.value.start..at + found.value.end;
                        let encoded_bytes = found.value.end;
                        if self.position >= self.mark_at {
                            self.segment.mark(found.head.offset, self.position);
                            self.mark_at = self.position.saturating_add(MARK_BYTES);
                        }
                        if found.head.offset == self.next {
                            let value = block.slice(value);
                            let head = found.head;
                            out.push(Record { offset: head.offset, topic: head.topic, ts_ms: head.ts_ms, value });
                            bytes += encoded_bytes;
                            self.next += 1;
                        } else if found.head.offset > self.next {
                            return Err(self.damaged("a later record"));
                        }
                        at += encoded_bytes;
                        self.position += encoded_bytes as u64;
                    }
                    stop => break stop,
                }
            };
            match stop {
                // The rest of the block (a cut length may look like zeros); the next one starts with this record.
                Parsed::Short(_) | Parsed::Zeros if at > 0 => {}
                Parsed::Short(need) if block.len() < need && block.len() == block_bytes => block_bytes = need,
                // The end of the file.
                Parsed::Short(_) | Parsed::Zeros => self.next_segment(&segments())?,
                Parsed::Bad(found) => return Err(self.damaged(found)),
                Parsed::Record(_) => {}
            }
        }
        Ok(())
    }

    fn block(&self, block_bytes: usize) -> io::Result<Bytes> {
        let mut block = BytesMut::zeroed(block_bytes);
        let mut filled = 0;
        while filled < block_bytes {
            match self.segment.file.read_at(&mut block[filled..], self.position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        block.truncate(filled);
        Ok(block.freeze())
    }

    /// This segment ends here, so the next one must start with the record that is wanted.
    fn next_segment(&mut self, segments: &[Arc<Segment>]) -> Result<(), LogError> {
        let after = segments.iter().find(|segment| segment.first() > self.segment.first());
        match after {
            Some(segment) if segment.first() == self.next => {
                self.segment = Arc::clone(segment);
                self.position = HEADER_BYTES;
                self.mark_at = HEADER_BYTES + MARK_BYTES;
                Ok(())
            }
            _ => Err(self.damaged("no record")),
        }
    }

    fn damaged(&self, found: &str) -> LogError {
        LogError::Damaged {
            segment: self.segment.path.clone(),
            position: self.position,
            expected: self.next,
            found: found.to_owned(),
            advice: "These records were acknowledged. Restore the log's directory from a backup; or, to give up all records of \
                     this file and of older ones that were not consumed yet, move it and all older segments away"
                .to_owned(),
        }
    }
}

/// The thread of a consumer that is behind: reads what it missed, then gives it to the writer.
pub(super) fn catch_up(shared: &Shared, mut subscribed: Subscribed) {
    let mut records = Vec::with_capacity(BATCH_RECORDS);
    subscribed.slot.set_state(ConsumerState::CatchingUp);
    while !shared.stopping.load(Relaxed) {
        // So near the end the writer reads the rest itself, else this could follow it for ever.
        if subscribed.next() + BATCH_RECORDS as u64 > shared.durable.load(Acquire) && subscribed.reader.is_some() {
            // Refused only when the log is closing; the offset is stored.
            let _ = shared.queue.subscribe(subscribed);
            return;
        }
        if !read_on(shared, &mut subscribed, &mut records) {
            return;
        }
    }
}

/// Reads one batch and hands it over; `false` if the consumer must get nothing more.
pub(super) fn read_on(shared: &Shared, subscribed: &mut Subscribed, records: &mut Vec<Record>) -> bool {
    let next = subscribed.next();
    if subscribed.reader.is_none() {
        subscribed.reader = Reader::at(&lock(&shared.segments), next);
    }
    records.clear();
    let read = match &mut subscribed.reader {
        Some(reader) => reader.read(|| lock(&shared.segments).clone(), shared.durable.load(Acquire), records),
        None => Err(LogError::Config(format!("offset {next} is older than the log"))),
    };
    if let Err(error) = read {
        tracing::error!(consumer = subscribed.slot.name, %error, "a consumer stops: the log can't be read");
        subscribed.slot.set_state(ConsumerState::Stopped(error.to_string()));
        return false;
    }
    shared.meters.reread.fetch_add(records.len() as u64, Relaxed);
    let going_on = subscribed.hand_over(shared, records);
    // Their appends were answered long ago.
    subscribed.answered();
    records.clear();
    going_on
}
