//! What one webhook counts. Plain atomics; whoever exports them takes a [`HookSnapshot`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::pace::Breaker;

/// Why a request did not deliver: the words of `judge` and of outbound's errors. What is none of them counts as the last.
const FAILED: [&str; 16] = [
    "server_error",
    "deadline",
    "connect",
    "resolve",
    "refused_target",
    "broken",
    "redirect",
    "forbidden",
    "not_found",
    "rate_limited",
    "client_error",
    "refused",
    "too_large",
    "busy",
    "bad_request",
    "nonsense",
];
/// Why events are given up.
const DROPPED: [&str; 5] = ["expired", "refused", "too_large", "deleted", "nonsense"];

/// Counters of one webhook since the start of the process.
#[derive(Debug, Default)]
pub struct HookMetrics {
    name: String,
    origin: String,
    pub(crate) delivered: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) retried: AtomicU64,
    failed: [AtomicU64; FAILED.len()],
    dropped: [AtomicU64; DROPPED.len()],
    pub(crate) lag_records: AtomicU64,
    /// When the oldest event that is read and not delivered happened, unix ms; 0: there is none.
    pub(crate) oldest_ms: AtomicU64,
    breaker: AtomicU64,
}

impl HookMetrics {
    pub(crate) fn new(name: String, origin: String) -> Self {
        Self { name, origin, ..Self::default() }
    }

    /// A request that did not deliver.
    pub(crate) fn fail(&self, reason: &'static str) {
        add(&self.failed, &FAILED, reason, 1);
    }

    /// Events that will not be delivered (of records that are gone: how many records).
    pub(crate) fn drop_events(&self, reason: &'static str, count: u64) {
        add(&self.dropped, &DROPPED, reason, count);
    }

    pub(crate) fn set_breaker(&self, breaker: Breaker) {
        self.breaker.store(breaker as u64, Relaxed);
    }

    /// All of it at this moment.
    pub fn snapshot(&self, now_ms: u64) -> HookSnapshot {
        let words = |words: &[&'static str], counts: &[AtomicU64]| {
            words.iter().zip(counts).map(|(word, count)| (*word, count.load(Relaxed))).collect()
        };
        let oldest_ms = self.oldest_ms.load(Relaxed);
        HookSnapshot {
            name: self.name.clone(),
            origin: self.origin.clone(),
            delivered: self.delivered.load(Relaxed),
            requests: self.requests.load(Relaxed),
            retried: self.retried.load(Relaxed),
            failed: words(&FAILED, &self.failed),
            dropped: words(&DROPPED, &self.dropped),
            lag_records: self.lag_records.load(Relaxed),
            lag_ms: if oldest_ms == 0 { 0 } else { now_ms.saturating_sub(oldest_ms) },
            breaker_open: self.breaker.load(Relaxed) == Breaker::Open as u64,
        }
    }
}

fn add(counters: &[AtomicU64], words: &[&str], word: &str, count: u64) {
    let place = words.iter().position(|known| *known == word).unwrap_or(words.len() - 1);
    counters[place].fetch_add(count, Relaxed);
}

/// The counters of one webhook at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSnapshot {
    /// The name of its cursor.
    pub name: String,
    /// Scheme, host and port of its URL.
    pub origin: String,
    /// Events that it has.
    pub delivered: u64,
    /// Requests sent.
    pub requests: u64,
    /// Those that were not the first with their events.
    pub retried: u64,
    /// Requests that did not deliver, by reason.
    pub failed: Vec<(&'static str, u64)>,
    /// Events given up, by reason; of `deleted` the records of any kind that the log no longer had.
    pub dropped: Vec<(&'static str, u64)>,
    /// Records between its place and the newest event.
    pub lag_records: u64,
    /// Age of the oldest event that waits for it, ms.
    pub lag_ms: u64,
    /// Whether its breaker is open.
    pub breaker_open: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_under_their_name() {
        let metrics = HookMetrics::new("hook-1".to_owned(), String::new());
        metrics.fail("deadline");
        metrics.fail("deadline");
        metrics.fail("what nobody knows");
        metrics.drop_events("deleted", 7);
        metrics.oldest_ms.store(100, Relaxed);
        let counted = metrics.snapshot(150);
        let some = |all: &[(&'static str, u64)]| all.iter().filter(|(_, count)| *count > 0).copied().collect::<Vec<_>>();
        assert_eq!(some(&counted.failed), [("deadline", 2), ("nonsense", 1)]);
        assert_eq!((some(&counted.dropped), counted.lag_ms), (vec![("deleted", 7)], 50));
    }
}
