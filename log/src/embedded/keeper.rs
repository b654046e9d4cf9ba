//! The background thread: zeroes ahead, syncs the consumers' offsets, deletes what is old.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

use super::consumer::{Slot, panic_text};
use super::disk;
use super::segment::{NEXT_NAME, sync_dir};
use super::shared::Shared;
use super::space::{Ground, Timers, Work};
use crate::{ConsumerState, Offset, lock};

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
            Work::SyncConsumers => {
                sync_consumers(shared);
                // What they passed may be what was held back.
                retain(shared);
            }
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

/// How large and how old a log may become before its oldest segment goes.
#[derive(Clone, Copy)]
struct Bounds {
    bytes: u64,
    ms: u64,
}

/// From which offset on records are kept.
#[derive(Clone, Copy)]
struct Keep {
    /// Whatever their age.
    always: Offset,
    /// Within these wider bounds.
    within: Option<(Offset, Bounds)>,
}

/// How many of the oldest segments can go. The last one is being written to and stays; nothing goes that is to be kept.
fn expired(segments: &[Old], keep: Keep, retention: Bounds, now_ms: u64) -> usize {
    let mut bytes: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
    let mut count = 0;
    for pair in segments.windows(2) {
        let (segment, after) = (pair[0], pair[1]);
        let beyond = |bounds: Bounds| bytes > bounds.bytes || after.created_ms.saturating_add(bounds.ms) < now_ms;
        let held = keep.within.is_some_and(|(from, bounds)| after.first > from && !beyond(bounds));
        if after.first > keep.always || held || !beyond(retention) {
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
    let held = lock(&shared.held).values().min().copied().unwrap_or(Offset::MAX);
    let keep_from = held.min(consumed.unwrap_or(durable).saturating_add(1));
    let old: Vec<Old> = segments
        .iter()
        .map(|segment| Old { first: segment.first(), created_ms: segment.header.created_ms, file_bytes: segment.file_bytes() })
        .collect();
    let config = &shared.config;
    let open = |slot: &&Arc<Slot>| *lock(&slot.state) != ConsumerState::Absent;
    let read = lock(&shared.cursors).iter().filter(open).map(|slot| slot.synced()).min();
    // A cursor never shortens what is kept without it.
    let wide =
        Bounds { bytes: config.cursor_bytes_max.max(config.retention_bytes), ms: config.cursor_ms_max.max(config.retention_ms) };
    let keep = Keep { always: keep_from, within: read.map(|read| (read.saturating_add(1), wide)) };
    let retention = Bounds { bytes: config.retention_bytes, ms: config.retention_ms };
    let count = expired(&old, keep, retention, (config.clock)());
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

    fn count(keep_from: Offset, bytes: u64, ms: u64, now_ms: u64) -> usize {
        expired(&old(), Keep { always: keep_from, within: None }, Bounds { bytes, ms }, now_ms)
    }

    #[test]
    fn by_bytes_oldest_first_and_never_the_last() {
        for (bytes, gone) in [(50, 0), (49, 1), (25, 3), (0, 4)] {
            assert_eq!(count(Offset::MAX, bytes, u64::MAX, 0), gone, "{bytes}");
        }
        let all = Keep { always: Offset::MAX, within: None };
        assert_eq!(expired(&[], all, Bounds { bytes: 0, ms: 0 }, 9), 0);
    }

    #[test]
    fn by_age_of_the_youngest_record() {
        // Segment 0 was finished when segment 1 was begun, at 1000.
        for (now_ms, gone) in [(1500, 0), (1501, 1), (99_999, 4)] {
            assert_eq!(count(Offset::MAX, 50, 500, now_ms), gone, "{now_ms}");
        }
    }

    #[test]
    fn never_what_is_still_needed() {
        for (keep_from, gone) in [(100, 0), (101, 1), (350, 3), (0, 0)] {
            assert_eq!(count(keep_from, 0, 0, 99_999), gone, "{keep_from}");
        }
    }

    #[test]
    fn what_a_cursor_has_not_read_is_kept_longer_but_not_for_ever() {
        let count = |from, bytes, ms, now_ms| {
            let keep = Keep { always: Offset::MAX, within: Some((from, Bounds { bytes, ms })) };
            expired(&old(), keep, Bounds { bytes: 20, ms: 500 }, now_ms)
        };
        assert_eq!(count(1, 50, u64::MAX, 9_999), 0, "nothing was read, and all fits");
        assert_eq!(count(150, 50, u64::MAX, 9_999), 1, "the first segment was read");
        assert_eq!(count(Offset::MAX, 50, u64::MAX, 9_999), 4, "all of it was");
        assert_eq!(count(1, 35, u64::MAX, 0), 2, "but no more than this in all");
        assert_eq!(count(1, 50, 3_000, 5_001), 2, "and nothing older than this");
    }
}
