//! Loss, duplication and order, by sequence numbers; on every frame.
//!
//! The rule is a value: [`Track`] is what one session remembers (16 bytes as
//! long as nothing goes wrong), [`Tally`] what a process adds up.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Gaps remembered for one session. Beyond it a late frame counts as a
/// duplicate: the run has failed either way.
const GAPS_MAX: usize = 4096;

/// What was seen, added up over sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Every stamped frame of the phase.
    pub(crate) received: u64,
    /// Frames that had come before.
    pub(crate) duplicates: u64,
    /// Frames that came after a later one.
    pub(crate) disordered: u64,
    /// Frames that never came; known at the end only.
    pub(crate) lost: u64,
}

impl Tally {
    /// Adds another process's figures.
    pub(crate) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.disordered += other.disordered;
        self.lost += other.lost;
    }

    /// Nothing lost, nothing twice, all in order.
    pub(crate) fn clean(&self) -> bool {
        self.duplicates == 0 && self.disordered == 0 && self.lost == 0
    }
}

/// Where one session stands in its stream.
#[derive(Debug)]
pub(crate) struct Track {
    next: u64,
    // Boxed so that a session without gaps, the rule, pays one word for it.
    #[allow(clippy::box_collection)]
    gaps: Option<Box<BTreeMap<u64, u64>>>,
}

impl Default for Track {
    fn default() -> Self {
        Self { next: 1, gaps: None }
    }
}

impl Track {
    /// Takes the next frame of this session's stream.
    #[inline]
    pub(crate) fn observe(&mut self, seq: u64, tally: &mut Tally) {
        tally.received += 1;
        if seq == self.next {
            self.next += 1;
        } else {
            self.unexpected(seq, tally);
        }
    }

    /// How many of `total` frames never came.
    pub(crate) fn lost(&self, total: u64) -> u64 {
        let inside: u64 = self.gaps.iter().flat_map(|gaps| gaps.iter()).map(|(a, b)| b - a).sum();
        inside + (total + 1).saturating_sub(self.next)
    }

    #[cold]
    fn unexpected(&mut self, seq: u64, tally: &mut Tally) {
        if seq > self.next {
            let gaps = self.gaps.get_or_insert_default();
            if gaps.len() < GAPS_MAX {
                gaps.insert(self.next, seq);
            } else if let Some(mut last) = gaps.last_entry() {
                // Keeps the count of lost frames right, roughly in place.
                *last.get_mut() += seq - self.next;
            }
            self.next = seq.saturating_add(1);
        } else if self.fill(seq) {
            tally.disordered += 1;
        } else {
            tally.duplicates += 1;
        }
    }

    /// Takes `seq` out of the gap that it belongs to, if there is one.
    fn fill(&mut self, seq: u64) -> bool {
        let Some(gaps) = self.gaps.as_mut() else { return false };
        let Some((&start, &end)) = gaps.range(..=seq).next_back() else { return false };
        if seq >= end {
            return false;
        }
        gaps.remove(&start);
        if start < seq {
            gaps.insert(start, seq);
        }
        if seq + 1 < end {
            gaps.insert(seq + 1, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stream: &[u64], total: u64) -> Tally {
        let (mut track, mut tally) = (Track::default(), Tally::default());
        for seq in stream {
            track.observe(*seq, &mut tally);
        }
        tally.lost = track.lost(total);
        tally
    }

    #[test]
    fn each_fault_is_told_apart() {
        let tally = |received, duplicates, disordered, lost| Tally { received, duplicates, disordered, lost };
        assert_eq!(run(&[1, 2, 3, 4, 5], 5), tally(5, 0, 0, 0));
        assert_eq!(run(&[1, 2, 4, 5], 5), tally(4, 0, 0, 1));
        assert_eq!(run(&[1, 2, 3, 4], 5), tally(4, 0, 0, 1));
        assert_eq!(run(&[], 5), tally(0, 0, 0, 5));
        assert_eq!(run(&[1, 2, 2, 3, 4, 5], 5), tally(6, 1, 0, 0));
        assert_eq!(run(&[1, 3, 2, 4, 5], 5), tally(5, 0, 1, 0));
        assert_eq!(run(&[5, 1, 2, 3, 4], 5), tally(5, 0, 4, 0));
        assert_eq!(run(&[1, 3, 2, 2, 4, 5], 5), tally(6, 1, 1, 0));
        assert_eq!(run(&[0, 1], 1), tally(2, 1, 0, 0));
    }

    #[test]
    fn many_gaps_are_bounded_and_still_counted() {
        let stream: Vec<u64> = (1..=20_000).filter(|n| n % 2 == 0).collect();
        assert_eq!(run(&stream, 20_000).lost, 10_000);
    }
}
