//! The background thread: zeroes ahead, syncs the consumers' offsets, deletes what is old.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

use super::consumer::panic_text;
use super::disk;
use super::segment::{NEXT_NAME, sync_dir};
use super::shared::Shared;
use super::space::{Ground, Timers, Work};
use crate::{Offset, lock};

/// Runs until the log is closed. A bug here must end in refusals, not in a writer that waits for ever.
pub(super) fn run(shared: &Shared) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| works(shared))) {
        let reason = format!("the keeper of the log panicked: {}", panic_text(&*panic));
        shared.poison(&reason);
        shared.space.failed(reason, &mut Timers::new(Instant::now()));
    }
}

fn works(shared: &Shared) {
    let mut timers = Timers::new(Instant::now());
    loop {
        match shared.space.next_work(&mut timers, &shared.dirty) {
            Work::Create => match create_next(&shared.dir) {
                Ok(file) => {
                    let capacity = shared.config.segment_bytes;
                    shared.space.created(Ground { file: Arc::new(file), zeroed: 0, capacity });
                }
                Err(error) => shared.space.failed(format!("creating the next segment: {error}"), &mut timers),
            },
            Work::Zero { file, from, to } => match disk::zero(&*shared.config.disk, &file, from, to) {
                Ok(()) => shared.space.zeroed(&file, to, &shared.queue, &mut timers),
                Err(error) => shared.space.failed(format!("preparing the next segment: {error}"), &mut timers),
            },
            Work::SyncConsumers => sync_consumers(shared),
            Work::Retain => retain(shared),
            Work::Stop => break,
        }
    }
    sync_consumers(shared);
}

/// A new empty file under the name of the one that comes next.
pub(super) fn create_next(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(dir.join(NEXT_NAME))
}

fn sync_consumers(shared: &Shared) {
    if let Err(error) = shared.sync_consumers() {
        shared.poison(&format!("the offsets of the consumers can't be synced: {error}"));
    }
}

/// What retention needs to know of a segment.
#[derive(Clone, Copy)]
struct Old {
    first: Offset,
    created_ms: u64,
    file_bytes: u64,
}

/// How many of the oldest segments can go. The last one is being written to and stays; nothing goes that holds a
/// record from `keep_from` on.
fn expired(segments: &[Old], keep_from: Offset, retention_bytes: u64, retention_ms: u64, now_ms: u64) -> usize {
    let mut bytes: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
    let mut count = 0;
    for pair in segments.windows(2) {
        let (segment, after) = (pair[0], pair[1]);
        let too_old = after.created_ms.saturating_add(retention_ms) < now_ms;
        if after.first > keep_from || !(bytes > retention_bytes || too_old) {
            break;
        }
        bytes -= segment.file_bytes;
        count += 1;
    }
    count
}

fn retain(shared: &Shared) {
    let segments = lock(&shared.segments).clone();
    let consumed = lock(&shared.slots).iter().map(|slot| slot.synced()).min();
    let durable = shared.durable.load(Acquire);
    let keep_from = shared.keep_from.load(Relaxed).min(consumed.unwrap_or(durable).saturating_add(1));
    let old: Vec<Old> = segments
        .iter()
        .map(|segment| Old { first: segment.first(), created_ms: segment.header.created_ms, file_bytes: segment.file_bytes() })
        .collect();
    let config = &shared.config;
    let count = expired(&old, keep_from, config.retention_bytes, config.retention_ms, (config.clock)());
    for segment in &segments[..count] {
        // One by one and in order: a crash must not leave a hole.
        if let Err(error) = fs::remove_file(&segment.path).and_then(|()| sync_dir(&shared.dir)) {
            tracing::warn!(path = %segment.path.display(), %error, "an old segment can't be deleted");
            return;
        }
        lock(&shared.segments).retain(|kept| kept.first() != segment.first());
        shared.meters.segments_deleted.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Vec<Old> {
        (0..5).map(|n| Old { first: 1 + n * 100, created_ms: 1000 * n, file_bytes: 10 }).collect()
    }

    #[test]
    fn by_bytes_oldest_first_and_never_the_last() {
        assert_eq!(expired(&old(), Offset::MAX, 50, u64::MAX, 0), 0);
        assert_eq!(expired(&old(), Offset::MAX, 49, u64::MAX, 0), 1);
        assert_eq!(expired(&old(), Offset::MAX, 25, u64::MAX, 0), 3);
        assert_eq!(expired(&old(), Offset::MAX, 0, u64::MAX, 0), 4);
        assert_eq!(expired(&[], Offset::MAX, 0, 0, 9), 0);
    }

    #[test]
    fn by_age_of_the_youngest_record() {
        // Segment 0 was finished when segment 1 was begun, at 1000.
        assert_eq!(expired(&old(), Offset::MAX, 50, 500, 1500), 0);
        assert_eq!(expired(&old(), Offset::MAX, 50, 500, 1501), 1);
        assert_eq!(expired(&old(), Offset::MAX, 50, 500, 99_999), 4);
    }

    #[test]
    fn never_what_is_still_needed() {
        assert_eq!(expired(&old(), 100, 0, 0, 99_999), 0);
        assert_eq!(expired(&old(), 101, 0, 0, 99_999), 1);
        assert_eq!(expired(&old(), 350, 0, 0, 99_999), 3);
        assert_eq!(expired(&old(), 0, 0, 0, 99_999), 0);
    }
}
