//! The embedded log: one physical log in one directory, for one process.
//!
//! # Files
//!
//! ```text
//! LOCK                       held exclusively while the log is open
//! 00000000000000000001.log   a segment, named by its first offset
//! next.zeros                 the next segment, being zeroed; deleted at the start
//! consumers/<name>.offset    the stored offset of a consumer (format: consumer.rs)
//! consumers/<name>.cursor    the same of a cursor
//!
//! segment:  a header of 4,096 bytes, then records back to back, then zeros
//! at  size  field        little-endian
//!  0  8     magic        "perseidl"
//!  8  4     version      1
//! 12  4     salt         random per log; start value of every record's crc
//! 16  8     first        offset of the first record
//! 24  8     previous     first offset of the segment before, 0 if there was none
//! 32  8     created_ms
//! 40  4     crc          crc32c of the 40 bytes before
//!
//! record:
//!  0  4     length       bytes after the crc: 19 + key + value; 0 = the end
//!  4  4     crc          crc32c, started from the salt, of length and of the bytes after the crc
//!  8  8     offset
//! 16  8     ts_ms
//! 24  1     topic        bit 7: this record begins a write (everything before it was durable by then)
//! 25  2     key_bytes
//! 27  …     key, then value
//! ```
//!
//! # Threads
//!
//! ```text
//! producers ──encode under a lock──▶ queue ──swap──▶ writer: write, fdatasync, publish, consumers, answers
//!                                                      ▲ zeroed space            ▲ consumers at the end
//!                                                    keeper                    readers (one per consumer behind)
//! ```
//!
//! **Invariant**: a write begins only after the sync of the one before returned; so records that begin a write
//! prove that everything before them was durable. That is how a start tells a torn tail (cut) from damage (refused).
//!
//! **Invariant**: a failed write or sync of records ends all writing until a restart; it is never tried again,
//! because after a failed fsync the kernel may have dropped the pages and a second one would lie.

mod config;
mod consumer;
mod cursor;
mod disk;
mod keeper;
mod queue;
mod reader;
mod recover;
mod segment;
mod shared;
mod space;
mod writer;

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

pub use config::{Clock, EmbeddedConfig};
pub use disk::{Disk, Purpose, SystemDisk};

use crate::{
    AppendDone, AppendError, Consumer, ConsumerState, Cursor, EventLog, KEY_BYTES_MAX, LogError, LogReader, LogStatus, Offset,
    Record, Start, Topic, lock,
};
use consumer::{CONSUMER, CURSOR, Slot, Subscribed, is_name};
use cursor::{OwnPace, OwnReader};
use queue::Queue;
use reader::Reader;
use recover::Recovered;
use segment::{HEADER_BYTES, Header, NEXT_NAME, open_rw, sync_dir};
use shared::{Meters, Shared};
use space::{Ground, STEP_BYTES, Space};
use writer::Writer;

const LOCK_NAME: &str = "LOCK";
const CONSUMERS_NAME: &str = "consumers";

thread_local! {
    /// The log whose thread this is, by address; 0 on all other threads.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// A handle to an open log; clones share it. The log is closed by [`EventLog::close`], or when the last handle is
/// dropped. A consumer or callback that holds a handle keeps the log open: close it explicitly then.
#[derive(Clone)]
pub struct EmbeddedLog {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or makes a new one.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another process has it; [`LogError::Damaged`], [`LogError::ConsumerAhead`] and
    /// [`LogError::ConsumerDamaged`] when acknowledged bytes are missing or changed; [`LogError::Config`];
    /// [`LogError::Io`].
    pub fn open(dir: &Path, config: EmbeddedConfig) -> Result<Self, LogError> {
        config.check()?;
        let consumers = dir.join(CONSUMERS_NAME);
        fs::create_dir_all(&consumers).map_err(LogError::io("create", &consumers))?;
        let lock_file = lock_dir(dir)?;
        match fs::remove_file(dir.join(NEXT_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(LogError::io("clean up", dir)(error)),
            _ => {}
        }
        let slots = Slot::load_all(&consumers, CONSUMER, &*config.disk)?;
        let cursors = Slot::load_all(&consumers, CURSOR, &*config.disk)?;
        let consumed =
            slots.iter().chain(&cursors).max_by_key(|slot| slot.offset()).map(|slot| (slot.name.as_str(), slot.offset()));
        let recovered = match recover::recover(dir, &*config.disk, consumed)? {
            Some(recovered) => recovered,
            None => fresh(dir, &config)?,
        };
        Self::start(dir, config, lock_file, [slots, cursors], recovered)
    }

    fn start(
        dir: &Path,
        config: EmbeddedConfig,
        lock_file: File,
        [slots, cursors]: [Vec<Slot>; 2],
        recovered: Recovered,
    ) -> Result<Self, LogError> {
        let Recovered { segments, tail, next, torn_bytes } = recovered;
        let Some(active) = segments.last().map(Arc::clone) else {
            return Err(LogError::Config("a log without a segment".to_owned()));
        };
        if torn_bytes > 0 {
            let path = active.path.display();
            tracing::warn!(%path, torn_bytes, end = next - 1, "an interrupted write was cut; it was never acknowledged");
        }
        let zeroed = active.file_bytes();
        let capacity = config.segment_bytes.max(zeroed);
        let keepers = open_rw(&active.path).map_err(LogError::io("open", &active.path))?;
        let ground = Ground { file: Arc::new(keepers), zeroed, capacity };
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            queue: Queue::new(next, active.header.salt, config.queue_bytes_max),
            space: Space::new(ground, tail, config.zero_ahead_bytes, config.segment_bytes),
            segments: Mutex::new(segments),
            slots: Mutex::new(slots.into_iter().map(Arc::new).collect()),
            cursors: Mutex::new(cursors.into_iter().map(Arc::new).collect()),
            durable: (next - 1).into(),
            held: Mutex::new(config.held_by.iter().map(|who| (*who, 0)).collect()),
            stopping: false.into(),
            dirty: false.into(),
            readers: Mutex::default(),
            meters: Meters { torn_bytes: torn_bytes.into(), ..Meters::default() },
            lock_file: Mutex::new(Some(lock_file)),
            config,
        });
        let log = Self { owner: Arc::new(Owner { shared: Arc::clone(&shared), threads: Mutex::default() }) };
        let writer = Writer::new(Arc::clone(&shared), active, tail, zeroed, capacity, next - 1);
        log.owner.spawn("log-writer", move |_| writer.run())?;
        log.owner.spawn("log-keeper", keeper::run)?;
        Ok(log)
    }

    /// `who` needs the records from `offset` on: they are kept, whatever their age and however many. It is how far a projection
    /// has got that may have to replay them. What nobody holds is deleted by age and size; consumers' stored offsets hold it
    /// back anyway. See [`EmbeddedConfig::held_by`].
    pub fn keep_from(&self, who: &'static str, offset: Offset) {
        let before = lock(&self.owner.shared.held).insert(who, offset);
        if before != Some(offset) {
            self.owner.shared.space.look_at_retention();
        }
    }

    /// Deletes the stored offset of a consumer that is not subscribed, so that it no longer holds back retention.
    /// Does nothing if there is none.
    ///
    /// # Errors
    /// [`LogError::AlreadySubscribed`], [`LogError::Io`].
    pub fn forget_consumer(&self, name: &str) -> Result<(), LogError> {
        let shared = &self.owner.shared;
        let mut slots = lock(&shared.slots);
        let Some(index) = slots.iter().position(|slot| slot.name == name) else { return Ok(()) };
        if *lock(&slots[index].state) != ConsumerState::Absent {
            return Err(LogError::AlreadySubscribed { name: name.to_owned() });
        }
        slots[index].delete(&shared.dir.join(CONSUMERS_NAME))?;
        slots.remove(index);
        Ok(())
    }
}

impl EventLog for EmbeddedLog {
    fn append(&self, topic: Topic, key: &[u8], value: Bytes, done: AppendDone) {
        let shared = &self.owner.shared;
        let too_large = |what, bytes, bytes_max| Err(AppendError::TooLarge { what, bytes, bytes_max });
        if key.len() > KEY_BYTES_MAX {
            return shared.answer(done, too_large("key", key.len(), KEY_BYTES_MAX));
        }
        if value.len() > shared.config.value_bytes_max {
            return shared.answer(done, too_large("value", value.len(), shared.config.value_bytes_max));
        }
        if let Err((done, error)) = shared.queue.push(topic, key, value, done, &*shared.config.clock) {
            shared.answer(done, Err(error));
        }
    }

    fn subscribe(&self, name: &str, start: Start, consumer: Box<dyn Consumer>) -> Result<(), LogError> {
        self.owner.may_begin(name)?;
        self.owner.begin(self.owner.slot(name, start)?, consumer)
    }

    fn follow(&self, name: &str, consumer: Box<dyn Consumer>) -> Result<(), LogError> {
        self.owner.may_begin(name)?;
        self.owner.begin(self.owner.passing_slot(name)?, consumer)
    }

    fn replay(&self, on_records: &mut dyn FnMut(&[Record])) -> Result<Offset, LogError> {
        let shared = &self.owner.shared;
        let end = shared.durable.load(Acquire);
        // One list, held open: retention may delete files meanwhile, and they can be read all the same.
        let segments = lock(&shared.segments).clone();
        let first = segments.first().map_or(1, |segment| segment.first());
        let Some(mut reader) = Reader::at(&segments, first).filter(|_| first <= end) else { return Ok(0) };
        let mut records = Vec::new();
        let mut last = 0;
        while last < end {
            records.clear();
            reader.read(|| segments.clone(), end, &mut records)?;
            let Some(record) = records.last() else { break };
            last = record.offset;
            on_records(&records);
        }
        Ok(last)
    }

    fn reader(&self, from: Offset) -> Box<dyn LogReader> {
        Box::new(OwnReader::new(Arc::clone(&self.owner.shared), from))
    }

    fn cursor(&self, name: &str, start: Start) -> Result<Box<dyn Cursor>, LogError> {
        Ok(Box::new(OwnPace::open(Arc::clone(&self.owner.shared), name, start)?))
    }

    fn status(&self) -> LogStatus {
        self.owner.shared.status()
    }

    fn close(&self) {
        self.owner.close();
    }
}

impl Owner {
    fn spawn(&self, name: &str, run: impl FnOnce(&Shared) + Send + 'static) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let run = move || {
            inside(&shared);
            run(&shared);
        };
        let handle = thread::Builder::new().name(name.to_owned()).spawn(run);
        lock(&self.threads).push(handle.map_err(LogError::io("start a thread for", &self.shared.dir))?);
        Ok(())
    }

    fn may_begin(&self, name: &str) -> Result<(), LogError> {
        if !is_name(name) {
            return Err(LogError::ConsumerName { name: name.to_owned() });
        }
        if self.shared.stopping.load(Relaxed) { Err(LogError::Closed) } else { Ok(()) }
    }

    fn begin(&self, slot: Arc<Slot>, consumer: Box<dyn Consumer>) -> Result<(), LogError> {
        let shared = &self.shared;
        let subscribed = Subscribed { slot, consumer, reader: None };
        if subscribed.next() > shared.durable.load(Acquire) {
            shared.queue.subscribe(subscribed).map_err(|_| LogError::Closed)
        } else {
            shared.spawn_reader(subscribed).map_err(LogError::io("start a thread for a consumer of", &shared.dir))
        }
    }

    /// A place at the end that is not stored. One that was stored under this name is of no use any more, and would hold back
    /// retention for ever.
    fn passing_slot(&self, name: &str) -> Result<Arc<Slot>, LogError> {
        let shared = &self.shared;
        let mut slots = lock(&shared.slots);
        if let Some(index) = slots.iter().position(|slot| slot.name == name) {
            if *lock(&slots[index].state) != ConsumerState::Absent {
                return Err(LogError::AlreadySubscribed { name: name.to_owned() });
            }
            slots[index].delete(&shared.dir.join(CONSUMERS_NAME))?;
            slots.remove(index);
        }
        let slot = Arc::new(Slot::passing(name, shared.durable.load(Acquire)));
        slot.set_state(ConsumerState::CatchingUp);
        slots.push(Arc::clone(&slot));
        Ok(slot)
    }

    /// Finds or makes the stored offset of a consumer that subscribes now.
    fn slot(&self, name: &str, start: Start) -> Result<Arc<Slot>, LogError> {
        let shared = &self.shared;
        let dir = shared.dir.join(CONSUMERS_NAME);
        let mut slots = lock(&shared.slots);
        let first = lock(&shared.segments).first().map_or(1, |segment| segment.first());
        let slot = if let Some(slot) = slots.iter().find(|slot| slot.name == name) {
            if *lock(&slot.state) != ConsumerState::Absent {
                return Err(LogError::AlreadySubscribed { name: name.to_owned() });
            }
            if slot.offset() + 1 < first {
                tracing::warn!(consumer = name, stored = slot.offset(), first, "a consumer missed records: they are gone");
                let stored = slot.store(&*shared.config.disk, first - 1);
                stored.map_err(LogError::io("store an offset in", &dir))?;
            }
            Arc::clone(slot)
        } else {
            let offset = match start {
                Start::Earliest => first - 1,
                Start::Latest => shared.durable.load(Acquire),
            };
            let slot = Arc::new(Slot::create(&dir, name, CONSUMER, &*shared.config.disk, offset)?);
            slots.push(Arc::clone(&slot));
            slot
        };
        slot.set_state(ConsumerState::CatchingUp);
        Ok(slot)
    }

    fn close(&self) {
        let shared = &self.shared;
        shared.stopping.store(true, Relaxed);
        shared.queue.close();
        if INSIDE.get() == Arc::as_ptr(shared) as usize {
            // A thread can't wait for itself; all of them end on their own now.
            return;
        }
        let mut threads = lock(&self.threads);
        // The writer first: it stops the keeper, and starts no reader any more.
        for handle in threads.drain(..) {
            // A panic of either was reported where it was caught.
            let _ = handle.join();
        }
        let readers = std::mem::take(&mut *lock(&shared.readers));
        for handle in readers {
            let _ = handle.join();
        }
        // Once more, for consumers that were still catching up.
        if let Err(error) = shared.sync_consumers() {
            tracing::error!(%error, "the offsets of the consumers could not be synced");
        }
        lock(&shared.lock_file).take();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Marks this thread as one of the log's.
fn inside(shared: &Shared) {
    INSIDE.set(std::ptr::from_ref(shared) as usize);
}

fn lock_dir(dir: &Path) -> Result<File, LogError> {
    let path = dir.join(LOCK_NAME);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(LogError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(LogError::io("lock", &path)(error)),
    }
}

/// A new log: one segment with a first step of zeros, so that this takes no time.
fn fresh(dir: &Path, config: &EmbeddedConfig) -> Result<Recovered, LogError> {
    // Randomly keyed per process by the operating system; enough for what the salt is for.
    let salt = RandomState::new().hash_one(0) as u32;
    let header = Header { salt, first: 1, previous: 0, created_ms: (config.clock)() };
    let zeroed = STEP_BYTES.min(config.segment_bytes);
    let segment = writer::begin_log(dir, &*config.disk, header, zeroed)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The directory itself may be new.
        sync_dir(parent).map_err(LogError::io("sync", parent))?;
    }
    Ok(Recovered { segments: vec![Arc::new(segment)], tail: HEADER_BYTES, next: 1, torn_bytes: 0 })
}
