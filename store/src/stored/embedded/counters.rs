//! What is counted of a store on disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happened since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedCounters {
    /// Commits.
    pub commits: u64,
    /// Rows in them.
    pub rows: u64,
    /// Time of the slowest commit, µs.
    pub commit_us_max: u64,
    /// Syncs.
    pub persists: u64,
    /// Time of the slowest sync, µs.
    pub persist_us_max: u64,
    /// Times that the disk failed and the store was opened anew.
    pub reopened: u64,
    /// Bytes applied and not committed.
    pub uncommitted_bytes: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    rows: AtomicU64,
    commit_us_max: AtomicU64,
    persists: AtomicU64,
    persist_us_max: AtomicU64,
    reopened: AtomicU64,
}

impl Counters {
    pub(super) fn committed(&self, took: Duration, rows: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.commit_us_max.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn persisted(&self, took: Duration) {
        self.persists.fetch_add(1, Ordering::Relaxed);
        self.persist_us_max.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn reopened(&self) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, uncommitted_bytes: usize) -> EmbeddedCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EmbeddedCounters {
            commits: read(&self.commits),
            rows: read(&self.rows),
            commit_us_max: read(&self.commit_us_max),
            persists: read(&self.persists),
            persist_us_max: read(&self.persist_us_max),
            reopened: read(&self.reopened),
            uncommitted_bytes: uncommitted_bytes as u64,
        }
    }
}
