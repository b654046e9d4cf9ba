//! A hook that is down is not asked by everybody, one deadline each. Pure.

/// So many failures in a row, and nobody asks for a while.
const FAILURES_MAX: u32 = 5;
/// How long, ms; then one asks, and the others go on when he got an answer.
const REST_MS: u64 = 2_000;

/// Whether to ask.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    rests_until_ms: u64,
    /// One is asking for all.
    trying: bool,
}

impl Breaker {
    /// Whether one may ask. Whoever may says how it went.
    ///
    /// # Errors
    /// How long to wait, ms.
    pub(super) fn admit(&mut self, now_ms: u64) -> Result<(), u64> {
        if self.failures < FAILURES_MAX {
            return Ok(());
        }
        if self.trying || now_ms < self.rests_until_ms {
            return Err(self.rests_until_ms.saturating_sub(now_ms));
        }
        self.trying = true;
        Ok(())
    }

    /// There was an answer that counts. Gives whether that is news.
    pub(super) fn succeeded(&mut self) -> bool {
        let failures = std::mem::take(self).failures;
        failures > 0
    }

    /// There was none. Gives whether that is news.
    pub(super) fn failed(&mut self, now_ms: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.trying = false;
        self.rests_until_ms = now_ms.saturating_add(REST_MS);
        self.failures == 1
    }

    /// Nothing was learned: the next one may ask.
    pub(super) fn gave_up(&mut self) {
        self.trying = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_after_some_failures_then_one_tries_for_all() {
        let mut breaker = Breaker::default();
        for at in 0..5 {
            assert_eq!(breaker.admit(100), Ok(()));
            assert_eq!(breaker.failed(100), at == 0);
        }
        assert_eq!((breaker.admit(100), breaker.admit(2_099)), (Err(2_000), Err(1)));
        assert_eq!((breaker.admit(2_100), breaker.admit(2_100)), (Ok(()), Err(0)), "one, and not two");
        assert!(!breaker.failed(2_200));
        assert_eq!(breaker.admit(2_201), Err(1_999));
        assert_eq!(breaker.admit(4_200), Ok(()));
        breaker.gave_up();
        assert_eq!(breaker.admit(4_200), Ok(()), "he learned nothing, so another tries");
        assert!(breaker.succeeded() && !breaker.succeeded());
        assert_eq!((breaker.admit(4_201), breaker.admit(4_201)), (Ok(()), Ok(())));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            for _ in 0..4 {
                breaker.failed(1);
            }
            breaker.succeeded();
        }
        assert_eq!(breaker.admit(1), Ok(()));
    }
}
