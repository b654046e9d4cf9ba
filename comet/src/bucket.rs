//! A token bucket in one number: the time at which it would be full again (GCRA). Pure: time is an argument.

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Sustained; 0: no limit.
    pub per_second: u32,
    /// At once, after a pause; at least 1, where there is a limit.
    pub burst: u32,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Rate {
    /// A rate; without a burst of its own a second's worth may come at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst: if burst == 0 { per_second } else { burst } }
    }

    /// Whether there is a limit at all.
    pub const fn is_on(&self) -> bool {
        self.per_second > 0
    }

    const fn cost_ns(&self, count: u32) -> u64 {
        // Fits: 2^32 × 10^9 is less than 2^62. `is_on` was asked before; without a limit everything is free.
        match (count as u64 * SECOND_NS).checked_div(self.per_second as u64) {
            Some(ns) => ns,
            None => 0,
        }
    }

    /// Takes `count` from a bucket that is full again at `full_ns`, at `now_ns`: when it is full again after that.
    ///
    /// # Errors
    /// How long to wait until they would be there, ns. Nothing was taken.
    pub(crate) fn take(&self, full_ns: u64, now_ns: u64, count: u32) -> Result<u64, u64> {
        let after_ns = full_ns.max(now_ns).saturating_add(self.cost_ns(count));
        let over_ns = (after_ns - now_ns).saturating_sub(self.cost_ns(self.burst));
        if over_ns == 0 || !self.is_on() { Ok(after_ns) } else { Err(over_ns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate::new(10, 3);
        let mut full_ns = 0;
        let mut taken = Vec::new();
        // One attempt every 20 ms for a second.
        for at_ms in (0..1000).step_by(20) {
            if let Ok(after_ns) = rate.take(full_ns, at_ms * 1_000_000, 1) {
                full_ns = after_ns;
                taken.push(at_ms);
            }
        }
        assert_eq!(taken[..5], [0, 20, 40, 100, 200]);
        assert_eq!(taken.len(), 12, "3 at once, then one each 100 ms");
    }

    #[test]
    fn refusing_says_how_long_and_takes_nothing() {
        let rate = Rate::new(100, 50);
        let full_ns = rate.take(0, 0, 50).unwrap();
        assert_eq!(rate.take(full_ns, 0, 10), Err(100_000_000));
        assert!(rate.take(full_ns, 99_999_999, 10).is_err());
        assert!(rate.take(full_ns, 100_000_000, 10).is_ok());
        assert_eq!(rate.take(0, 0, 51).unwrap_err(), 10_000_000, "more than ever fit");
    }

    #[test]
    fn extremes() {
        assert_eq!(Rate::new(0, 0).take(0, 5, u32::MAX), Ok(5), "no limit");
        assert_eq!(Rate::new(7, 0).burst, 7);
        assert!(Rate::new(u32::MAX, u32::MAX).take(0, u64::MAX, u32::MAX).is_ok());
        assert!(Rate::new(1, 1).take(u64::MAX, u64::MAX - 1, 1).is_ok(), "a full bucket at the end of time");
        assert!(Rate::new(1, 1).take(u64::MAX, 0, 1).is_err());
    }
}
