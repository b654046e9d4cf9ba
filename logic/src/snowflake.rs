//! Message ids: time, who made it, and a counter, in 63 bits.
//!
//! ```text
//! 41 bits ms since ID_EPOCH_MS │ 10 bits worker │ 12 bits counter
//! ```
//!
//! An id is identity, never a cursor: two nodes' ids interleave. One generator's ids always ascend, also when the clock goes
//! back; more than 4,096 in a millisecond borrow from the next.

#[cfg(all(test, feature = "loom"))]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(all(test, feature = "loom")))]
use std::sync::atomic::{AtomicU64, Ordering};

/// Time zero of message ids: 2024-01-01T00:00:00Z in unix ms. `id >> 22` is the time of acceptance since then.
pub const ID_EPOCH_MS: u64 = 1_704_067_200_000;
/// Workers that ids can tell apart.
pub const WORKERS_MAX: u16 = 1 << WORKER_BITS;
/// A caller that sees its ids this far ahead of the clock should take no more for a while, ms.
pub const LEAD_MS_MAX: u64 = 2_000;

const WORKER_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;
const COUNTER_MASK: u64 = (1 << COUNTER_BITS) - 1;
/// The last millisecond that fits, in the year 2093.
const MS_MAX: u64 = (1 << 41) - 1;

/// Makes ids that ascend.
#[derive(Debug)]
pub struct Snowflake {
    worker: u64,
    /// ms and counter of the last id, as one number: the next id's is at least one more.
    last: AtomicU64,
    /// The latest the clock ever said, ms since the epoch.
    latest: AtomicU64,
}

/// A fresh id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The id; never 0 when the clock is right.
    pub id: u64,
    /// How far its time is ahead of the latest that the clock ever said, ms: because too many ids were taken. A clock that
    /// goes back does not count, else setting it right would stop the node.
    pub lead_ms: u64,
}

impl Snowflake {
    /// A generator; of `worker` only the low 10 bits count.
    pub fn new(worker: u16) -> Self {
        Self { worker: u64::from(worker % WORKERS_MAX), last: AtomicU64::new(0), latest: AtomicU64::new(0) }
    }

    /// The next id at `now_ms` (unix). Never fails; [`Issued::lead_ms`] tells when to slow down.
    pub fn next(&self, now_ms: u64) -> Issued {
        let clock = now_ms.saturating_sub(ID_EPOCH_MS).min(MS_MAX);
        let earliest = clock << COUNTER_BITS;
        let mut last = self.last.load(Ordering::Relaxed);
        // Nothing else is read because of this number, so no order with other memory is needed.
        let this = loop {
            let this = earliest.max(last + 1);
            match self.last.compare_exchange_weak(last, this, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break this,
                Err(seen) => last = seen,
            }
        };
        let latest = self.latest.fetch_max(clock, Ordering::Relaxed).max(clock);
        let (ms, counter) = (this >> COUNTER_BITS, this & COUNTER_MASK);
        let id = ((ms & MS_MAX) << (WORKER_BITS + COUNTER_BITS)) | (self.worker << COUNTER_BITS) | counter;
        Issued { id, lead_ms: ms.saturating_sub(latest) }
    }
}

impl Snowflake {
    /// From now on only ids after `id`: one that was made before a restart, by a clock that was set back since.
    pub fn go_on_after(&self, id: u64) {
        let ms = id >> (WORKER_BITS + COUNTER_BITS);
        self.last.fetch_max((ms << COUNTER_BITS) | COUNTER_MASK, Ordering::Relaxed);
        self.latest.fetch_max(ms, Ordering::Relaxed);
    }
}

/// When an id was made, unix ms.
pub const fn made_ms(id: u64) -> u64 {
    (id >> (WORKER_BITS + COUNTER_BITS)) + ID_EPOCH_MS
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parts_are_where_they_should_be() {
        let ids = Snowflake::new(1023);
        let first = ids.next(ID_EPOCH_MS + 5);
        assert_eq!(first, Issued { id: (5 << 22) | (1023 << 12), lead_ms: 0 });
        assert_eq!(ids.next(ID_EPOCH_MS + 5).id, first.id + 1);
        assert_eq!(made_ms(first.id), ID_EPOCH_MS + 5);
    }

    #[test]
    fn a_clock_that_goes_back_and_a_full_millisecond() {
        let ids = Snowflake::new(1);
        let first = ids.next(ID_EPOCH_MS + 10_000);
        let back = ids.next(ID_EPOCH_MS);
        assert!(back.id > first.id);
        assert_eq!(back.lead_ms, 0);
        for _ in 0..4_094 {
            ids.next(ID_EPOCH_MS + 10_000);
        }
        assert_eq!(ids.next(ID_EPOCH_MS + 10_000).lead_ms, 1);
        // Before the epoch, and after the last millisecond.
        assert!(ids.next(0).id > back.id);
        assert!(ids.next(u64::MAX).id <= i64::MAX as u64);
    }

    #[test]
    fn the_lead_grows_with_what_is_taken_and_shrinks_with_time() {
        let ids = Snowflake::new(1);
        let mut issued = ids.next(ID_EPOCH_MS + 1);
        for _ in 0..4096 * (LEAD_MS_MAX + 1) {
            issued = ids.next(ID_EPOCH_MS + 1);
        }
        assert_eq!(issued.lead_ms, LEAD_MS_MAX + 1);
        assert_eq!(ids.next(ID_EPOCH_MS + 1 + LEAD_MS_MAX).lead_ms, 1);
    }

    #[test]
    fn ids_go_on_after_those_of_the_life_before() {
        let (before, after) = (Snowflake::new(7), Snowflake::new(7));
        let last = before.next(ID_EPOCH_MS + 9_000).id;
        after.go_on_after(last);
        let next = after.next(ID_EPOCH_MS + 1_000);
        assert!(next.id > last && next.lead_ms <= 1);
    }

    proptest! {
        #[test]
        fn ids_ascend_whatever_the_clock_does(worker in 0..WORKERS_MAX, clock in prop::collection::vec(0u64..40, 1..300)) {
            let ids = Snowflake::new(worker);
            let (mut last, mut latest) = (0, 0);
            for now in clock {
                latest = now.max(latest);
                let issued = ids.next(ID_EPOCH_MS + 1 + now);
                prop_assert!(issued.id > last);
                prop_assert_eq!((issued.id >> 12) & 1023, u64::from(worker));
                prop_assert_eq!(made_ms(issued.id), ID_EPOCH_MS + 1 + latest + issued.lead_ms);
                last = issued.id;
            }
        }
    }

    #[test]
    fn threads_get_different_ascending_ids() {
        let ids = Snowflake::new(3);
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread: u64| {
                    let ids = &ids;
                    scope.spawn(move || {
                        let made: Vec<u64> = (0..20_000u64).map(|n| ids.next(ID_EPOCH_MS + n / 1000 + thread).id).collect();
                        assert!(made.is_sorted());
                        made
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 80_000);
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;

    #[test]
    fn two_threads_never_get_the_same_id() {
        loom::model(|| {
            let ids = loom::sync::Arc::new(Snowflake::new(0));
            let other = ids.clone();
            let thread = loom::thread::spawn(move || [other.next(ID_EPOCH_MS + 2).id, other.next(ID_EPOCH_MS + 1).id]);
            let mine = [ids.next(ID_EPOCH_MS + 1).id, ids.next(ID_EPOCH_MS + 2).id];
            let theirs = thread.join().unwrap();
            assert!(mine[0] < mine[1] && theirs[0] < theirs[1]);
            assert!(mine.iter().all(|id| !theirs.contains(id)));
        });
    }
}
