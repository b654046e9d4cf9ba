//! Pushes to every session of a worker: walked through in slices, and never out of order with what else a session gets.
//!
//! A session notes the last such push that it has seen. Whatever is written to it first writes what it has not seen
//! yet, so a walk that takes long (`speed`) delays nothing else and is overtaken by nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use perseid_protocol::push::Push;

use crate::traced::Traced;

/// A push to all, on its way.
#[derive(Debug)]
pub(crate) struct Broadcast {
    /// Counts the pushes to all of this worker, from 1.
    pub(crate) number: u64,
    /// When it arrived, in the worker's order of arrival.
    pub(crate) arrival: u64,
    pub(crate) push: Arc<Push>,
    pub(crate) traced: Option<Arc<Traced>>,
    /// Sessions per second; 0 = at once.
    speed: u32,
    started_ms: u64,
    /// Sessions visited.
    visited: u64,
    /// The next slot to look at.
    slot: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    under_way: VecDeque<Broadcast>,
    last_number: u64,
}

/// How often a paced walk goes on, ms.
const PACE_MS: u64 = 10;

impl Broadcasts {
    /// The number of the newest one: what a new session need not see.
    pub(crate) const fn last_number(&self) -> u64 {
        self.last_number
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn push(&mut self, push: Arc<Push>, speed: u32, arrival: u64, now_ms: u64, traced: Option<Arc<Traced>>) {
        self.last_number += 1;
        self.under_way.push_back(Broadcast {
            number: self.last_number,
            arrival,
            push,
            traced,
            speed,
            started_ms: now_ms,
            visited: 0,
            slot: 0,
        });
    }

    /// Those that a session has not seen, oldest first.
    pub(crate) fn after(&self, seen: u64) -> impl Iterator<Item = &Broadcast> {
        self.under_way.iter().filter(move |broadcast| broadcast.number > seen)
    }

    /// The slot to go on at, and how many sessions may be visited now; then call [`Broadcasts::finish_stretch`].
    /// `in_haste`: whatever their pace.
    pub(crate) fn next_stretch(&self, now_ms: u64, in_haste: bool) -> Option<(u32, u32)> {
        let walk = &self.under_way[self.due(now_ms, in_haste)?];
        let allowed = if in_haste { u64::MAX } else { walk.allowance(now_ms) };
        Some((walk.slot, u32::try_from(allowed).unwrap_or(u32::MAX)))
    }

    /// Takes note that all slots up to `slot` were looked at, and `sessions` found there; gives the bytes that need not be
    /// kept any more. `slots` is how many there are, the rest as in the call before.
    pub(crate) fn finish_stretch(&mut self, slot: u32, sessions: u32, slots: u32, now_ms: u64, in_haste: bool) -> usize {
        let Some(index) = self.due(now_ms, in_haste) else { return 0 };
        let walk = &mut self.under_way[index];
        walk.slot = slot;
        walk.visited += u64::from(sessions);
        if walk.slot < slots {
            return 0;
        }
        // Whoever was visited has seen this one and all before it.
        self.under_way.drain(..=index).map(|walk| Broadcast::bytes(&walk.push)).sum()
    }

    fn due(&self, now_ms: u64, in_haste: bool) -> Option<usize> {
        self.under_way.iter().position(|walk| in_haste || walk.allowance(now_ms) > 0)
    }

    /// How long the worker may sleep, ms; `None` if nothing is under way.
    pub(crate) fn poll_timeout(&self, now_ms: u64) -> Option<u64> {
        (!self.under_way.is_empty()).then(|| if self.due(now_ms, false).is_some() { 0 } else { PACE_MS })
    }
}

impl Broadcast {
    /// What a push to all under way counts against the node's bound.
    pub(crate) fn bytes(push: &Push) -> usize {
        size_of::<Self>() + push.body.len()
    }

    fn allowance(&self, now_ms: u64) -> u64 {
        if self.speed == 0 {
            return u64::MAX;
        }
        let elapsed_ms = now_ms.saturating_sub(self.started_ms) + PACE_MS;
        (elapsed_ms * u64::from(self.speed) / 1000).saturating_sub(self.visited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(broadcasts: &mut Broadcasts, speed: u32) {
        broadcasts.push(Arc::new(Push::default()), speed, 0, 0, None);
    }

    /// Visits at most three sessions; there is one in every other slot.
    fn visit(broadcasts: &mut Broadcasts, slots: u32, now_ms: u64, in_haste: bool) -> Option<std::ops::Range<u32>> {
        let (from, allowed) = broadcasts.next_stretch(now_ms, in_haste)?;
        let sessions = allowed.min(3);
        let to = (from + sessions * 2).min(slots);
        broadcasts.finish_stretch(to, (to.saturating_sub(from)) / 2, slots, now_ms, in_haste);
        Some(from..to)
    }

    #[test]
    fn in_slices_until_all_are_visited() {
        let mut broadcasts = Broadcasts::default();
        start(&mut broadcasts, 0);
        assert_eq!(visit(&mut broadcasts, 10, 0, false), Some(0..6));
        assert_eq!(broadcasts.poll_timeout(0), Some(0));
        assert_eq!(visit(&mut broadcasts, 10, 0, false), Some(6..10));
        assert!(broadcasts.is_empty());
        assert_eq!(visit(&mut broadcasts, 10, 0, false), None);
        start(&mut broadcasts, 0);
        assert_eq!(visit(&mut broadcasts, 0, 0, false), Some(0..0));
        assert!(broadcasts.is_empty(), "nobody is there any more");
    }

    #[test]
    fn speed_is_kept_and_counts_sessions_not_slots() {
        let mut broadcasts = Broadcasts::default();
        start(&mut broadcasts, 100);
        let mut visited = 0;
        for now_ms in (0..1000).step_by(10) {
            while let Some(slots) = visit(&mut broadcasts, 1000, now_ms, false) {
                visited += slots.len() / 2;
            }
        }
        assert!((99..=101).contains(&visited), "{visited}");
        assert_eq!(broadcasts.poll_timeout(1000 - 10), Some(10));
        while visit(&mut broadcasts, 1000, 0, true).is_some() {}
        assert!(broadcasts.is_empty(), "in haste there is no pace");
    }

    #[test]
    fn a_later_walk_that_ends_first_takes_the_earlier_with_it() {
        let mut broadcasts = Broadcasts::default();
        start(&mut broadcasts, 1);
        start(&mut broadcasts, 0);
        assert_eq!(broadcasts.after(0).count(), 2);
        assert_eq!(broadcasts.after(1).count(), 1);
        while visit(&mut broadcasts, 100, 0, false).is_some() {}
        assert!(broadcasts.is_empty());
    }
}
