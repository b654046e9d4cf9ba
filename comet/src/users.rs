//! How fast a user sends with all sessions on this node together. Known are only users who have sent just now, and only
//! where there is such a limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;

use crate::bucket::Rate;

/// Users that are remembered. Beyond it new ones are not counted by user: the limits of their sessions hold all the same.
const USERS_MAX: usize = 1 << 18;

/// What of a user is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Frames,
    Bytes,
}

/// When they are full again, ns. One that is full says nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    frames_ns: u64,
    bytes_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct UserRates {
    started: Instant,
    users: DashMap<i64, Buckets>,
    swept_s: AtomicU64,
}

impl Default for UserRates {
    fn default() -> Self {
        Self { started: Instant::now(), users: DashMap::new(), swept_s: AtomicU64::new(0) }
    }
}

impl UserRates {
    /// Takes `count` from a bucket of a user; guests have none.
    ///
    /// # Errors
    /// How long until it would be there, ms. Nothing was taken.
    pub(crate) fn take(&self, rate: Rate, mid: i64, sent: Sent, count: usize) -> Result<(), u64> {
        if !rate.is_on() || mid <= 0 {
            return Ok(());
        }
        let now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(rate, mid, sent, count, now_ns)
    }

    fn take_at(&self, rate: Rate, mid: i64, sent: Sent, count: usize, now_ns: u64) -> Result<(), u64> {
        if !self.has_space(mid, now_ns) {
            return Ok(());
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut buckets = self.users.entry(mid).or_default();
        let full_ns = match sent {
            Sent::Frames => &mut buckets.frames_ns,
            Sent::Bytes => &mut buckets.bytes_ns,
        };
        *full_ns = rate.take(*full_ns, now_ns, count).map_err(|wait_ns| wait_ns.div_ceil(1_000_000))?;
        Ok(())
    }

    /// Whether a user can be remembered. Those whose buckets are full are forgotten when there is no space, once a second.
    fn has_space(&self, mid: i64, now_ns: u64) -> bool {
        if self.users.len() < USERS_MAX || self.users.contains_key(&mid) {
            return true;
        }
        let second = now_ns / 1_000_000_000;
        if self.swept_s.swap(second, Ordering::Relaxed) == second {
            return false;
        }
        self.users.retain(|_, buckets| buckets.frames_ns.max(buckets.bytes_ns) > now_ns);
        self.users.len() < USERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_user_has_one_bucket_of_each_kind() {
        let (users, rate) = (UserRates::default(), Rate::new(1, 3));
        let take = |mid, sent, at_ns| users.take_at(rate, mid, sent, 1, at_ns);
        assert_eq!([0, 0, 0, 0].map(|at_ns| take(7, Sent::Frames, at_ns)), [Ok(()), Ok(()), Ok(()), Err(1000)]);
        assert_eq!((take(7, Sent::Bytes, 0), take(8, Sent::Frames, 0)), (Ok(()), Ok(())), "those are others");
        assert_eq!((take(7, Sent::Frames, SECOND_NS), take(7, Sent::Frames, SECOND_NS)), (Ok(()), Err(1000)));
    }

    #[test]
    fn nothing_is_remembered_without_need() {
        let users = UserRates::default();
        for _ in 0..100 {
            assert_eq!(users.take(Rate::default(), 7, Sent::Frames, 1), Ok(()), "no limit");
            assert_eq!(users.take(Rate::new(1, 1), 0, Sent::Frames, 1), Ok(()), "a guest");
            assert_eq!(users.take(Rate::new(1, 1), -1, Sent::Bytes, 1), Ok(()), "a guest");
        }
        assert!(users.users.is_empty());
    }

    #[test]
    fn users_are_bounded_and_who_is_quiet_is_forgotten() {
        let (users, rate) = (UserRates::default(), Rate::new(1, 2));
        for mid in 1..=USERS_MAX as i64 + 1000 {
            assert_eq!(users.take_at(rate, mid, Sent::Frames, 1, SECOND_NS), Ok(()));
        }
        assert_eq!(users.users.len(), USERS_MAX);
        // Who is known is still counted, who is not is let through.
        let (known, unknown) = (1, USERS_MAX as i64 + 1);
        assert_eq!(users.take_at(rate, known, Sent::Frames, 2, SECOND_NS), Err(1000));
        assert_eq!(users.take_at(rate, unknown, Sent::Frames, 9, SECOND_NS), Ok(()));
        assert_eq!(users.take_at(rate, unknown, Sent::Frames, 1, 3 * SECOND_NS), Ok(()));
        assert_eq!(users.users.len(), 1);
    }
}
