//! Settings of the store in a folder, and why it does not open.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::stored::config::{Clock, StoredConfig};

/// What a store asks of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskUse {
    /// Opening the folder, and looking whether a disk that failed takes bytes again.
    Open,
    /// Writing what was applied.
    Commit,
    /// Syncing what was written.
    Sync,
    /// Reading what is not in memory; asked on the thread that waits for it.
    Read,
}

/// Asked before each use of the disk; an error is taken for the disk's own. Tests make disks fail here.
pub type DiskFault = Arc<dyn Fn(DiskUse) -> io::Result<()> + Send + Sync>;

/// How a store is, told to whoever runs it when that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Works,
    /// Its disk fails, and is tried again and again. What was applied can be read.
    Fails(String),
    /// The disk takes bytes again; nothing is read until the log has been applied to where the store stood.
    Behind,
}

/// Told a condition when it begins, on the thread that commits or that applies: must not block.
pub type OnCondition = Arc<dyn Fn(&Condition) + Send + Sync>;

/// Settings of an [`super::EmbeddedStore`].
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// Its folder; made if it is not there.
    pub folder: PathBuf,
    /// What is common to all stores.
    pub stored: StoredConfig,
    /// Tells the time, unix ms.
    pub clock: Clock,
    /// Bytes that may be applied and not be committed; beyond them steps are answered with Busy.
    pub uncommitted_bytes_max: usize,
    /// Bytes applied that make the committer work before its second is over.
    pub commit_bytes: usize,
    /// The least time between two commits, ms.
    pub rest_ms: u64,
    /// The time between two syncs, ms: so much of the log is applied again after a loss of power, about.
    pub persist_ms: u64,
    /// Bytes of a table in memory, before it is written to a file.
    pub memtable_bytes_max: u64,
    /// Bytes of the journals on disk.
    pub journal_bytes_max: u64,
    /// Bytes of pages read from disk that are kept.
    pub page_cache_bytes_max: u64,
    /// Bytes of messages committed last that are kept in memory.
    pub recent_bytes_max: usize,
    /// Threads that read what is not in memory, for those who must not wait for the disk. At least 1.
    pub readers: usize,
    /// Reads that may wait for them; more are refused. One takes about a KiB.
    pub reads_waiting_max: usize,
    /// A folder that can't be read when the store is opened is moved aside and a new one is begun, which is filled again from
    /// the log. Never for an error of the disk, and never while it runs: the folder may hold what the log no longer has.
    pub move_aside: bool,
    /// See [`DiskFault`].
    pub disk_fault: DiskFault,
    /// See [`OnCondition`].
    pub on_condition: OnCondition,
}

impl EmbeddedConfig {
    /// The defaults.
    #[must_use]
    pub fn new(folder: PathBuf, stored: StoredConfig, clock: Clock) -> Self {
        Self {
            folder,
            stored,
            clock,
            uncommitted_bytes_max: 128 << 20,
            commit_bytes: 1 << 20,
            rest_ms: 2,
            persist_ms: 1_000,
            memtable_bytes_max: 32 << 20,
            journal_bytes_max: 256 << 20,
            page_cache_bytes_max: 64 << 20,
            recent_bytes_max: 64 << 20,
            readers: 2,
            reads_waiting_max: 32_768,
            move_aside: true,
            disk_fault: Arc::new(|_| Ok(())),
            on_condition: Arc::new(|_| {}),
        }
    }
}

/// Why a store does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store {0} is open in another process: stop that one, or use another folder")]
    Locked(PathBuf),
    /// The disk or its rights.
    #[error("the store {folder} can't be opened: {why}. Nothing was changed: look at the disk, its room and its rights")]
    Disk {
        /// Where.
        folder: PathBuf,
        /// What the disk says.
        why: String,
    },
    /// It was written by a newer version: nothing was touched.
    #[error("the store {folder} has format {format}, this version knows an older one: start the version that wrote it")]
    Newer {
        /// Where.
        folder: PathBuf,
        /// Its format.
        format: u64,
    },
    /// What is there can't be read.
    #[error("the store {folder} can't be read: {why}; delete the folder, the store is filled again from the log")]
    Broken {
        /// Where.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
}
