//! A breaker: after some failures in a row nothing is tried for a while, then one probe decides.

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All is well.
    Closed,
    /// Nothing is tried until then, ms.
    Open {
        /// When a probe may go, ms.
        until_ms: u64,
    },
    /// A probe is allowed, or on its way.
    HalfOpen,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// In a row, while closed.
    failures: u32,
    failures_max: u32,
    open_ms: u64,
}

impl Breaker {
    /// Opens for `open_ms` after `failures_max` failures in a row.
    pub(super) const fn new(failures_max: u32, open_ms: u64) -> Self {
        Self { state: BreakerState::Closed, failures: 0, failures_max, open_ms }
    }

    /// The state at `now_ms`.
    pub(super) fn state(&mut self, now_ms: u64) -> BreakerState {
        if matches!(self.state, BreakerState::Open { until_ms } if now_ms >= until_ms) {
            self.state = BreakerState::HalfOpen;
        }
        self.state
    }

    pub(super) const fn succeed(&mut self) {
        self.state = BreakerState::Closed;
        self.failures = 0;
    }

    /// Takes note of a failure; `true` when that opened it.
    pub(super) fn fail(&mut self, now_ms: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state(now_ms) {
            BreakerState::Closed => self.failures >= self.failures_max,
            BreakerState::HalfOpen => true,
            BreakerState::Open { .. } => false,
        };
        if opens {
            self.state = BreakerState::Open { until_ms: now_ms.saturating_add(self.open_ms) };
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_open_half_open_and_back() {
        let mut breaker = Breaker::new(3, 100);
        assert!(!breaker.fail(0) && !breaker.fail(1));
        breaker.succeed();
        assert!(!breaker.fail(2) && !breaker.fail(3), "only failures in a row count");
        assert!(breaker.fail(4));
        assert_eq!(breaker.state(103), BreakerState::Open { until_ms: 104 });
        assert_eq!(breaker.state(104), BreakerState::HalfOpen);
        assert!(breaker.fail(110), "a failed probe opens it at once");
        assert_eq!(breaker.state(209), BreakerState::Open { until_ms: 210 });
        assert_eq!(breaker.state(210), BreakerState::HalfOpen);
        breaker.succeed();
        assert_eq!(breaker.state(211), BreakerState::Closed);
        assert!(!breaker.fail(212), "and all failures are forgotten");
    }
}
