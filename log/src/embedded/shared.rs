//! What the threads of a log share.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::EmbeddedConfig;
use super::consumer::{Slot, Subscribed, panic_text};
use super::queue::{Batch, Queue};
use super::reader;
use super::segment::Segment;
use super::space::Space;
use crate::histogram::Histogram;
use crate::{AppendDone, AppendError, ConsumerState, ConsumerStatus, Counters, LogStatus, Offset, lock};

/// The state of an open log.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) config: EmbeddedConfig,
    pub(super) queue: Queue,
    pub(super) space: Space,
    /// Ascending, never empty; the last one is written to.
    pub(super) segments: Mutex<Vec<Arc<Segment>>>,
    pub(super) slots: Mutex<Vec<Arc<Slot>>>,
    /// Cursors that were opened at some time; [`ConsumerState::Absent`] now or not.
    pub(super) cursors: Mutex<Vec<Arc<Slot>>>,
    /// The last durable offset. Stored with release after the sync, so that a reader that sees it sees the bytes.
    pub(super) durable: AtomicU64,
    /// Who needs which records: all from an offset on.
    pub(super) held: Mutex<BTreeMap<&'static str, Offset>>,
    pub(super) stopping: AtomicBool,
    /// Some consumer's offset was stored and not yet synced.
    pub(super) dirty: AtomicBool,
    /// Threads of consumers that are, or were, behind.
    pub(super) readers: Mutex<Vec<JoinHandle<()>>>,
    pub(super) meters: Meters,
    /// Held open while the log is: the exclusive lock on the directory.
    pub(super) lock_file: Mutex<Option<File>>,
}

/// The atomics behind [`Counters`].
#[derive(Default)]
pub(super) struct Meters {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) too_large: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) rolls: AtomicU64,
    pub(super) segments_deleted: AtomicU64,
    pub(super) torn_bytes: AtomicU64,
    pub(super) reread: AtomicU64,
    pub(super) done_panics: AtomicU64,
    pub(super) sync_seconds: Histogram,
    pub(super) append_seconds: Histogram,
}

impl Shared {
    /// Answers an append. A panic of the callback is its owner's bug; the others must still be called.
    pub(super) fn answer(&self, done: AppendDone, result: Result<Offset, AppendError>) {
        let counter = match &result {
            Ok(_) => None,
            Err(AppendError::TooLarge { .. }) => Some(&self.meters.too_large),
            Err(AppendError::Overloaded) => Some(&self.meters.overloaded),
            Err(AppendError::Unavailable(_)) => Some(&self.meters.unavailable),
            Err(AppendError::Unknown(_)) => Some(&self.meters.unknown),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| done(result))) {
            self.meters.done_panics.fetch_add(1, Relaxed);
            tracing::error!(panic = panic_text(&*panic), "the callback of an append panicked");
        }
    }

    /// Answers all of a batch that were not answered yet.
    pub(super) fn answer_all(&self, batch: &mut Batch, error: &AppendError) {
        for done in batch.waiting.iter_mut().filter_map(|waiting| waiting.done.take()) {
            self.answer(done, Err(error.clone()));
        }
    }

    /// Takes no more appends until a restart; what is queued was surely not written.
    pub(super) fn poison(&self, reason: &str) {
        let (mut refused, first) = self.queue.poison(reason);
        if first {
            tracing::error!(
                reason,
                "the log takes no more appends until the process is restarted; what was acknowledged is on the disk. Look at the \
                 disk, then restart"
            );
        }
        self.answer_all(&mut refused, &AppendError::Unavailable(reason.to_owned()));
    }

    /// Some consumer's offset was stored; the keeper will sync it.
    pub(super) fn consumer_moved(&self) {
        if !self.dirty.swap(true, AcqRel) {
            self.space.wake_keeper();
        }
    }

    pub(super) fn sync_consumers(&self) -> io::Result<()> {
        // A swap, not a store: it either sees the offset that was stored before the flag, or the flag is set anew.
        self.dirty.swap(false, AcqRel);
        let mut slots = lock(&self.slots).clone();
        slots.extend(lock(&self.cursors).iter().cloned());
        slots.iter().try_for_each(|slot| slot.sync(&*self.config.disk))
    }

    /// Starts the thread of a consumer that is behind.
    pub(super) fn spawn_reader(self: &Arc<Self>, subscribed: Subscribed) -> io::Result<()> {
        let mut readers = lock(&self.readers);
        if self.stopping.load(Relaxed) {
            return Ok(());
        }
        let shared = Arc::clone(self);
        let slot = Arc::clone(&subscribed.slot);
        let run = move || {
            super::inside(&shared);
            reader::catch_up(&shared, subscribed);
        };
        match thread::Builder::new().name("log-reader".to_owned()).spawn(run) {
            Ok(handle) => readers.push(handle),
            Err(error) => {
                slot.set_state(ConsumerState::Stopped(format!("no thread for it: {error}")));
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn status(&self) -> LogStatus {
        let end = self.durable.load(Acquire);
        let segments = lock(&self.segments).clone();
        let mut slots = lock(&self.slots).clone();
        let open = |slot: &&Arc<Slot>| *lock(&slot.state) != ConsumerState::Absent;
        slots.extend(lock(&self.cursors).iter().filter(open).cloned());
        let consumers = slots
            .iter()
            .map(|slot| {
                let (offset, state) = (slot.offset(), lock(&slot.state).clone());
                ConsumerStatus { name: slot.name.clone(), offset, lag: end.saturating_sub(offset), state }
            })
            .collect();
        LogStatus {
            first: segments.first().map_or(end + 1, |segment| segment.first()),
            end,
            segments: segments.len(),
            disk_bytes: segments.iter().map(|segment| segment.file_bytes()).sum(),
            queue_bytes: self.queue.queue_bytes(),
            poisoned: self.queue.poisoned(),
            refusing: self.queue.refusing(),
            consumers,
            counters: self.meters.counters(&self.space),
            sync_seconds: self.meters.sync_seconds.snapshot(),
            append_seconds: self.meters.append_seconds.snapshot(),
        }
    }
}

impl Meters {
    fn counters(&self, space: &Space) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Counters {
            records: get(&self.records),
            bytes: get(&self.bytes),
            syncs: get(&self.syncs),
            too_large: get(&self.too_large),
            overloaded: get(&self.overloaded),
            unavailable: get(&self.unavailable),
            unknown: get(&self.unknown),
            rolls: get(&self.rolls),
            space_waits: get(&space.waits),
            segments_deleted: get(&self.segments_deleted),
            torn_bytes: get(&self.torn_bytes),
            reread: get(&self.reread),
            done_panics: get(&self.done_panics),
        }
    }
}
