//! A bound on log lines that clients can cause.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many bits of the state count lines; the others hold the second.
const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Lets a number of lines through in each second and counts the others, without a lock: for logs
/// about single sessions, which a thousand clients can cause at once.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u64,
    /// The second of the last line that was let through, and how many there were in it.
    window: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// At most `per_second` lines in each second; 0 lets none through.
    pub const fn new(per_second: u32) -> Self {
        let per_second = per_second as u64;
        Self {
            per_second: if per_second < COUNT_MAX { per_second } else { COUNT_MAX },
            window: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether a line may be written now, and how many were suppressed since the last one.
    ///
    /// `now_ms` is any clock in milliseconds; one that steps back stays in its latest second.
    pub fn allow(&self, now_ms: u64) -> Option<u64> {
        let second = now_ms / 1_000 + 1; // 0 is the state before the first line
        let taken = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
            let (current, count) = (window >> COUNT_BITS, window & COUNT_MAX);
            let (current, count) = if second > current { (second, 0) } else { (current, count) };
            (count < self.per_second).then_some((current << COUNT_BITS) | (count + 1))
        });
        if taken.is_ok() {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_so_many_through_and_says_how_many_it_kept() {
        let limit = RateLimit::new(2);
        let second: Vec<_> = (0..5).map(|i| limit.allow(1_000 + i)).collect();
        assert_eq!(second, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.allow(1_999), None);
        assert_eq!(limit.allow(2_000), Some(4));
        assert_eq!(limit.allow(2_001), Some(0));
        assert_eq!(limit.allow(9_000), Some(0));
    }

    #[test]
    fn a_clock_that_steps_back_opens_no_new_second() {
        let limit = RateLimit::new(1);
        assert_eq!(limit.allow(5_000), Some(0));
        assert_eq!(limit.allow(4_000), None);
        assert_eq!(limit.allow(5_500), None);
        assert_eq!(limit.allow(6_000), Some(2));
    }

    #[test]
    fn starts_at_any_time_and_zero_is_silence() {
        assert_eq!(RateLimit::new(1).allow(0), Some(0));
        assert_eq!(RateLimit::new(0).allow(1_000), None);
        let wide = RateLimit::new(u32::MAX);
        assert!((0..1_000).all(|_| wide.allow(7).is_some()));
    }

    #[test]
    fn threads_together_do_not_exceed_it() {
        let limit = RateLimit::new(100);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| limit.allow(42).is_some()).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 100);
        assert_eq!(limit.allow(1_042), Some(3_900));
    }
}
