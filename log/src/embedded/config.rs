//! Settings of the embedded log, with their reasons.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::{Disk, SystemDisk};
use super::segment::HEADER_BYTES;
use crate::record::encoded_bytes;
use crate::{KEY_BYTES_MAX, LogError, VALUE_BYTES_MAX};

/// Ms since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Largest segment: it is read into memory at the start.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Settings of an [`EmbeddedLog`](super::EmbeddedLog). `Default` is right for production.
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// Size of a segment file. Retention works in whole segments. At most 1 GiB.
    pub segment_bytes: u64,
    /// Rest after a sync that carried two or more records: a sync costs 40–50 µs of CPU whatever its size, so
    /// this bounds syncs to about 800/s under load. A lone record never waits for it.
    pub rest_us: u64,
    /// Closed segments are deleted, oldest first, while all files together are larger than this.
    pub retention_bytes: u64,
    /// Closed segments whose youngest record is older than this are deleted.
    pub retention_ms: u64,
    /// For the sake of open cursors that have not passed a segment it is kept beyond `retention_bytes` and
    /// `retention_ms`, while all files together are no larger than this …
    pub cursor_bytes_max: u64,
    /// … and its youngest record is no older than this.
    pub cursor_ms_max: u64,
    /// Bound of what is accepted and not yet durable.
    pub queue_bytes_max: usize,
    /// Bound of one value, at most [`VALUE_BYTES_MAX`].
    pub value_bytes_max: usize,
    /// How many bytes are zeroed ahead of the tail. Enough for a third of a second of a flat-out log.
    pub zero_ahead_bytes: u64,
    /// Who has to say which records he needs, by [`EmbeddedLog::keep_from`](super::EmbeddedLog::keep_from): until each of them
    /// has said so for the first time everything is kept.
    pub held_by: Vec<&'static str>,
    /// The clock for record times and retention.
    pub clock: Clock,
    /// The disk; tests inject failures here.
    pub disk: Arc<dyn Disk>,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            rest_us: 1000,
            retention_bytes: 1 << 30,
            retention_ms: 24 * 3600 * 1000,
            cursor_bytes_max: 4 << 30,
            cursor_ms_max: 3 * 24 * 3600 * 1000,
            queue_bytes_max: 64 << 20,
            value_bytes_max: VALUE_BYTES_MAX,
            zero_ahead_bytes: 16 << 20,
            held_by: Vec::new(),
            clock: Arc::new(system_clock),
            disk: Arc::new(SystemDisk),
        }
    }
}

impl EmbeddedConfig {
    /// Largest encoded record under these settings.
    fn record_bytes_max(&self) -> usize {
        encoded_bytes(KEY_BYTES_MAX, self.value_bytes_max)
    }

    /// Checks the relations between the bounds; names all that are broken.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let record = self.record_bytes_max();
        let mut wrong = Vec::new();
        if self.value_bytes_max > VALUE_BYTES_MAX {
            wrong.push(format!("value_bytes_max must be at most {VALUE_BYTES_MAX}"));
        }
        if self.segment_bytes < HEADER_BYTES + record as u64 || self.segment_bytes > SEGMENT_BYTES_MAX {
            let min = HEADER_BYTES + record as u64;
            wrong.push(format!("segment_bytes must be {min} (room for the largest record) to {SEGMENT_BYTES_MAX}"));
        }
        if self.queue_bytes_max < record {
            wrong.push(format!("queue_bytes_max must be at least {record} (the largest record)"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(LogError::Config(wrong.join("; "))) }
    }
}

fn system_clock() -> u64 {
    // Before 1970 there is nothing sensible to say but the beginning.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_mistakes_are_reported_together() {
        assert!(EmbeddedConfig::default().check().is_ok());
        let config = EmbeddedConfig { segment_bytes: 10, queue_bytes_max: 10, ..EmbeddedConfig::default() };
        let text = config.check().unwrap_err().to_string();
        assert!(text.contains("segment_bytes") && text.contains("queue_bytes_max"), "{text}");
    }
}
