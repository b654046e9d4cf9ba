//! The one source of randomness: seeded from outside, so that every run of the rules can be repeated.

/// A small generator (SplitMix64): for jitter and for `cid`s, not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [0, `max`].
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        // The product's upper half is below max + 1; the bias is at most 2^-64 of the range.
        ((u128::from(self.next()) * (u128::from(max) + 1)) >> 64) as u64
    }

    /// A `cid`: random, never 0.
    pub(crate) const fn cid(&mut self) -> u64 {
        loop {
            let cid = self.next();
            if cid != 0 {
                return cid;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeatable_and_within_its_bounds() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let mut seen = [false; 4];
        for _ in 0..200 {
            let drawn = a.up_to(3);
            assert_eq!(drawn, b.up_to(3));
            seen[usize::try_from(drawn).unwrap()] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(a.up_to(0), 0);
        assert!(a.up_to(u64::MAX) != a.up_to(u64::MAX));
    }
}
