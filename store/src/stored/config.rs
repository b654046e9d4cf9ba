//! What can be set, for every implementation of the store.

use std::sync::Arc;

/// Tells the time, unix ms.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// How long what is stored is kept. Floors only rise; the last position of an inbox or timeline is never forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Rows of an inbox; up to an eighth more, 64 at most, stand for a moment. At least 1.
    pub inbox_rows_max: u64,
    /// Age of rows of inboxes.
    pub inbox_age_ms: u64,
    /// Rows of a timeline, as those of inboxes. At least 1.
    pub timeline_rows_max: u64,
    /// Age of rows of timelines.
    pub timeline_age_ms: u64,
    /// Bytes on disk; above it the ages are shortened until it fits. 0: no limit. Only for a store with a disk.
    pub disk_bytes_max: u64,
    /// How long it is known that somebody was a member, and what came of records that have no row. Longer than the log is kept,
    /// so that whoever reads the log again from its start finds the same recipients.
    pub left_age_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            inbox_rows_max: 10_000,
            inbox_age_ms: 30 * DAY_MS,
            timeline_rows_max: 1_000_000,
            timeline_age_ms: 365 * DAY_MS,
            disk_bytes_max: 0,
            left_age_ms: 8 * DAY_MS,
        }
    }
}

/// Settings of a store of stored messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConfig {
    /// How long what is stored is kept.
    pub retention: Retention,
    /// Every member of a channel may post; else only its owner.
    pub members_post: bool,
    /// Bytes for heads of inboxes and conversations in memory, about.
    pub cache_bytes_max: usize,
    /// Bytes for the dedupe of the last hours in memory, about; what does not fit is looked up on disk.
    pub dedupe_bytes_max: usize,
    /// Bytes for reservations that nothing has come of yet, about. Beyond them the oldest are forgotten.
    pub reservation_bytes_max: usize,
}

impl Default for StoredConfig {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            members_post: false,
            cache_bytes_max: 64 << 20,
            dedupe_bytes_max: 128 << 20,
            reservation_bytes_max: 32 << 20,
        }
    }
}

/// How many rows may stand above `rows_max` before they are trimmed, so that not every message pays for it.
pub(crate) fn slack(rows_max: u64) -> u64 {
    (rows_max / 8).min(64)
}
