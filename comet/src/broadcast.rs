//! Pushes to every session of a worker: walked through in slices, and never out of order with what else a session gets.
//!
//! A session notes the last such push that it has seen. Whatever is written to it first writes what it has not seen
//! yet, so a walk that takes long (`speed`) delays nothing else and is overtaken by nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use perseid_protocol::push::Push;

/// A push to all, on its way.
#[derive(Debug)]
pub(crate) struct Broadcast {
    /// Counts the pushes to all of this worker, from 1.
    pub(crate) number: u64,
    /// When it arrived, in the worker's order of arrival.
    pub(crate) arrival: u64,
    pub(crate) push: Arc<Push>,
    /// Sessions per second; 0 = at once.
    speed: u32,
    started_ms: u64,
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

    pub(crate) fn push(&mut self, push: Arc<Push>, speed: u32, arrival: u64, now_ms: u64) {
        self.last_number += 1;
        self.under_way.push_back(Broadcast {
            number: self.last_number,
            arrival,
            push,
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

    /// A stretch of slots to visit now, at most `count` of them; then call [`Broadcasts::finish_slots`].
    pub(crate) fn peek_slots(&self, slots: u32, count: u32, now_ms: u64) -> Option<std::ops::Range<u32>> {
        let walk = &self.under_way[self.due(now_ms)?];
        let allowed = u32::try_from(walk.allowance(now_ms)).unwrap_or(u32::MAX).min(count);
        let from = walk.slot.min(slots);
        Some(from..from.saturating_add(allowed).min(slots))
    }

    /// Takes note that the stretch last given was visited.
    pub(crate) fn finish_slots(&mut self, slots: u32, count: u32, now_ms: u64) {
        let Some(index) = self.due(now_ms) else { return };
        let Some(stretch) = self.peek_slots(slots, count, now_ms) else { return };
        let walk = &mut self.under_way[index];
        walk.slot = stretch.end;
        walk.visited += u64::from(stretch.end - stretch.start);
        if walk.slot >= slots {
            // Whoever was visited has seen this one and all before it.
            self.under_way.drain(..=index);
        }
    }

    fn due(&self, now_ms: u64) -> Option<usize> {
        self.under_way.iter().position(|walk| walk.allowance(now_ms) > 0)
    }

    /// How long the worker may sleep, ms; `None` if nothing is under way.
    pub(crate) fn poll_timeout(&self, now_ms: u64) -> Option<u64> {
        (!self.under_way.is_empty()).then(|| if self.due(now_ms).is_some() { 0 } else { PACE_MS })
    }
}

impl Broadcast {
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
        broadcasts.push(Arc::new(Push::default()), speed, 0, 0);
    }

    fn visit(broadcasts: &mut Broadcasts, slots: u32, now_ms: u64) -> Option<std::ops::Range<u32>> {
        let stretch = broadcasts.peek_slots(slots, 3, now_ms);
        broadcasts.finish_slots(slots, 3, now_ms);
        stretch
    }

    #[test]
    fn in_slices_until_all_are_visited() {
        let mut broadcasts = Broadcasts::default();
        start(&mut broadcasts, 0);
        assert_eq!(visit(&mut broadcasts, 5, 0), Some(0..3));
        assert_eq!(broadcasts.poll_timeout(0), Some(0));
        assert_eq!(visit(&mut broadcasts, 5, 0), Some(3..5));
        assert!(broadcasts.is_empty());
        assert_eq!(visit(&mut broadcasts, 5, 0), None);
    }

    #[test]
    fn speed_is_kept() {
        let mut broadcasts = Broadcasts::default();
        start(&mut broadcasts, 100);
        let mut visited = 0;
        for now_ms in (0..1000).step_by(10) {
            while let Some(slots) = visit(&mut broadcasts, 1000, now_ms) {
                visited += slots.len();
            }
        }
        assert!((99..=101).contains(&visited), "{visited}");
        assert_eq!(broadcasts.poll_timeout(1000 - 10), Some(10));
    }

    #[test]
    fn a_later_walk_that_ends_first_takes_the_earlier_with_it() {
        let mut broadcasts = Broadcasts::default();
        start(&mut broadcasts, 1);
        start(&mut broadcasts, 0);
        assert_eq!(broadcasts.after(0).count(), 2);
        assert_eq!(broadcasts.after(1).count(), 1);
        while visit(&mut broadcasts, 100, 0).is_some() {}
        assert!(broadcasts.is_empty());
    }
}
