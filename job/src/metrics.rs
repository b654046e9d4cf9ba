//! What the job counts. Written by the driver, read by anybody at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::dispatch::Counts;

/// Why something was not handed to a comet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The key or the user has no session, or no comet holds the room: one for each.
    Offline,
    /// Too late: one for each key and user, or for each comet.
    Expired,
    /// The session is on a comet to which there is no lane (or there is no comet at all).
    NoLane,
    /// The lane had no room.
    LaneFull,
    /// The lane was broken.
    LaneBroken,
}

impl DropReason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Offline, Self::Expired, Self::NoLane, Self::LaneFull, Self::LaneBroken];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Expired => "expired",
            Self::NoLane => "no_lane",
            Self::LaneFull => "lane_full",
            Self::LaneBroken => "lane_broken",
        }
    }
}

/// Buckets of the batch histogram: 1, 2, 4, … 4096 deliveries, and more.
pub const BATCH_BUCKETS: usize = 14;

/// The counters of a job.
#[derive(Debug, Default)]
pub struct Metrics {
    records: AtomicU64,
    dead: AtomicU64,
    deliveries: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
    batches: [AtomicU64; BATCH_BUCKETS],
    lag_ms: AtomicU64,
    offset: AtomicU64,
}

/// What [`Metrics`] held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Records read, dead ones included.
    pub records: u64,
    /// Records that made no sense.
    pub dead: u64,
    /// Deliveries that lanes have taken.
    pub deliveries: u64,
    /// Drops, by the discriminant of [`DropReason`].
    pub drops: [u64; DropReason::ALL.len()],
    /// Batches handed over, by deliveries in them: at most 1, 2, 4, … 4096, and more.
    pub batches: [u64; BATCH_BUCKETS],
    /// Age of the last record when it was dispatched, ms.
    pub lag_ms: u64,
    /// Offset of the last record.
    pub offset: u64,
}

impl MetricsSnapshot {
    /// Drops for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// All drops.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }
}

impl Metrics {
    /// All counters now; each for itself is exact, together they may be a batch apart.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            records: self.records.load(Relaxed),
            dead: self.dead.load(Relaxed),
            deliveries: self.deliveries.load(Relaxed),
            drops: self.drops.each_ref().map(|count| count.load(Relaxed)),
            batches: self.batches.each_ref().map(|count| count.load(Relaxed)),
            lag_ms: self.lag_ms.load(Relaxed),
            offset: self.offset.load(Relaxed),
        }
    }

    /// Adds what became of some records; the last one had `offset` and was `lag_ms` old.
    pub(crate) fn add(&self, records: u64, dead: u64, counts: &Counts, offset: u64, lag_ms: u64) {
        self.records.fetch_add(records, Relaxed);
        self.dead.fetch_add(dead, Relaxed);
        self.add_counts(counts);
        self.lag_ms.store(lag_ms, Relaxed);
        self.offset.store(offset, Relaxed);
    }

    /// Adds what became of deliveries.
    pub(crate) fn add_counts(&self, counts: &Counts) {
        self.deliveries.fetch_add(counts.deliveries, Relaxed);
        for (total, count) in self.drops.iter().zip(counts.drops) {
            if count > 0 {
                total.fetch_add(count, Relaxed);
            }
        }
    }

    /// Counts a batch that was handed over.
    pub(crate) fn add_batch(&self, deliveries: usize) {
        let bucket = deliveries.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.batches[bucket.min(BATCH_BUCKETS - 1)].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_discriminants() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.word());
        }
    }

    #[test]
    fn buckets_hold_up_to_powers_of_two() {
        for (deliveries, bucket) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (4096, 12), (4097, 13), (usize::MAX, 13)] {
            let metrics = Metrics::default();
            metrics.add_batch(deliveries);
            assert_eq!(metrics.snapshot().batches[bucket], 1, "{deliveries}");
        }
    }
}
