//! Frames taken out of the middle of a ring.

use super::{ByteRing, RingFrame};
use crate::terms::Weights;

/// What was taken out, for readers to find their places again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Of each frame, oldest first: where it ended, and the bytes taken up to there.
    taken: Vec<(u64, u64)>,
}

impl Cut {
    /// Where a reader stands now who stood at `position`, between two frames; and how many frames it goes without.
    pub(crate) fn place(&self, position: u64) -> (u64, usize) {
        let passed = self.taken.partition_point(|(end, _)| *end <= position);
        let bytes = passed.checked_sub(1).and_then(|last| self.taken.get(last)).map_or(0, |(_, bytes)| *bytes);
        (position - bytes, self.taken.len() - passed)
    }

    /// Bytes taken out.
    pub(crate) fn bytes(&self) -> usize {
        self.taken.last().map_or(0, |(_, bytes)| *bytes as usize)
    }
}

impl ByteRing {
    /// Whether some frame matters more or less than others.
    pub(crate) const fn is_ranked(&self) -> bool {
        self.ranked > 0
    }

    /// Whether there is a frame that a later one with this number replaces.
    pub(crate) fn holds_collapsing(&self, collapse: u64) -> bool {
        self.collapsing > 0 && self.frames.iter().rev().any(|frame| frame.terms.collapse == collapse)
    }

    /// Bytes of frames by priority.
    pub(crate) fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        let mut start = self.base;
        for frame in &self.frames {
            weights[frame.terms.priority as usize] += (frame.end - start) as usize;
            start = frame.end;
        }
        weights
    }

    /// Takes out the frames of which `goes` says so, given their lengths. Nobody may stand within one, and everybody has to be
    /// placed anew.
    pub(crate) fn cut(&mut self, mut goes: impl FnMut(&RingFrame, usize) -> bool) -> Cut {
        let mut cut = Cut::default();
        let mut gone = Vec::new();
        let Self { bytes, start, base, frames, .. } = self;
        let (mut from, mut removed) = (*base, 0);
        frames.retain_mut(|frame| {
            let (begin, len) = (from, (frame.end - from) as usize);
            from = frame.end;
            if goes(frame, len) {
                removed += len as u64;
                cut.taken.push((frame.end, removed));
                gone.push(frame.terms);
                return false;
            }
            if removed > 0 {
                let at = *start + (begin - *base) as usize;
                bytes.copy_within(at..at + len, at - removed as usize);
                frame.end -= removed;
            }
            true
        });
        bytes.truncate(bytes.len() - removed as usize);
        gone.iter().for_each(|terms| self.uncount(terms));
        cut
    }
}

#[cfg(test)]
mod tests {
    use perseid_protocol::push::Priority;

    use super::*;
    use crate::terms::Terms;

    /// Frames of their texts: a digit's collapse number is itself; lower case is low, upper case high.
    fn ring(frames: &[&str]) -> ByteRing {
        let mut ring = ByteRing::default();
        for (arrival, text) in frames.iter().enumerate() {
            let first = text.chars().next().unwrap();
            let priority = match first {
                'a'..='z' => Priority::Low,
                'A'..='Z' => Priority::High,
                _ => Priority::Normal,
            };
            let terms = Terms { collapse: u64::from(first.to_digit(10).unwrap_or(0)), priority, ..Terms::default() };
            ring.push(arrival as u64, terms, 0, |out| out.extend_from_slice(text.as_bytes()));
        }
        ring
    }

    #[test]
    fn readers_go_on_where_they_were_without_what_was_taken() {
        let frames = ["111", "-", "22", "--", "3333"];
        let ends = [3, 4, 6, 8, 12];
        for trimmed in 0..frames.len() {
            for taken in 0..1_u32 << (frames.len() - trimmed) {
                let goes = |at: usize| at >= trimmed && taken >> (at - trimmed) & 1 == 1;
                let mut whole = ring(&frames);
                let base = if trimmed == 0 { 0 } else { ends[trimmed - 1] };
                whole.trim(base);
                let mut at = trimmed;
                let cut = whole.cut(|_, len| {
                    assert_eq!(len, frames[at].len());
                    at += 1;
                    goes(at - 1)
                });
                for reader in trimmed..=frames.len() {
                    let position = if reader == 0 { 0 } else { ends[reader - 1] };
                    let (place, missed) = cut.place(position);
                    let rest: String = (reader..frames.len()).filter(|at| !goes(*at)).map(|at| frames[at]).collect();
                    assert_eq!(whole.bytes_from(place), rest.as_bytes(), "{trimmed} {taken:b} {reader}");
                    assert_eq!(missed, (reader..frames.len()).filter(|at| goes(*at)).count());
                    assert_eq!(whole.frames_between(place, whole.head()), frames.len() - reader - missed);
                }
                let lost: usize = (0..frames.len()).filter(|at| goes(*at)).map(|at| frames[at].len()).sum();
                assert_eq!(cut.bytes(), lost);
                for number in 1..=3 {
                    let there = (trimmed..frames.len()).any(|at| !goes(at) && frames[at].starts_with(&number.to_string()));
                    assert_eq!(whole.holds_collapsing(number), there, "{trimmed} {taken:b} {number}");
                }
                // What comes then comes behind.
                let before = whole.head();
                whole.push(9, Terms::default(), 0, |out| out.extend_from_slice(b"new"));
                assert_eq!(whole.bytes_from(before), b"new");
            }
        }
    }

    #[test]
    fn what_frames_weigh() {
        let mut ring = ring(&["a", "BB", "ccc", "----", "EEEEE"]);
        assert_eq!((ring.weights(), ring.is_ranked()), ([4, 4, 7], true));
        ring.cut(|frame, _| frame.terms.priority == Priority::High);
        assert_eq!((ring.weights(), ring.is_ranked()), ([4, 4, 0], true));
        ring.trim(4);
        assert_eq!((ring.weights(), ring.is_ranked()), ([0, 4, 0], false));
    }
}
