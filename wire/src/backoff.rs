//! How long to wait before the next attempt: longer each time, never twice the same. Pure: randomness is an argument.

use std::time::Duration;

/// The first wait.
const FIRST_MS: u64 = 50;
/// The longest one.
const LONGEST_MS: u64 = 2_000;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked: the next wait is a first one.
    pub const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait, between half of the step and all of it, as `random` says.
    pub fn fail(&mut self, random: u64) -> Duration {
        let step = (FIRST_MS << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(step / 2 + random % (step / 2 + 1))
    }
}

/// A random number; without the system's randomness a poor one, which is good enough for a wait.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_again() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..8).map(|_| backoff.fail(u64::MAX).as_millis() as u64).collect();
        assert!(longest.iter().all(|ms| (25..=LONGEST_MS).contains(ms)), "{longest:?}");
        let least: Vec<u128> = (0..3).map(|_| backoff.fail(0).as_millis()).collect();
        assert_eq!(least, [1000; 3]);
        backoff.succeed();
        assert_eq!(backoff.fail(0).as_millis(), 25);
        let mut long = Backoff { failures: u32::MAX };
        assert_eq!(long.fail(0).as_millis(), 1000);
    }
}
