//! Which of the messages of a plan: a bit for each, sent between processes.

use serde::{Deserialize, Serialize};

/// A set of numbers below a bound that its owner knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Adds `k`; false when it was there.
    #[inline]
    pub(crate) fn insert(&mut self, k: u64) -> bool {
        let word = usize::try_from(k / 64).unwrap_or(usize::MAX);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let (place, bit) = (&mut self.0[word], 1 << (k % 64));
        let new = *place & bit == 0;
        *place |= bit;
        new
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many of a range are here.
    pub(crate) fn count(&self, range: std::ops::Range<u64>) -> u64 {
        range.filter(|k| self.has(*k)).count() as u64
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.0.len() as u64 * 64).filter(|k| self.has(*k))
    }

    fn has(&self, k: u64) -> bool {
        let word = usize::try_from(k / 64).unwrap_or(usize::MAX);
        self.0.get(word).is_some_and(|word| word >> (k % 64) & 1 == 1)
    }

    /// How many are here and not in `other`.
    pub(crate) fn without(&self, other: &Self) -> u64 {
        let there = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(there).map(|(word, other)| u64::from((word & !other).count_ones())).sum()
    }

    /// Adds all that are in `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(numbers: &[u64]) -> Bits {
        let mut bits = Bits::default();
        numbers.iter().for_each(|n| assert!(bits.insert(*n)));
        bits
    }

    #[test]
    fn sets() {
        let (mut some, more) = (bits(&[0, 63, 64, 200]), bits(&[63, 200, 1000]));
        assert!(!some.insert(63));
        assert_eq!((some.len(), some.without(&more), more.without(&some)), (4, 2, 1));
        some.merge(&more);
        assert_eq!((some.len(), more.without(&some)), (5, 0));
        assert_eq!(some.numbers().collect::<Vec<_>>(), [0, 63, 64, 200, 1000]);
        assert_eq!((some.count(63..200), some.count(900..9_000)), (2, 1));
        assert_eq!(Bits::default().len(), 0);
    }
}
