//! A bounded map of what was used lately.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: what is used moves to the young one; when that is full it becomes the old one, and the old one goes.
pub(crate) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Weight of the young generation at which it is full.
    weight_max: usize,
    weight: usize,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    /// At most twice this weight.
    pub(crate) fn new(weight_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight_max, weight: 0 }
    }

    /// A copy of the value; `weight`: that which it was inserted with.
    pub(crate) fn get(&mut self, key: &K, weight: impl FnOnce(&V) -> usize) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        let weight = weight(&value);
        self.insert(*key, value.clone(), weight);
        Some(value)
    }

    /// The value, without counting that as use.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Whether it is there; does not count as use.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.peek(key).is_some()
    }

    /// Remembers a value. Gives what went for it: who holds others up drops that later.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) -> HashMap<K, V> {
        if self.young.insert(key, value).is_none() {
            self.old.remove(&key);
            self.weight += weight;
        }
        if self.weight <= self.weight_max {
            return HashMap::new();
        }
        self.weight = 0;
        // As large as before, so that it need not grow again.
        let anew = HashMap::with_capacity(self.young.len());
        std::mem::replace(&mut self.old, std::mem::replace(&mut self.young, anew))
    }

    /// Forgets a value.
    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::new(10);
        for number in 0..100_u32 {
            cache.insert(number, number, 1);
            assert_eq!(cache.get(&0, |_| 1), Some(0));
            assert!(cache.young.len() + cache.old.len() <= 22);
        }
        assert!(!cache.contains(&50) && cache.contains(&99));
        cache.remove(&99);
        assert!(!cache.contains(&99));
    }
}
