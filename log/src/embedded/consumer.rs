//! Consumers and their stored offsets.
//!
//! An offset is stored after each batch by a small write without a sync: that survives the end of the process,
//! however sudden. The keeper syncs it once a second for the sake of power failures, after which a consumer
//! sees at most the last second again. Retention looks at what was synced.
//!
//! ```text
//! consumers/<name>.offset: two copies, at 0 and at 512, written in turn; the valid one with the larger
//! sequence counts; consumers/<name>.cursor: the same, of a cursor (cursor.rs)
//! at  size  field     little-endian
//!  0  4     magic     "pco1"
//!  4  4     crc       crc32c of the rest
//!  8  8     sequence
//! 16  8     offset    the last offset consumed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::disk::{self, Disk, Purpose};
use super::reader::Reader;
use super::segment::{open_rw, sync_dir};
use super::shared::Shared;
use crate::{Consumer, ConsumerState, LogError, Offset, Record, lock};

const MAGIC: &[u8; 4] = b"pco1";
const COPY_BYTES: usize = 24;
const COPY_DISTANCE: u64 = 512;
/// Of the file of a consumer.
pub(super) const CONSUMER: &str = ".offset";
/// Of the file of a cursor.
pub(super) const CURSOR: &str = ".cursor";
const NAME_BYTES_MAX: usize = 64;

/// A consumer's stored offset and what it does.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) state: Mutex<ConsumerState>,
    /// `None`: of one that only follows, and keeps its place itself.
    file: Option<File>,
    /// Only the thread that has the consumer (of a cursor: that has its lock) stores, so the atomics need no order among them.
    offset: AtomicU64,
    sequence: AtomicU64,
    synced: AtomicU64,
}

/// A running consumer, owned by the one thread that feeds it.
pub(super) struct Subscribed {
    pub(super) slot: std::sync::Arc<Slot>,
    pub(super) consumer: Box<dyn Consumer>,
    /// Where it was reading, if it was.
    pub(super) reader: Option<Reader>,
}

impl Slot {
    /// All consumers, or cursors, with a stored offset.
    pub(super) fn load_all(dir: &Path, suffix: &str, disk: &dyn Disk) -> Result<Vec<Self>, LogError> {
        let mut slots = Vec::new();
        for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
            let name = entry.map_err(LogError::io("list", dir))?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(suffix)).filter(|name| is_name(name));
            if let Some(name) = name {
                let Some(slot) = Self::load(dir, name, suffix)? else { continue };
                // What was read may be in the page cache only, but counts as synced from here on.
                let stored = slot.store(disk, slot.offset()).and_then(|()| slot.sync_file(disk));
                stored.map_err(LogError::io("store the offset in", &path(dir, name, suffix)))?;
                slots.push(slot);
            }
        }
        Ok(slots)
    }

    fn load(dir: &Path, name: &str, suffix: &str) -> Result<Option<Self>, LogError> {
        let path = path(dir, name, suffix);
        let file = open_rw(&path).map_err(LogError::io("open", &path))?;
        let bytes = fs::read(&path).map_err(LogError::io("read", &path))?;
        if bytes.iter().all(|&byte| byte == 0) {
            // A crash came between creating it and writing it: it was never subscribed.
            return Ok(None);
        }
        let copies = [bytes.get(..), bytes.get(COPY_DISTANCE as usize..)];
        let newest = copies.into_iter().flatten().filter_map(decode).max();
        let (sequence, offset) = newest.ok_or(LogError::ConsumerDamaged { path })?;
        Ok(Some(Self::new(name, Some(file), sequence, offset)))
    }

    /// A new consumer that has consumed everything up to `offset`; durable when this returns.
    pub(super) fn create(dir: &Path, name: &str, suffix: &str, disk: &dyn Disk, offset: Offset) -> Result<Self, LogError> {
        let path = path(dir, name, suffix);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let slot = Self::new(name, Some(open.map_err(LogError::io("create", &path))?), 0, offset);
        // Both copies, so that later stores only ever overwrite allocated bytes.
        let stored = slot.store(disk, offset).and_then(|()| slot.store(disk, offset));
        let synced = stored.and_then(|()| slot.sync_file(disk)).and_then(|()| sync_dir(dir));
        synced.map_err(LogError::io("store the offset in", &path))?;
        Ok(slot)
    }

    /// One that has had everything up to `offset`, which nobody stores.
    pub(super) fn passing(name: &str, offset: Offset) -> Self {
        Self::new(name, None, 0, offset)
    }

    fn new(name: &str, file: Option<File>, sequence: u64, offset: Offset) -> Self {
        Self {
            name: name.to_owned(),
            state: Mutex::new(ConsumerState::Absent),
            file,
            offset: offset.into(),
            sequence: sequence.into(),
            synced: offset.into(),
        }
    }

    /// Removes the stored offset of a consumer for good.
    pub(super) fn delete(&self, dir: &Path) -> Result<(), LogError> {
        let path = path(dir, &self.name, CONSUMER);
        fs::remove_file(&path).and_then(|()| sync_dir(dir)).map_err(LogError::io("delete", &path))
    }

    /// The last offset consumed.
    pub(super) fn offset(&self) -> Offset {
        self.offset.load(Relaxed)
    }

    /// The last offset consumed that a power failure can't take back.
    pub(super) fn synced(&self) -> Offset {
        self.synced.load(Relaxed)
    }

    /// Whether its place is stored.
    pub(super) fn is_stored(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn store(&self, disk: &dyn Disk, offset: Offset) -> io::Result<()> {
        let Some(file) = &self.file else {
            self.offset.store(offset, Relaxed);
            self.synced.store(offset, Relaxed);
            return Ok(());
        };
        let sequence = self.sequence.load(Relaxed) + 1;
        let position = (sequence % 2) * COPY_DISTANCE;
        disk::write_all(disk, Purpose::Consumer, file, &encode(sequence, offset), position)?;
        self.sequence.store(sequence, Relaxed);
        self.offset.store(offset, Relaxed);
        Ok(())
    }

    pub(super) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        let offset = self.offset();
        if offset != self.synced() {
            self.sync_file(disk)?;
            self.synced.store(offset, Relaxed);
        }
        Ok(())
    }

    fn sync_file(&self, disk: &dyn Disk) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| disk.sync(Purpose::Consumer, file))
    }

    pub(super) fn set_state(&self, state: ConsumerState) {
        *lock(&self.state) = state;
    }
}

impl Subscribed {
    /// The offset it gets next.
    pub(super) fn next(&self) -> Offset {
        self.slot.offset() + 1
    }

    /// Gives it the next records and stores the offset; `false` if it must get nothing more, in which case the
    /// log was poisoned: going on would lose records for this consumer, or show them twice.
    pub(super) fn hand_over(&mut self, shared: &Shared, records: &[Record]) -> bool {
        let Some(last) = records.last() else { return true };
        let consumer = &mut self.consumer;
        let reason = if let Err(panic) = catch_unwind(AssertUnwindSafe(|| consumer.on_records(records))) {
            format!("consumer {} panicked: {}", self.slot.name, panic_text(&*panic))
        } else {
            match self.slot.store(&*shared.config.disk, last.offset) {
                Ok(()) => {
                    if self.slot.is_stored() {
                        shared.consumer_moved();
                    }
                    return true;
                }
                Err(error) => format!("the offset of consumer {} can't be stored: {error}", self.slot.name),
            }
        };
        self.slot.set_state(ConsumerState::Stopped(reason.clone()));
        shared.poison(&reason);
        false
    }
}

impl Subscribed {
    /// Tells it that the appends of the records it was given last are answered. A panic is its own: nothing can be lost by it.
    pub(super) fn answered(&mut self) {
        let consumer = &mut self.consumer;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| consumer.on_answered())) {
            tracing::error!(consumer = self.slot.name, "a consumer panicked: {}", panic_text(&*panic));
        }
    }
}

/// Whether `name` may name a consumer (and so a file).
pub(super) fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(good)
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn path(dir: &Path, name: &str, suffix: &str) -> PathBuf {
    dir.join(format!("{name}{suffix}"))
}

fn encode(sequence: u64, offset: Offset) -> [u8; COPY_BYTES] {
    let mut out = [0; COPY_BYTES];
    out[..4].copy_from_slice(MAGIC);
    out[8..16].copy_from_slice(&sequence.to_le_bytes());
    out[16..].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<(u64, Offset)> {
    let (copy, _) = bytes.split_first_chunk::<COPY_BYTES>()?;
    let (magic, rest) = copy.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    if magic != MAGIC || u32::from_le_bytes(*crc) != crc32c::crc32c(rest) {
        return None;
    }
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*sequence), u64::from_le_bytes(*rest.first_chunk::<8>()?)))
}

/// Reads the stored offset of a consumer of a closed log, for tests and tools.
#[cfg(test)]
fn stored(dir: &Path, name: &str) -> Result<Option<Offset>, LogError> {
    Ok(Slot::load(dir, name, CONSUMER)?.map(|slot| slot.offset()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemDisk;

    #[test]
    fn a_torn_copy_falls_back_to_the_other_and_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let slot = Slot::create(dir.path(), "job", CONSUMER, &SystemDisk, 5).unwrap();
        slot.store(&SystemDisk, 9).unwrap();
        slot.store(&SystemDisk, 12).unwrap();
        assert_eq!(stored(dir.path(), "job").unwrap(), Some(12));
        let path = path(dir.path(), "job", CONSUMER);
        let whole = fs::read(&path).unwrap();
        for at in (0..COPY_BYTES).flat_map(|at| [at, at + COPY_DISTANCE as usize]) {
            let mut torn = whole.clone();
            torn[at] ^= 0x10;
            fs::write(&path, &torn).unwrap();
            // Sequence 4 is in the first copy.
            assert_eq!(stored(dir.path(), "job").unwrap(), Some(if at < COPY_BYTES { 9 } else { 12 }), "{at}");
        }
        let mut torn = whole;
        torn[4] ^= 1;
        torn[516] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert!(matches!(stored(dir.path(), "job"), Err(LogError::ConsumerDamaged { .. })));
        fs::write(&path, b"").unwrap();
        assert_eq!(stored(dir.path(), "job").unwrap(), None);
    }

    #[test]
    fn names_are_file_names() {
        for good in ["job", "a-b_3", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "..", "a/b", "A", "a.b", "ä", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
