//! What a fleet saw: the sums over its processes.

use super::check::Tally;
use super::messages::{Opened, PhaseResult};
use crate::stats::Latency;
use std::collections::BTreeMap;

/// How the opening of a fleet went.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    pub(crate) online: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) latency: Latency,
    pub(crate) last_ns: u64,
}

/// What a fleet saw in one phase.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) in_window: u64,
    pub(crate) foreign: u64,
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    /// From due to received.
    pub(crate) latency: Latency,
    /// Of each message, at its first and at its last receiver.
    pub(crate) first: Latency,
    pub(crate) last: Latency,
    pub(crate) last_ns: u64,
    pub(crate) drops: BTreeMap<String, u64>,
}

impl Connected {
    pub(super) fn add(&mut self, opened: &Opened) {
        self.online += opened.online;
        self.latency.merge(&opened.latency);
        self.last_ns = self.last_ns.max(opened.last_ns);
        add_counts(&mut self.failures, &opened.failures);
    }
}

impl Outcome {
    pub(super) fn of(results: &[PhaseResult]) -> Self {
        let mut all = Self::default();
        for result in results {
            all.tally.add(result.tally);
            all.in_window += result.in_window;
            all.foreign += result.foreign;
            all.reads += result.reads;
            all.bytes += result.bytes;
            all.latency.merge(&result.latency);
            all.last_ns = all.last_ns.max(result.last_ns);
            add_counts(&mut all.drops, &result.drops);
        }
        let messages = results.iter().map(|result| result.first_us.len()).max().unwrap_or(0);
        for n in 0..messages {
            let at = |marks: &[u32]| marks.get(n).copied().filter(|mark| *mark > 0);
            let first = results.iter().filter_map(|result| at(&result.first_us)).min();
            let last = results.iter().filter_map(|result| at(&result.last_us)).max();
            // Marks are µs plus one.
            first.into_iter().for_each(|us| all.first.record(u64::from(us - 1) * 1_000));
            last.into_iter().for_each(|us| all.last.record(u64::from(us - 1) * 1_000));
        }
        all
    }
}

fn add_counts(sum: &mut BTreeMap<String, u64>, part: &BTreeMap<String, u64>) {
    for (reason, count) in part {
        *sum.entry(reason.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_receivers_over_processes() {
        let part = |first_us: Vec<u32>, last_us: Vec<u32>| PhaseResult { first_us, last_us, ..PhaseResult::default() };
        let all =
            Outcome::of(&[part(vec![1_001, 0, 5_001], vec![2_001, 0, 6_001]), part(vec![501, 0, 7_001], vec![1_501, 0, 9_001])]);
        assert_eq!((all.first.count(), all.last.count()), (2, 2));
        assert!((all.first.ms(0.0) - 0.5).abs() < 0.01);
        assert!((all.last.max_ms() - 9.0).abs() < 0.01);
    }
}
