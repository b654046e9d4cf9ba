//! One coarse timer wheel for all deadlines of a worker: ticks of a second.
//!
//! A deadline that moves away costs nothing: the session is looked at when its old tick comes round and put further on.
//! One that moves nearer gets a second entry, and the session's own note of its tick says which one counts.

use crate::slab::Key;

const BUCKETS: usize = 512;
/// Length of a tick, ms.
pub(crate) const TICK_MS: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<Key>>,
    /// The next tick to come round.
    next_tick: u64,
    len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], next_tick: 0, len: 0 }
    }

    /// The tick at which a deadline has surely passed, no further than the wheel reaches.
    pub(crate) fn tick_of(&self, deadline_ms: u64) -> u64 {
        let last = self.next_tick + BUCKETS as u64 - 1;
        deadline_ms.div_ceil(TICK_MS).clamp(self.next_tick, last)
    }

    /// Has `key` looked at when `tick` comes round. `tick` comes from [`Wheel::tick_of`].
    pub(crate) fn insert(&mut self, tick: u64, key: Key) {
        self.buckets[tick as usize % BUCKETS].push(key);
        self.len += 1;
    }

    /// Gives the memory of empty buckets back.
    pub(crate) fn shrink(&mut self) {
        self.buckets.iter_mut().for_each(Vec::shrink_to_fit);
    }

    /// When the next tick has to be looked at, ms; `None` if nothing waits.
    pub(crate) const fn poll_timeout(&self) -> Option<u64> {
        if self.len == 0 { None } else { Some(self.next_tick * TICK_MS) }
    }

    /// Moves everything that came round by `now_ms` into `due`, with its tick.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<(u64, Key)>) {
        if self.len == 0 {
            self.next_tick = self.next_tick.max(now_ms / TICK_MS);
            return;
        }
        while self.next_tick * TICK_MS <= now_ms {
            let tick = self.next_tick;
            let bucket = &mut self.buckets[tick as usize % BUCKETS];
            self.len -= bucket.len();
            due.extend(bucket.drain(..).map(|key| (tick, key)));
            if bucket.capacity() > 64 {
                *bucket = Vec::new();
            }
            self.next_tick += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 1 }
    }

    fn due(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now_ms, &mut due);
        due.into_iter().map(|(_, key)| key.slot).collect()
    }

    #[test]
    fn never_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new();
        for (slot, deadline_ms) in [(1, 1), (2, 1000), (3, 1001), (4, 8000)] {
            wheel.insert(wheel.tick_of(deadline_ms), key(slot));
        }
        assert_eq!(wheel.poll_timeout(), Some(0));
        assert_eq!(due(&mut wheel, 999), [] as [u32; 0]);
        assert_eq!(due(&mut wheel, 1000), [1, 2]);
        assert_eq!(due(&mut wheel, 1999), [] as [u32; 0]);
        assert_eq!(due(&mut wheel, 2500), [3]);
        assert_eq!(due(&mut wheel, 8000), [4]);
        assert_eq!(wheel.poll_timeout(), None);
    }

    #[test]
    fn beyond_its_reach_it_is_looked_at_early_and_put_again() {
        let mut wheel = Wheel::new();
        let tick = wheel.tick_of(10_000_000);
        assert_eq!(tick, 511);
        wheel.insert(tick, key(1));
        assert_eq!(due(&mut wheel, 511_000), [1]);
        assert_eq!(wheel.tick_of(10_000_000), 512 + 511);
    }
}
