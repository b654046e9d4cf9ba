//! Latency histograms, medians and spreads.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency told apart, in ns; longer ones count as this.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Latencies in nanoseconds, three significant figures.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// A histogram on its way between processes: value and count of each bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sparse(Vec<(u64, u64)>);

impl Default for Latency {
    fn default() -> Self {
        // Constant arguments that satisfy the library's conditions (low >= 1,
        // high >= 2 × low, at most 5 figures), so it cannot refuse.
        #[allow(clippy::unwrap_used)]
        Self(Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).unwrap())
    }
}

impl Latency {
    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value at `quantile` (0 to 1) in ms; 0 when nothing was recorded.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { to_f64(self.0.value_at_quantile(quantile)) / 1e6 }
    }

    pub(crate) fn max_ms(&self) -> f64 {
        to_f64(self.0.max()) / 1e6
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.mean() / 1e6 }
    }

    pub(crate) fn sparse(&self) -> Sparse {
        let pair = |step: hdrhistogram::iterators::IterationValue<u64>| (step.value_iterated_to(), step.count_at_value());
        Sparse(self.0.iter_recorded().map(pair).collect())
    }

    pub(crate) fn merge(&mut self, other: &Sparse) {
        for (value, count) in &other.0 {
            self.0.saturating_record_n(*value, *count);
        }
    }
}

/// The median of several measurements with the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

impl Spread {
    /// None of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len();
        // count >= 1, so both indices are inside.
        let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
        Some(Self { median, min, max, count })
    }
}

/// Counts as floating point: exact below 2^53, and nothing here is larger.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// `a / b`, or 0 when there is nothing to divide by.
pub(crate) fn per(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_histograms_have_the_percentiles_of_the_whole() {
        let (mut whole, mut merged) = (Latency::default(), Latency::default());
        for part in 0..4u64 {
            let mut one = Latency::default();
            for n in 0..1000u64 {
                let ns = (n * 4 + part + 1) * 1_000_000;
                one.record(ns);
                whole.record(ns);
            }
            let line = serde_json::to_string(&one.sparse()).unwrap();
            merged.merge(&serde_json::from_str(&line).unwrap());
        }
        assert_eq!(merged.count(), 4000);
        for quantile in [0.0, 0.5, 0.99, 0.999, 1.0] {
            assert!((merged.ms(quantile) / whole.ms(quantile) - 1.0).abs() < 0.002);
        }
        assert!((merged.ms(0.5) / 2000.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn absurd_values_do_not_panic() {
        let mut latency = Latency::default();
        latency.record(0);
        latency.record(u64::MAX);
        assert_eq!(latency.count(), 2);
        assert!(latency.ms(1.0) >= 600_000.0);
        assert_eq!(Latency::default().ms(0.99).to_bits(), 0);
    }

    #[test]
    fn medians() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max, spread.count), (2.5, 1.0, 10.0, 4));
        assert_eq!(Spread::of(&[f64::NAN]), None);
    }
}
