//! What follows from what the buckets know of a partition: where to begin, what may have been shown and lost, who begins anew.

use std::collections::HashMap;

use perseid_store::stored::step::{Bucket, Loaded, Prepare};
use thiserror::Error;

/// What the log has of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The oldest offset that can be read; `end` + 1: there is none.
    pub first: u64,
    /// The last durable offset; 0: there is none.
    pub end: u64,
}

/// Why a partition is not applied any further, until a person looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stop {
    /// The store has applied what the log never had.
    #[error(
        "{bucket:?} of the store has applied the log up to {guard}, and the log ends at {end}: they do not belong together. \
         Restore the log that belongs to the store, or remove the store: it is built anew from the log"
    )]
    GuardAboveEnd {
        /// The bucket.
        bucket: Bucket,
        /// Its guard.
        guard: u64,
        /// End of the log.
        end: u64,
    },
}

/// How a partition is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be written first.
    pub(super) prepare: Prepare,
    /// The guards, as they will be then.
    pub(super) guards: HashMap<Bucket, u64>,
    /// The first offset to apply.
    pub(super) start: u64,
    /// Buckets of users whose positions may have been lost: their sessions have to look.
    pub(super) unsure: Vec<u32>,
}

/// Decides how to begin.
///
/// # Errors
/// Store and log do not belong together.
pub(super) fn plan(partition: u32, loaded: &Loaded, ends: Ends, now_ms: u64) -> Result<Plan, Stop> {
    let mut shown = loaded.buckets.iter().map(|bucket| bucket.shown).max().unwrap_or(0);
    let mut plan = Plan {
        prepare: Prepare { partition, boot: loaded.boot, shown, renewed: Vec::new() },
        guards: HashMap::with_capacity(loaded.buckets.len()),
        start: ends.end + 1,
        unsure: Vec::new(),
    };
    for state in &loaded.buckets {
        let bucket = state.bucket;
        let guard = if state.epoch.is_some() { state.guard } else { 0 };
        if guard > ends.end {
            return Err(Stop::GuardAboveEnd { bucket, guard, end: ends.end });
        }
        let cut_off = guard + 1 < ends.first;
        // Of another life of the store: what it had taken after this may be gone.
        let older = state.epoch.is_some() && state.boot != loaded.boot && (state.boot != 0 || guard != 0);
        if state.epoch.is_none() || cut_off {
            plan.prepare.renewed.push((bucket, now_ms.max(state.epoch.map_or(0, |epoch| epoch + 1))));
        }
        if state.epoch.is_none() || older {
            shown = shown.max(ends.end);
        }
        if let Bucket::User(number) = bucket
            && (state.epoch.is_none() || cut_off || older)
        {
            plan.unsure.push(number);
        }
        plan.guards.insert(bucket, guard);
        plan.start = plan.start.min(guard + 1);
    }
    plan.start = plan.start.max(ends.first).max(1);
    plan.prepare.shown = shown;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use perseid_store::stored::step::BucketState;

    use super::*;

    const NOW_MS: u64 = 1_000;
    const BOOT: u64 = 7;

    fn state(bucket: Bucket, epoch: Option<u64>, guard: u64, boot: u64, shown: u64) -> BucketState {
        BucketState { bucket, epoch, guard, boot, shown }
    }

    fn of(buckets: Vec<BucketState>, first: u64, end: u64) -> Result<Plan, Stop> {
        plan(3, &Loaded { boot: BOOT, buckets }, Ends { first, end }, NOW_MS)
    }

    #[test]
    fn begins_after_the_smallest_guard() {
        let buckets = vec![state(Bucket::Conv(0), Some(5), 40, BOOT, 0), state(Bucket::User(0), Some(5), 30, BOOT, 12)];
        let plan = of(buckets, 1, 50).unwrap();
        assert_eq!((plan.start, plan.prepare.shown, plan.prepare.partition, plan.prepare.boot), (31, 12, 3, BOOT));
        assert!(plan.prepare.renewed.is_empty() && plan.unsure.is_empty());
        assert_eq!(plan.guards[&Bucket::Conv(0)], 40);
    }

    #[test]
    fn nothing_is_lost_where_nothing_was() {
        let buckets = vec![state(Bucket::Conv(0), None, 0, 0, 0), state(Bucket::User(0), None, 0, 0, 0)];
        let plan = of(buckets, 1, 0).unwrap();
        assert_eq!((plan.start, plan.prepare.shown), (1, 0));
        assert_eq!(plan.prepare.renewed, [(Bucket::Conv(0), NOW_MS), (Bucket::User(0), NOW_MS)]);
    }

    /// (epoch, guard, boot) of the users' bucket → start, E, renewed, unsure.
    #[test]
    fn what_may_be_lost() {
        type Case = ((Option<u64>, u64, u64), (u64, u64, Option<u64>, bool));
        let cases: [Case; 6] = [
            ((Some(5), 40, BOOT), (41, 3, None, false)),
            ((Some(5), 40, 6), (41, 50, None, true)),
            // Never written, but made ready in another life; and never touched at all.
            ((Some(5), 0, 6), (11, 50, Some(NOW_MS), true)),
            ((Some(5), 0, 0), (11, 3, Some(NOW_MS), true)),
            ((None, 44, BOOT), (11, 50, Some(NOW_MS), true)),
            // An epoch from the future stays behind the next one.
            ((Some(9_000), 4, BOOT), (11, 3, Some(9_001), true)),
        ];
        for ((epoch, guard, boot), (start, shown, renewed, unsure)) in cases {
            let buckets = vec![state(Bucket::Conv(0), Some(5), 45, BOOT, 3), state(Bucket::User(2), epoch, guard, boot, 0)];
            let plan = of(buckets, 11, 50).unwrap();
            let renewed: Vec<_> = renewed.map(|epoch| (Bucket::User(2), epoch)).into_iter().collect();
            let unsure: &[u32] = if unsure { &[2] } else { &[] };
            assert_eq!((plan.start, plan.prepare.shown), (start, shown), "{epoch:?} {guard} {boot}");
            assert_eq!((plan.prepare.renewed, &plan.unsure[..]), (renewed, unsure), "{epoch:?} {guard} {boot}");
        }
    }

    #[test]
    fn a_guard_above_the_end_stops() {
        let stop = of(vec![state(Bucket::Conv(0), Some(5), 51, BOOT, 0)], 1, 50).unwrap_err();
        assert_eq!(stop, Stop::GuardAboveEnd { bucket: Bucket::Conv(0), guard: 51, end: 50 });
        // What is lost had no guard.
        assert!(of(vec![state(Bucket::Conv(0), None, 51, BOOT, 0)], 1, 50).is_ok());
    }
}
