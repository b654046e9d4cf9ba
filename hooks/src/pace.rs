//! When to try again: waits that double, with full jitter; after some failures in a row a breaker that lets one event through
//! at a time.

/// The first wait is no longer than this, ms.
const FIRST_MS: u64 = 500;
/// Failures in a row after which the breaker opens …
const FAILURES_MAX: u32 = 5;
/// … and the least wait from then on, ms.
const OPEN_MS: u64 = 2_000;
/// A receiver may ask to be left alone for no longer than this, ms.
const RETRY_AFTER_MS_MAX: u64 = 300_000;

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// All is well, or nearly.
    #[default]
    Closed = 0,
    /// The next request is a probe of one event.
    Open = 1,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In a row.
    failures: u32,
    wait_ms_max: u64,
}

impl Pace {
    pub(crate) const fn new(wait_ms_max: u64) -> Self {
        Self { failures: 0, wait_ms_max }
    }

    pub(crate) const fn breaker(&self) -> Breaker {
        if self.failures < FAILURES_MAX { Breaker::Closed } else { Breaker::Open }
    }

    /// Failures in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Takes note of a failure; how long to wait now, ms. `random`: any number.
    pub(crate) fn fail(&mut self, random: u64, retry_after_ms: Option<u64>) -> u64 {
        self.failures = self.failures.saturating_add(1);
        let doubled = FIRST_MS.saturating_mul(1 << (self.failures - 1).min(30));
        let ceiling = doubled.min(self.wait_ms_max);
        let least = match self.breaker() {
            Breaker::Closed => 0,
            Breaker::Open => OPEN_MS.min(self.wait_ms_max),
        };
        let asked = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
        (random % (ceiling + 1)).max(least).max(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_with_full_jitter() {
        let longest = |failures: u32| {
            let mut pace = Pace::new(60_000);
            (0..failures).map(|_| pace.fail(0, None)).last();
            // The largest remainder that there can be.
            let mut waits: Vec<u64> = (0..200_000).step_by(7).map(|random| pace.clone().fail(random, None)).collect();
            waits.sort_unstable();
            (waits[0], *waits.last().unwrap())
        };
        let expected = [(0, 500), (0, 1000), (0, 2000), (0, 4000), (2000, 8000), (2000, 16_000), (2000, 32_000), (2000, 60_000)];
        for (failures, (least, most)) in (0..).zip(expected) {
            let found = longest(failures);
            assert!(found.0 == least && found.1 <= most && found.1 > most - 10, "{failures}: {found:?}");
        }
        assert_eq!(longest(1000).0, 2000, "never an overflow");
        assert_eq!(Pace::new(10).fail(u64::MAX, None), u64::MAX % 11);
    }

    #[test]
    fn the_breaker_and_the_receivers_wish() {
        let mut pace = Pace::new(60_000);
        for _ in 0..4 {
            pace.fail(0, None);
            assert_eq!(pace.breaker(), Breaker::Closed);
        }
        assert_eq!((pace.fail(0, None), pace.breaker()), (2000, Breaker::Open));
        assert_eq!(pace.fail(0, Some(7000)), 7000);
        assert_eq!(pace.fail(0, Some(86_400_000)), 300_000, "but not for a day");
        pace.succeed();
        assert_eq!((pace.breaker(), pace.fail(0, None), pace.failures()), (Breaker::Closed, 0, 1));
    }
}
