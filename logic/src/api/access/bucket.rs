//! A token's quota: so many calls a second, and so many at once. Exact under parallel callers, and without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket that fills at a steady rate (the generic cell rate algorithm: one number, the time at which it is full again).
#[derive(Debug)]
pub(super) struct Bucket {
    /// Time in which one call comes back, ns.
    interval_ns: u64,
    /// Calls that may come at once.
    burst: u64,
    /// When the bucket is full again if nobody calls; ns of the clock that callers bring along.
    full_at_ns: AtomicU64,
}

impl Bucket {
    /// A full bucket of `burst`, to which `per_second` come back; both at least 1.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval_ns = SECOND_NS / u64::from(per_second.max(1));
        Self { interval_ns, burst: u64::from(burst.max(1)), full_at_ns: AtomicU64::new(0) }
    }

    /// Takes `cost` calls, or says how long to wait, ns. What costs more than the bucket ever holds is let through when it
    /// is full, and paid for afterwards.
    pub(super) fn take(&self, cost: u64, now_ns: u64) -> Result<(), u64> {
        let room_ns = self.burst.saturating_mul(self.interval_ns);
        let needed_ns = cost.min(self.burst).saturating_mul(self.interval_ns);
        let mut full_at_ns = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            let from_ns = full_at_ns.max(now_ns);
            let lacking_ns = (from_ns - now_ns).saturating_add(needed_ns).saturating_sub(room_ns);
            if lacking_ns > 0 {
                return Err(lacking_ns);
            }
            let next_ns = from_ns.saturating_add(cost.saturating_mul(self.interval_ns));
            // The number is all there is: nothing else has to be seen with it.
            match self.full_at_ns.compare_exchange_weak(full_at_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => full_at_ns = seen,
            }
        }
    }

    /// Goes on where another bucket of the same size stood.
    pub(super) fn go_on_from(&self, before: &Self) {
        if (self.interval_ns, self.burst) == (before.interval_ns, before.burst) {
            self.full_at_ns.store(before.full_at_ns.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_burst_then_the_rate() {
        let bucket = Bucket::new(10, 3);
        assert_eq!([(); 3].map(|()| bucket.take(1, 5)), [Ok(()); 3]);
        assert_eq!(bucket.take(1, 5), Err(SECOND_NS / 10));
        assert_eq!(bucket.take(1, 5 + SECOND_NS / 10 - 1), Err(1));
        assert_eq!(bucket.take(1, 5 + SECOND_NS / 10), Ok(()));
        assert_eq!(bucket.take(3, 5 + SECOND_NS / 10), Err(3 * SECOND_NS / 10), "what is refused costs nothing");
        assert_eq!(bucket.take(3, 5 + 4 * SECOND_NS / 10), Ok(()));
        assert_eq!([(); 3].map(|()| bucket.take(1, 99 * SECOND_NS)), [Ok(()); 3], "it never holds more than the burst");
        assert!(bucket.take(1, 99 * SECOND_NS).is_err());
    }

    #[test]
    fn more_than_it_holds_is_paid_for_afterwards() {
        let bucket = Bucket::new(10, 5);
        assert_eq!(bucket.take(20, 0), Ok(()));
        assert_eq!(bucket.take(1, 0), Err(16 * SECOND_NS / 10), "15 are owed, and one is wanted");
        assert_eq!(bucket.take(20, SECOND_NS), Err(SECOND_NS), "only a full one lets it through");
        assert_eq!(bucket.take(20, 2 * SECOND_NS), Ok(()));
        assert!(bucket.take(u64::MAX, 9 * SECOND_NS).is_ok() && bucket.take(1, 99 * SECOND_NS).is_err(), "nothing overflows");
    }

    #[test]
    fn parallel_callers_get_exactly_the_burst() {
        for round in 0..50 {
            let (bucket, start) = (Bucket::new(1, 1000), Barrier::new(8));
            let taken: usize = std::thread::scope(|scope| {
                let callers: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            (0..500).filter(|_| bucket.take(1, 7).is_ok()).count()
                        })
                    })
                    .collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).sum()
            });
            assert_eq!(taken, 1000, "round {round}");
        }
    }

    #[test]
    fn what_was_used_stays_used_when_the_file_is_read_again() {
        let (before, same, other) = (Bucket::new(1, 2), Bucket::new(1, 2), Bucket::new(1, 3));
        assert_eq!([(); 2].map(|()| before.take(1, 0)), [Ok(()); 2]);
        same.go_on_from(&before);
        other.go_on_from(&before);
        assert!(same.take(1, 0).is_err() && other.take(3, 0).is_ok());
    }
}
