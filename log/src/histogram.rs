//! A histogram with fixed buckets, without locks, in the shape metrics want.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets in µs; what is larger falls into one more bucket.
const BOUNDS_US: [u64; 17] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000,
];

/// The same bounds in seconds.
const BOUNDS_SECONDS: [f64; 17] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Durations counted by bucket.
#[derive(Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bounds of the buckets in seconds, inclusive and ascending.
    pub bounds_seconds: &'static [f64],
    /// Observations per bucket (not cumulative); one more than there are bounds, the last one unbounded.
    pub counts: Vec<u64>,
    /// Sum of all observations in seconds.
    pub sum_seconds: f64,
}

impl HistogramSnapshot {
    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let fits = |&bound_us: &u64| duration <= Duration::from_micros(bound_us);
        let bucket = BOUNDS_US.iter().position(fits).unwrap_or(BOUNDS_US.len());
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            bounds_seconds: &BOUNDS_SECONDS,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum_seconds: self.sum_ns.load(Relaxed) as f64 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_tables_agree() {
        for (us, seconds) in BOUNDS_US.iter().zip(BOUNDS_SECONDS) {
            assert!((*us as f64 / 1e6 - seconds).abs() < 1e-12, "{us}");
        }
        assert!(BOUNDS_US.is_sorted());
    }

    #[test]
    fn bounds_are_inclusive_and_the_last_bucket_is_open() {
        let histogram = Histogram::default();
        for duration in [
            Duration::ZERO,
            Duration::from_micros(50),
            Duration::from_nanos(50_001),
            Duration::from_secs(10),
            Duration::from_secs(11),
        ] {
            histogram.observe(duration);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.counts[0], snapshot.counts[1]), (2, 1));
        assert_eq!((snapshot.counts[16], snapshot.counts[17]), (1, 1));
        assert_eq!(snapshot.count(), 5);
        assert!((snapshot.sum_seconds - 21.000_100_001).abs() < 1e-9);
    }
}
