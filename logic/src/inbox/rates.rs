//! How often a user may send: so many messages a second, and as many at once. Pure: time is an argument.

use std::collections::HashMap;

const SECOND_NS: u64 = 1_000_000_000;
/// Users that are looked at. What is above it is not limited: it would take as many users sending within one second.
const USERS_MAX: usize = 1 << 20;

/// Buckets that fill at a steady rate, one for each user who sent a moment ago (the generic cell rate algorithm: one number,
/// the time at which it is full again).
pub(super) struct Rates {
    per_second: u32,
    full_at_ns: HashMap<u64, u64>,
    /// When there are so many, those that are full again are forgotten.
    sweep_at: usize,
}

impl Rates {
    /// `per_second` 0: no limit.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, full_at_ns: HashMap::new(), sweep_at: 1024 }
    }

    pub(super) fn reload(&mut self, per_second: u32) {
        if per_second != self.per_second {
            *self = Self::new(per_second);
        }
    }

    /// Takes one message of a user, or says how long to wait, ms.
    pub(super) fn take(&mut self, mid: u64, now_ms: u64) -> Result<(), u64> {
        if self.per_second == 0 {
            return Ok(());
        }
        let now_ns = now_ms.saturating_mul(1_000_000);
        self.sweep(now_ns);
        let interval_ns = SECOND_NS / u64::from(self.per_second);
        let Some(full_at_ns) = self.room_for(mid) else { return Ok(()) };
        // A clock that went back gives a full bucket, not a long wait.
        let before_ns = Some(*full_at_ns).filter(|at_ns| *at_ns <= now_ns.saturating_add(SECOND_NS)).unwrap_or(0).max(now_ns);
        let next_ns = before_ns.saturating_add(interval_ns);
        let lacking_ns = (next_ns - now_ns).saturating_sub(SECOND_NS.max(interval_ns));
        if lacking_ns > 0 {
            return Err(lacking_ns.div_ceil(1_000_000));
        }
        *full_at_ns = next_ns;
        Ok(())
    }

    /// The message that was taken last for this user is not sent.
    pub(super) fn give_back(&mut self, mid: u64) {
        if let Some(full_at_ns) = self.full_at_ns.get_mut(&mid) {
            *full_at_ns = full_at_ns.saturating_sub(SECOND_NS / u64::from(self.per_second.max(1)));
        }
    }

    fn room_for(&mut self, mid: u64) -> Option<&mut u64> {
        let full = self.full_at_ns.len() >= USERS_MAX && !self.full_at_ns.contains_key(&mid);
        (!full).then(|| self.full_at_ns.entry(mid).or_default())
    }

    fn sweep(&mut self, now_ns: u64) {
        if self.full_at_ns.len() >= self.sweep_at {
            self.full_at_ns.retain(|_, at_ns| *at_ns > now_ns && *at_ns <= now_ns.saturating_add(SECOND_NS));
            self.sweep_at = (self.full_at_ns.len() * 2).max(1024);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_user_by_himself() {
        let mut rates = Rates::new(10);
        let at_once = (0..20).filter(|_| rates.take(7, 1_000).is_ok()).count();
        assert_eq!(at_once, 10);
        assert_eq!(rates.take(7, 1_000), Err(100));
        assert_eq!(rates.take(7, 1_099), Err(1));
        assert_eq!((rates.take(7, 1_100), rates.take(7, 1_100)), (Ok(()), Err(100)));
        assert_eq!(rates.take(8, 1_000), Ok(()));
        rates.reload(0);
        assert!((0..1000).all(|_| rates.take(7, 1_100).is_ok()));
    }

    #[test]
    fn what_is_given_back_may_be_taken_again() {
        let mut rates = Rates::new(2);
        assert_eq!((rates.take(7, 1_000), rates.take(7, 1_000), rates.take(7, 1_000)), (Ok(()), Ok(()), Err(500)));
        rates.give_back(7);
        rates.give_back(8);
        assert_eq!((rates.take(7, 1_000), rates.take(7, 1_000)), (Ok(()), Err(500)));
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let mut rates = Rates::new(1);
        assert_eq!((rates.take(7, 50_000), rates.take(7, 50_000)), (Ok(()), Err(1_000)));
        assert_eq!((rates.take(7, 10), rates.take(7, 10)), (Ok(()), Err(1_000)));
    }

    #[test]
    fn who_has_not_sent_for_a_second_is_forgotten() {
        let mut rates = Rates::new(1);
        for mid in 0..5_000 {
            assert_eq!(rates.take(mid, 1_000 + 2 * mid), Ok(()));
        }
        assert!(rates.full_at_ns.len() <= 2048, "{}", rates.full_at_ns.len());
    }
}
