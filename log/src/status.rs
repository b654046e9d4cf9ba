//! What a log tells about itself.

use crate::{HistogramSnapshot, Offset};

/// A snapshot of a log.
#[derive(Clone, Debug)]
pub struct LogStatus {
    /// The oldest offset that can be read; `end + 1` while there is none.
    pub first: Offset,
    /// The last durable offset; 0 while there is none.
    pub end: Offset,
    /// Files that hold records.
    pub segments: usize,
    /// Bytes of those files, zeros prepared ahead included.
    pub disk_bytes: u64,
    /// Bytes accepted and not yet durable.
    pub queue_bytes: usize,
    /// Why the log takes no appends any more (a failed write or sync, a panic of a consumer). Needs a restart.
    pub poisoned: Option<String>,
    /// Why the log takes no appends at the moment (no space). Goes away by itself.
    pub refusing: Option<String>,
    /// All consumers with a stored offset, running or not, and the cursors that are open.
    pub consumers: Vec<ConsumerStatus>,
    /// Counters since the start of the process.
    pub counters: Counters,
    /// Duration of one write and its fdatasync.
    pub sync_seconds: HistogramSnapshot,
    /// From the call of append to the record being durable, per record.
    pub append_seconds: HistogramSnapshot,
}

/// One consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// The last offset it consumed.
    pub offset: Offset,
    /// Durable records it has not consumed.
    pub lag: u64,
    /// What it is doing.
    pub state: ConsumerState,
}

/// What a consumer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    /// Nothing: it has a stored offset, but has not subscribed since the start. It holds back retention.
    Absent,
    /// Reads from disk what it missed.
    CatchingUp,
    /// Gets each batch as it becomes durable.
    AtEnd,
    /// It is a cursor, whose owner reads at his own pace.
    Cursor,
    /// Will get nothing more, and why.
    Stopped(String),
}

/// Counters since the start of the process; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records made durable.
    pub records: u64,
    /// Their bytes, framing included.
    pub bytes: u64,
    /// Write-and-sync rounds of records.
    pub syncs: u64,
    /// Appends refused because of their size.
    pub too_large: u64,
    /// Appends refused because the queue was full.
    pub overloaded: u64,
    /// Appends refused or given up as unavailable.
    pub unavailable: u64,
    /// Appends with an unknown outcome.
    pub unknown: u64,
    /// Segments begun.
    pub rolls: u64,
    /// Times the writer had to wait for zeroed space: should stay 0, else the disk is too slow.
    pub space_waits: u64,
    /// Segments deleted by retention.
    pub segments_deleted: u64,
    /// Bytes of a torn tail zeroed at the start: a write that a crash interrupted, never acknowledged.
    pub torn_bytes: u64,
    /// Records read again from disk for consumers that were behind.
    pub reread: u64,
    /// Callbacks of appends that panicked (the record itself is fine).
    pub done_panics: u64,
}
