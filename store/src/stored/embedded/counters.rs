//! What is counted of a store on disk.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets, one of which has no upper bound.
const BUCKETS: usize = 14;

/// Upper bounds of the buckets of [`Durations`], seconds, inclusive.
pub static DURATIONS_SECONDS: [f64; BUCKETS - 1] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// How long something took, counted by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Durations {
    /// How many fell into each bucket of [`DURATIONS_SECONDS`] (not cumulative), and those that took longer.
    pub counts: [u64; BUCKETS],
    /// The sum of all, seconds.
    pub sum_seconds: f64,
}

/// What happened since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EmbeddedCounters {
    /// Rows in commits.
    pub rows: u64,
    /// Commits: nobody waits for them but acknowledgements of devices.
    pub commits: Durations,
    /// Syncs of what was committed.
    pub persists: Durations,
    /// Times that the disk failed.
    pub failures: u64,
    /// Times that the store was opened anew after that.
    pub reopened: u64,
    /// Bytes applied and not committed.
    pub uncommitted_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Questions that were given to the threads that read from disk.
    pub cold: u64,
    /// Questions that were refused, because too many waited for those threads.
    pub cold_refused: u64,
    /// Questions that wait for them now.
    pub reads_waiting: u64,
}

#[derive(Default)]
struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = DURATIONS_SECONDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn read(&self) -> Durations {
        Durations {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Relaxed)),
            sum_seconds: self.sum_ns.load(Relaxed) as f64 / 1e9,
        }
    }
}

#[derive(Default)]
pub(super) struct Counters {
    rows: AtomicU64,
    commits: Histogram,
    persists: Histogram,
    failures: AtomicU64,
    reopened: AtomicU64,
    cold: AtomicU64,
    cold_refused: AtomicU64,
}

impl Counters {
    pub(super) fn committed(&self, took: Duration, rows: usize) {
        self.rows.fetch_add(rows as u64, Relaxed);
        self.commits.observe(took);
    }

    pub(super) fn persisted(&self, took: Duration) {
        self.persists.observe(took);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn reopened(&self) {
        self.reopened.fetch_add(1, Relaxed);
    }

    /// A question went to the readers, or was refused by them.
    pub(super) fn cold(&self, taken: bool) {
        let counter = if taken { &self.cold } else { &self.cold_refused };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self, uncommitted_bytes: usize, disk_bytes: u64) -> EmbeddedCounters {
        EmbeddedCounters {
            rows: self.rows.load(Relaxed),
            commits: self.commits.read(),
            persists: self.persists.read(),
            failures: self.failures.load(Relaxed),
            reopened: self.reopened.load(Relaxed),
            uncommitted_bytes: uncommitted_bytes as u64,
            disk_bytes,
            cold: self.cold.load(Relaxed),
            cold_refused: self.cold_refused.load(Relaxed),
            reads_waiting: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_last_bucket_is_open() {
        let histogram = Histogram::default();
        for took_us in [0, 500, 501, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(took_us));
        }
        let read = histogram.read();
        assert_eq!((read.counts[0], read.counts[1], read.counts[12], read.counts[13]), (2, 1, 1, 1));
        assert!((read.sum_seconds - 10.001_002).abs() < 1e-9);
    }
}
