//! The writer thread: take all, write, sync, publish, hand over, answer.

use std::fs;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use super::consumer::{Subscribed, panic_text};
use super::disk::{self, Disk, Purpose};
use super::queue::Batch;
use super::reader;
use super::segment::{HEADER_BYTES, Header, NEXT_NAME, Segment, open_rw, segment_path, sync_dir};
use super::shared::Shared;
use crate::{AppendError, ConsumerState, LogError, Offset, lock};

/// Batches that the writer reads itself for a consumer that is nearly at the end; more would hold up appends.
const BRIDGE_BATCHES: usize = 8;

/// The state of the writer thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    /// Where the next record goes.
    position: u64,
    /// Up to here the segment is zeroed.
    zeroed: u64,
    capacity: u64,
    /// The position that the keeper knows.
    reported: u64,
    end: Offset,
    consumers: Vec<Subscribed>,
    batch: Batch,
}

/// Why a batch could not be written.
enum Failure {
    /// There is no zeroed space; nothing was written. With what was queued behind.
    NoSpace(String, Batch),
    /// A write or a sync failed.
    Disk(String),
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        segment: Arc<Segment>,
        position: u64,
        zeroed: u64,
        capacity: u64,
        end: Offset,
    ) -> Self {
        let (consumers, batch) = (Vec::new(), Batch::default());
        Self { shared, segment, position, zeroed, capacity, reported: position, end, consumers, batch }
    }

    /// Runs until the log is closed. A bug here must end in refusals, not in silence.
    pub(super) fn run(mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turns())) {
            let reason = format!("the writer of the log panicked: {}", panic_text(&*panic));
            self.shared.poison(&reason);
            self.shared.answer_all(&mut self.batch, &AppendError::Unknown(reason));
        }
        self.consumers.clear();
        self.shared.space.stop();
    }

    fn turns(&mut self) {
        loop {
            let turn = self.shared.queue.take(&mut self.batch);
            for subscribed in turn.subscribed {
                self.attach(subscribed);
            }
            if self.batch.records.is_empty() {
                if turn.stop {
                    return;
                }
            } else if self.write_batch() >= 2 {
                thread::sleep(Duration::from_micros(self.shared.config.rest_us));
            }
        }
    }

    /// Writes the batch, in several writes if it must; returns the records of the last one.
    fn write_batch(&mut self) -> usize {
        let all = self.batch.records.len();
        let (mut from, mut byte) = (0, 0);
        let mut last = 0;
        while from < all {
            if let Some(reason) = self.shared.queue.poisoned() {
                self.shared.answer_all(&mut self.batch, &AppendError::Unavailable(reason));
                return 0;
            }
            let (to, bytes) = self.next_write(from);
            let result = if to == from { self.roll(from) } else { self.write(from..to, byte..byte + bytes) };
            match result {
                Ok(()) => {
                    last = to - from;
                    (from, byte) = (to, byte + bytes);
                }
                Err(Failure::NoSpace(reason, mut queued)) => {
                    let error = AppendError::Unavailable(reason);
                    self.shared.answer_all(&mut self.batch, &error);
                    self.shared.answer_all(&mut queued, &error);
                    return 0;
                }
                Err(Failure::Disk(reason)) => {
                    self.fail(from..to, &reason);
                    return 0;
                }
            }
        }
        last
    }

    /// The records from `from` on that make up the next write, and their bytes: up to the next one that begins a
    /// write, and no more than fit into the segment (maybe none).
    fn next_write(&self, from: usize) -> (usize, usize) {
        let room = self.capacity.saturating_sub(self.position);
        let mut bytes = 0;
        for (index, waiting) in self.batch.waiting.iter().enumerate().skip(from) {
            let full = (bytes + waiting.encoded_bytes) as u64 > room;
            if full || (index > from && waiting.begins_write) {
                return (index, bytes);
            }
            bytes += waiting.encoded_bytes;
        }
        (self.batch.waiting.len(), bytes)
    }

    fn write(&mut self, records: Range<usize>, bytes: Range<usize>) -> Result<(), Failure> {
        let length = bytes.len() as u64;
        self.need(self.position + length)?;
        let disk = &*self.shared.config.disk;
        let begun = Instant::now();
        let write = disk::write_all(disk, Purpose::Records, &self.segment.file, &self.batch.bytes[bytes], self.position);
        write.map_err(|error| Failure::Disk(format!("writing the log failed: {error}")))?;
        let sync = disk.sync(Purpose::Records, &self.segment.file);
        sync.map_err(|error| Failure::Disk(format!("syncing the log failed: {error}")))?;
        let durable_at = Instant::now();

        self.position += length;
        self.end = self.batch.records[records.end - 1].offset;
        self.shared.durable.store(self.end, Release);
        let meters = &self.shared.meters;
        meters.sync_seconds.observe(durable_at - begun);
        meters.syncs.fetch_add(1, Relaxed);
        meters.records.fetch_add(records.len() as u64, Relaxed);
        meters.bytes.fetch_add(length, Relaxed);
        if self.position - self.reported >= self.shared.space.report_bytes() {
            self.reported = self.position;
            self.shared.space.report(self.position);
        }

        // First the consumers, then the answers: what is acknowledged was handed over.
        let (shared, batch) = (&self.shared, &mut self.batch);
        self.consumers.retain_mut(|consumer| consumer.hand_over(shared, &batch.records[records.clone()]));
        for (waiting, record) in batch.waiting[records.clone()].iter_mut().zip(&batch.records[records]) {
            meters.append_seconds.observe(durable_at.saturating_duration_since(waiting.since));
            if let Some(done) = waiting.done.take() {
                shared.answer(done, Ok(record.offset));
            }
        }
        self.consumers.iter_mut().for_each(Subscribed::answered);
        Ok(())
    }

    /// Makes sure the segment is zeroed up to `position`.
    fn need(&mut self, position: u64) -> Result<(), Failure> {
        if position > self.zeroed {
            self.reported = self.position;
            self.shared.space.report(self.position);
            let zeroed = self.shared.space.wait_active(position, &self.shared.queue, self.end);
            self.zeroed = zeroed.map_err(|(reason, queued)| Failure::NoSpace(reason, queued))?;
        }
        Ok(())
    }

    /// Begins the next segment, with the record `from` of the batch.
    fn roll(&mut self, from: usize) -> Result<(), Failure> {
        let position = HEADER_BYTES + self.batch.waiting[from].encoded_bytes as u64;
        let zeroed = self.shared.space.wait_next(position, &self.shared.queue, self.end);
        self.zeroed = zeroed.map_err(|(reason, queued)| Failure::NoSpace(reason, queued))?;
        let config = &self.shared.config;
        let header = Header {
            salt: self.segment.header.salt,
            first: self.end + 1,
            previous: self.segment.first(),
            created_ms: (config.clock)(),
        };
        let segment = begin_segment(&self.shared.dir, &*config.disk, header)
            .map_err(|error| Failure::Disk(format!("beginning a segment failed: {error}")))?;
        self.segment = Arc::new(segment);
        lock(&self.shared.segments).push(Arc::clone(&self.segment));
        self.shared.space.rolled();
        self.position = HEADER_BYTES;
        self.reported = HEADER_BYTES;
        self.capacity = config.segment_bytes;
        self.shared.meters.rolls.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A write failed: nobody knows what is on the disk of `records`, and nothing else was written.
    fn fail(&mut self, records: Range<usize>, reason: &str) {
        // The gate first, so that a callback that appends again is refused.
        self.shared.poison(reason);
        let failed = self.batch.waiting[records].iter_mut().filter_map(|waiting| waiting.done.take());
        for done in failed {
            self.shared.answer(done, Err(AppendError::Unknown(reason.to_owned())));
        }
        self.shared.answer_all(&mut self.batch, &AppendError::Unavailable(reason.to_owned()));
    }

    /// Takes over a consumer that is at the end, or nearly.
    fn attach(&mut self, mut subscribed: Subscribed) {
        let mut records = Vec::new();
        for _ in 0..BRIDGE_BATCHES {
            if subscribed.next() > self.end {
                subscribed.reader = None;
                subscribed.slot.set_state(ConsumerState::AtEnd);
                self.consumers.push(subscribed);
                return;
            }
            // Without a place in a segment it would have to be searched for: not here.
            if subscribed.reader.is_none() {
                break;
            }
            if !reader::read_on(&self.shared, &mut subscribed, &mut records) {
                return;
            }
        }
        let name = subscribed.slot.name.clone();
        if let Err(error) = self.shared.spawn_reader(subscribed) {
            tracing::error!(consumer = name, %error, "a consumer stops: no thread for it");
        }
    }
}

/// Gives the zeroed file its header and its name; durable when this returns.
pub(super) fn begin_segment(dir: &std::path::Path, disk: &dyn Disk, header: Header) -> io::Result<Segment> {
    let zeroed = dir.join(NEXT_NAME);
    let path = segment_path(dir, header.first);
    let file = open_rw(&zeroed)?;
    disk::write_all(disk, Purpose::Header, &file, &header.encode(), 0)?;
    // Before the name: a named segment has a whole header.
    disk.sync(Purpose::Header, &file)?;
    fs::rename(&zeroed, &path)?;
    sync_dir(dir)?;
    Ok(Segment::new(header, path, file))
}

/// The first segment of a new log, with one step of zeros.
pub(super) fn begin_log(dir: &std::path::Path, disk: &dyn Disk, header: Header, zeroed: u64) -> Result<Segment, LogError> {
    let create = || {
        let file = super::keeper::create_next(dir)?;
        disk::zero(disk, &file, 0, zeroed)?;
        begin_segment(dir, disk, header)
    };
    create().map_err(LogError::io("create the log in", dir))
}
