//! Which of the traces that begin here are sampled.

use super::TraceId;

/// The share of traces that are sampled, decided by their id: whoever asks with the same share gets the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Of 2^56 traces so many are sampled.
    threshold: u64,
}

/// The last seven bytes of an id are the random ones (W3C Trace Context, level 2).
const ONE: u64 = 1 << 56;

impl Ratio {
    /// A share from 0 (none) to 1 (all); what lies outside counts as the nearer one, and no number as none.
    pub fn new(share: f64) -> Self {
        // A float becomes an integer by cutting, and what does not fit becomes the nearest that does.
        Self { threshold: (share.clamp(0.0, 1.0) * ONE as f64) as u64 }
    }

    /// From [`Ratio::bits`].
    pub const fn from_bits(threshold: u64) -> Self {
        Self { threshold }
    }

    /// For an atomic.
    pub const fn bits(self) -> u64 {
        self.threshold
    }

    /// Whether none is sampled.
    pub const fn is_zero(self) -> bool {
        self.threshold == 0
    }

    /// Whether the trace `id` is sampled.
    pub fn samples(self, id: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g] = id.bytes();
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) < self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(random: u64) -> TraceId {
        let mut bytes = [0x55; 16];
        bytes[9..].copy_from_slice(&random.to_be_bytes()[1..]);
        TraceId::new(bytes).unwrap()
    }

    #[test]
    fn by_the_id_alone() {
        for (share, least, sampled, not) in [
            (0.0, 0, None, Some(0)),
            (1.0, ONE - 1, Some(ONE - 1), None),
            (0.25, 0, Some(ONE / 4 - 1), Some(ONE / 4)),
            (7.0, ONE - 1, Some(ONE - 1), None),
            (-1.0, 0, None, Some(0)),
            (f64::NAN, 0, None, Some(0)),
        ] {
            let ratio = Ratio::new(share);
            assert_eq!(ratio.samples(id(least)), sampled.is_some(), "{share}");
            assert!(sampled.is_none_or(|random| ratio.samples(id(random))), "{share}");
            assert!(not.is_none_or(|random| !ratio.samples(id(random))), "{share}");
            assert_eq!(Ratio::from_bits(ratio.bits()), ratio);
        }
        assert!(Ratio::new(0.0).is_zero() && !Ratio::new(0.000_001).is_zero());
    }
}
