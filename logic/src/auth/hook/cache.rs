//! What is remembered, each for its time and only so many. Pure.

use std::collections::{HashMap, VecDeque};

/// A keyed hash of a question.
pub(super) type Digest = [u8; 32];

struct Entry<V> {
    value: V,
    until_ms: u64,
    /// Tells it from an earlier one with the same digest.
    number: u64,
}

/// Values by digest. The oldest are forgotten first.
pub(super) struct Cache<V> {
    entries_max: usize,
    entries: HashMap<Digest, Entry<V>>,
    /// In the order in which they came; some of them are gone.
    order: VecDeque<(Digest, u64)>,
    number: u64,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: HashMap::new(), order: VecDeque::new(), number: 0 }
    }

    /// What is remembered, if its time is not over.
    pub(super) fn get(&self, digest: &Digest, now_ms: u64) -> Option<V> {
        self.entries.get(digest).filter(|entry| now_ms < entry.until_ms).map(|entry| entry.value.clone())
    }

    /// Remembers, in place of what was there.
    pub(super) fn put(&mut self, digest: Digest, value: V, until_ms: u64, now_ms: u64) {
        if self.entries_max == 0 || until_ms <= now_ms {
            return;
        }
        self.number += 1;
        self.entries.insert(digest, Entry { value, until_ms, number: self.number });
        self.order.push_back((digest, self.number));
        while let Some((oldest, number)) = self.order.front() {
            let entry = self.entries.get(oldest).filter(|entry| entry.number == *number);
            let full = self.entries.len() > self.entries_max;
            if entry.is_some_and(|entry| now_ms < entry.until_ms && !full) {
                break;
            }
            if entry.is_some() {
                self.entries.remove(oldest);
            }
            self.order.pop_front();
        }
        // Short-lived ones behind a long-lived one leave their places behind.
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(digest, number)| entries.get(digest).is_some_and(|entry| entry.number == *number));
        }
    }

    #[cfg(test)]
    fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> Digest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_le_bytes());
        digest
    }

    #[test]
    fn each_has_its_time() {
        let mut cache = Cache::new(10);
        cache.put(digest(1), 'a', 100, 0);
        cache.put(digest(2), 'b', 50, 0);
        assert_eq!([1, 2, 3].map(|n| cache.get(&digest(n), 49)), [Some('a'), Some('b'), None]);
        assert_eq!([1, 2].map(|n| cache.get(&digest(n), 50)), [Some('a'), None]);
        cache.put(digest(2), 'c', 60, 50);
        assert_eq!(cache.get(&digest(2), 59), Some('c'));
        cache.put(digest(3), 'd', 60, 60);
        assert_eq!(cache.get(&digest(3), 59), None, "what is over is not remembered");
    }

    #[test]
    fn never_more_than_so_many_and_the_oldest_go() {
        let mut cache = Cache::new(3);
        for n in 0..1_000 {
            cache.put(digest(n), n, 1_000_000, 0);
        }
        assert_eq!([996, 997, 999].map(|n| cache.get(&digest(n), 1)), [None, Some(997), Some(999)]);
        assert_eq!(cache.sizes(), (3, 3));
        let mut none = Cache::new(0);
        none.put(digest(1), 1, 100, 0);
        assert_eq!(none.get(&digest(1), 1), None);
    }

    #[test]
    fn what_is_over_gives_its_place_back() {
        let mut cache = Cache::new(1_000);
        cache.put(digest(0), 0, u64::MAX, 0);
        for round in 0..10_000 {
            cache.put(digest(1 + round % 2), 1, u64::from(round) + 1, round.into());
        }
        let (entries, order) = cache.sizes();
        assert!(entries <= 3 && order <= 2 * entries + 65, "{entries} {order}");
        for n in 0..500 {
            cache.put(digest(n + 10), 1, 20_000, 10_000);
        }
        cache.put(digest(0), 0, 50_000, 20_000);
        assert_eq!(cache.sizes(), (1, 1), "all others were over");
    }
}
