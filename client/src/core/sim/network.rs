//! One connection: requests and replies in order; pushes late, doubled, out of order, or not at all.

use std::collections::VecDeque;

use super::server::Session;
use crate::core::random::Random;

/// Bytes on their way.
pub(super) struct InTransit {
    pub(super) at_ms: u64,
    pub(super) sent_ms: u64,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Connection {
    pub(super) session: Option<Session>,
    pub(super) up: VecDeque<InTransit>,
    down: Vec<InTransit>,
    last_down_ms: u64,
}

impl Connection {
    pub(super) const fn new() -> Self {
        Self { session: None, up: VecDeque::new(), down: Vec::new(), last_down_ms: 0 }
    }

    pub(super) fn write_up(&mut self, bytes: Vec<u8>, now_ms: u64, random: &mut Random) {
        let earlier_ms = self.up.back().map_or(0, |one| one.at_ms);
        let at_ms = earlier_ms.max(now_ms + 1 + random.up_to(60));
        self.up.push_back(InTransit { at_ms, sent_ms: now_ms, bytes });
    }

    /// A reply: behind all replies before it. Gives the time of its arrival.
    pub(super) fn reply(&mut self, bytes: Vec<u8>, now_ms: u64, random: &mut Random) -> u64 {
        let at_ms = self.last_down_ms.max(now_ms + 1 + random.up_to(60));
        self.last_down_ms = at_ms;
        self.down.push(InTransit { at_ms, sent_ms: now_ms, bytes });
        at_ms
    }

    /// A push, to which anything may happen when `rough`.
    pub(super) fn push(&mut self, bytes: &[u8], now_ms: u64, rough: bool, random: &mut Random) {
        let fate = if rough { random.up_to(9) } else { 9 };
        let copies = match fate {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late_ms = if rough && random.up_to(4) == 0 { random.up_to(2_000) } else { 0 };
            let at_ms = now_ms + 1 + random.up_to(60) + late_ms;
            self.down.push(InTransit { at_ms, sent_ms: now_ms, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn next_ms(&self) -> u64 {
        let up_ms = self.up.front().map_or(u64::MAX, |one| one.at_ms);
        self.down.iter().map(|one| one.at_ms).min().unwrap_or(u64::MAX).min(up_ms)
    }

    pub(super) fn take_up(&mut self, now_ms: u64) -> Option<InTransit> {
        if self.up.front()?.at_ms <= now_ms { self.up.pop_front() } else { None }
    }

    /// The first that is due; of those due at the same time, the one written first.
    pub(super) fn take_down(&mut self, now_ms: u64) -> Option<InTransit> {
        let (at, first) = self.down.iter().enumerate().min_by_key(|(_, one)| one.at_ms)?;
        (first.at_ms <= now_ms).then(|| self.down.remove(at))
    }
}
