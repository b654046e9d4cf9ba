//! One profile at a time: two would measure each other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether a profile is being taken, and until when.
#[derive(Clone, Default)]
pub(in crate::admin) struct Slot(Arc<Mutex<Option<Instant>>>);

/// The right to take a profile, for as long as it lives.
pub(super) struct Turn(Slot);

impl Slot {
    /// Takes the turn for a profile that lasts `length`.
    ///
    /// # Errors
    /// Somebody else has it: the seconds after which it pays to ask again, at least 1.
    pub(super) fn take(&self, now: Instant, length: Duration) -> Result<Turn, u64> {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = *until {
            let left = until.saturating_duration_since(now);
            return Err((left.as_millis().div_ceil(1000) as u64).max(1));
        }
        *until = Some(now + length);
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn() {
        let (slot, now) = (Slot::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let turn = slot.take(now, Duration::from_secs(5)).ok().unwrap();
        for (ms, wait_s) in [(0, 5), (1, 5), (4000, 1), (4001, 1), (5000, 1), (9000, 1)] {
            assert_eq!(slot.take(at(ms), Duration::from_secs(1)).err(), Some(wait_s), "{ms}");
        }
        drop(turn);
        let turn = slot.take(at(1), Duration::from_secs(1));
        assert!(turn.is_ok() && slot.take(at(1), Duration::from_secs(1)).is_err());
    }
}
