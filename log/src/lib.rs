//! The event log of Perseid: the place where an accepted record becomes durable before anybody is told so.
//!
//! One trait, [`EventLog`], with one contract test (`tests/contract.rs`), and one implementation so far:
//! [`EmbeddedLog`], a single physical log in a local directory with group-commit fsync. An implementation
//! over a broker goes behind the same trait and the same contract test.
//!
//! **The rule of the crate**: an append is answered with an offset only after its record is on stable
//! storage *and* was handed to every consumer that is at the end of the log. What was answered is never
//! lost, offsets are dense, and a consumer sees each record once per run and in order.
//!
//! Not here: what a record means. Values are opaque bytes; the crate knows no protobuf, no socket and no
//! async runtime.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

mod embedded;
mod error;
mod histogram;
mod record;
mod status;

pub use embedded::{Clock, Disk, EmbeddedConfig, EmbeddedLog, Purpose, SystemDisk};
pub use error::{AppendError, LogError};
pub use histogram::HistogramSnapshot;
pub use record::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use status::{ConsumerState, ConsumerStatus, Counters, LogStatus};

/// Position of a record in the log. Dense; the first record of a fresh log is 1, so 0 means "none".
pub type Offset = u64;

/// What kind of record it is. The embedded log keeps all topics in one physical log and writes this byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Topic {
    /// Transient pushes: nothing is stored, delivery is best effort.
    Push = 1,
    /// Everything that gets a position in a conversation or an inbox.
    Log = 2,
    /// Webhook events.
    Events = 3,
}

impl Topic {
    /// The topic of a stored byte, `None` for a byte this version does not know.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Push),
            2 => Some(Self::Log),
            3 => Some(Self::Events),
            _ => None,
        }
    }
}

/// A durable record, as consumers get it. Cloning shares the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub offset: Offset,
    /// Its topic.
    pub topic: Topic,
    /// When it was appended, in ms since 1970, by the clock of the log.
    pub ts_ms: u64,
    /// The bytes given to [`EventLog::append`].
    pub value: Bytes,
}

/// Called exactly once per append: with the offset once the record is durable, or with the refusal.
pub type AppendDone = Box<dyn FnOnce(Result<Offset, AppendError>) + Send>;

/// Where a consumer without a stored offset begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With the oldest record the log still has.
    Earliest,
    /// With the next record that becomes durable. Fixed by the first subscription, not by later ones.
    Latest,
}

/// Gets records in order, each once per run of the process, only when they are durable.
pub trait Consumer: Send + 'static {
    /// Takes the next records; `records` is never empty and continues exactly where the last call ended.
    ///
    /// Runs on the thread that writes the log: it must not block, and it should take microseconds (hand the
    /// records to another thread, through a bounded queue that drops or coalesces when full). It may call
    /// [`EventLog::append`]. When it returns, the records count as consumed. A panic stops the log.
    fn on_records(&mut self, records: &[Record]);

    /// The appends of the records given last have all been answered. On the same thread, under the same rules.
    fn on_answered(&mut self) {}
}

/// Reads durable records at its own pace, on the thread that calls it. Holds nothing back.
pub trait LogReader: Send {
    /// The next records, oldest first: some, about 1 MiB at most (more if a single record is larger); none when the end
    /// is reached. If records were deleted before they were read it goes on with the oldest that is left: the offsets show
    /// how many are missing.
    ///
    /// # Errors
    /// [`LogError::Damaged`] and [`LogError::Io`].
    fn read(&mut self) -> Result<Vec<Record>, LogError>;

    /// The offset that comes next: all records before it were read, or are gone.
    fn next(&self) -> Offset;
}

/// How far somebody has come who reads at his own pace; kept over restarts under a name. While it is open the log keeps,
/// within bounds of its own, what was not passed.
pub trait Cursor: Send + Sync {
    /// The last offset that was passed.
    fn offset(&self) -> Offset;

    /// Passes everything up to `offset`. Survives the end of the process at once, and a power failure a second later.
    ///
    /// # Errors
    /// [`LogError::Io`]; the log is poisoned then.
    fn store(&self, offset: Offset) -> Result<(), LogError>;
}

/// An ordered, durable log.
pub trait EventLog: Send + Sync + 'static {
    /// Appends one record. Never blocks on the disk.
    ///
    /// `key` is the unit of order for logs with several partitions, at most [`KEY_BYTES_MAX`]. `done` is
    /// called exactly once: on the log's thread after the record is durable and was handed to the consumers
    /// at the end of the log, or with an error (maybe before this returns). It must not block.
    fn append(&self, topic: Topic, key: &[u8], value: Bytes, done: AppendDone);

    /// Starts `consumer` after the offset stored under `name`, or at `start` when there is none.
    ///
    /// `name` is 1 to 64 characters of `a-z 0-9 _ -`.
    ///
    /// # Errors
    /// [`LogError::ConsumerName`], [`LogError::AlreadySubscribed`], [`LogError::Closed`], and
    /// [`LogError::Io`] when the stored offset can't be kept.
    fn subscribe(&self, name: &str, start: Start, consumer: Box<dyn Consumer>) -> Result<(), LogError>;

    /// Starts `consumer` with the next record that becomes durable. Its place is stored nowhere: for whoever knows himself how far
    /// he has come, and reads the rest by [`EventLog::reader`]. `name` as above.
    ///
    /// # Errors
    /// [`LogError::ConsumerName`], [`LogError::AlreadySubscribed`], [`LogError::Closed`], and [`LogError::Io`] when a stored
    /// offset of that name, which is of no use any more, can't be deleted.
    fn follow(&self, name: &str, consumer: Box<dyn Consumer>) -> Result<(), LogError>;

    /// Reads everything that is durable now, oldest first, on the calling thread and in batches: what a part of memory is
    /// rebuilt from at a start. Stores no offset. Gives the last offset read, 0 if there was nothing.
    ///
    /// # Errors
    /// [`LogError::Damaged`] and [`LogError::Io`]; what was read before has been given to `on_records`.
    fn replay(&self, on_records: &mut dyn FnMut(&[Record])) -> Result<Offset, LogError>;

    /// A reader whose first record is `from`, or the oldest that there is.
    fn reader(&self, from: Offset) -> Box<dyn LogReader>;

    /// Opens the cursor of this name (as of a consumer), which stands where it stood, or at `start` when it is new. Dropping
    /// it closes it.
    ///
    /// # Errors
    /// [`LogError::ConsumerName`], [`LogError::AlreadySubscribed`], [`LogError::Closed`], [`LogError::Io`].
    fn cursor(&self, name: &str, start: Start) -> Result<Box<dyn Cursor>, LogError>;

    /// A snapshot for metrics and people. Cheap enough for once a second.
    fn status(&self) -> LogStatus;

    /// Refuses new appends, makes durable and hands over what was accepted, stores the consumers' offsets
    /// and ends the log's threads. Idempotent. Called on one of the log's own threads it only starts that.
    fn close(&self);
}

/// Locks, also after another thread panicked while it held the lock: no critical section of this crate can
/// leave its data half changed (callbacks always run outside).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
