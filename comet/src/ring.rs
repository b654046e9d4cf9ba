//! A room's outstanding bytes: one contiguous buffer, positions that count bytes ever written, frame ends beside it.
//!
//! A reader is a position. A partial write leaves it in the middle of a frame, and nothing else has to be remembered.

mod cut;

use std::collections::VecDeque;

use perseid_protocol::push::Priority;

use crate::terms::Terms;

/// What is known of a frame in a [`ByteRing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingFrame {
    /// Position just after its last byte.
    pub(crate) end: u64,
    /// When it arrived, in the worker's order of arrival.
    pub(crate) arrival: u64,
    pub(crate) terms: Terms,
    /// Its position in a room that keeps its last frames; 0: none.
    pub(crate) pos: u64,
}

#[derive(Debug, Default)]
pub(crate) struct ByteRing {
    bytes: Vec<u8>,
    /// Index of the first byte that still counts.
    start: usize,
    /// Position of that byte.
    base: u64,
    frames: VecDeque<RingFrame>,
    /// Frames in the ring that can become too late.
    mortal: usize,
    /// Frames in the ring that later ones may replace.
    collapsing: usize,
    /// Frames in the ring that matter more or less than most.
    ranked: usize,
}

/// An empty ring gives back a buffer larger than this.
const KEPT_BYTES: usize = 16 * 1024;

impl ByteRing {
    /// Position of the oldest byte.
    #[cfg(test)]
    pub(crate) const fn tail(&self) -> u64 {
        self.base
    }

    /// Position after the newest byte.
    pub(crate) const fn head(&self) -> u64 {
        self.base + (self.bytes.len() - self.start) as u64
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn has_mortal_frames(&self) -> bool {
        self.mortal > 0
    }

    /// Appends the frame that `encode` writes; its length, bytes.
    pub(crate) fn push(&mut self, arrival: u64, terms: Terms, pos: u64, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        self.frames.push_back(RingFrame { end: self.head(), arrival, terms, pos });
        self.mortal += usize::from(terms.expires_at_ms != 0);
        self.collapsing += usize::from(terms.collapse != 0);
        self.ranked += usize::from(terms.priority != Priority::Normal);
        self.bytes.len() - before
    }

    fn uncount(&mut self, terms: &Terms) {
        self.mortal -= usize::from(terms.expires_at_ms != 0);
        self.collapsing -= usize::from(terms.collapse != 0);
        self.ranked -= usize::from(terms.priority != Priority::Normal);
    }

    /// Bytes from `from` (clamped to what is kept) to the head.
    pub(crate) fn bytes_from(&self, from: u64) -> &[u8] {
        &self.bytes[self.index(from)..]
    }

    /// Bytes between two positions, clamped to what is kept.
    pub(crate) fn bytes_between(&self, from: u64, to: u64) -> &[u8] {
        let (from, to) = (self.index(from), self.index(to));
        &self.bytes[from..to.max(from)]
    }

    fn index(&self, position: u64) -> usize {
        // The difference fits: it is at most the buffer's length after clamping.
        self.start + (position.clamp(self.base, self.head()) - self.base) as usize
    }

    /// Frames that end after `position`, oldest first.
    pub(crate) fn frames_after(&self, position: u64) -> impl Iterator<Item = &RingFrame> {
        self.frames.range(self.frames.partition_point(|frame| frame.end <= position)..)
    }

    /// Where a reader at `position` goes on who has what stands at `pos` of the room, and all before it: behind the last frame
    /// that is not newer.
    pub(crate) fn end_of_pos(&self, position: u64, pos: u64) -> u64 {
        let seen = |frame: &&RingFrame| frame.pos != 0 && frame.pos <= pos;
        self.frames_after(position).filter(seen).last().map_or(position, |frame| frame.end)
    }

    /// The position in the room of the first frame after `position` that has one.
    pub(crate) fn next_pos(&self, position: u64) -> Option<u64> {
        self.frames_after(position).map(|frame| frame.pos).find(|pos| *pos != 0)
    }

    /// How many frames end after `from` and not after `to`.
    pub(crate) fn frames_between(&self, from: u64, to: u64) -> usize {
        let first = self.frames.partition_point(|frame| frame.end <= from);
        let last = self.frames.partition_point(|frame| frame.end <= to);
        last.saturating_sub(first)
    }

    /// The start of the first frame that begins at or after `position`.
    pub(crate) fn boundary_at_or_after(&self, position: u64) -> u64 {
        if position <= self.base {
            return self.base;
        }
        let at = self.frames.partition_point(|frame| frame.end < position);
        self.frames.get(at).map_or(self.head(), |frame| frame.end)
    }

    /// The last frame boundary at or before `position`.
    pub(crate) fn boundary_at_or_before(&self, position: u64) -> u64 {
        match self.frames.partition_point(|frame| frame.end <= position) {
            0 => self.base,
            count => self.frames[count - 1].end,
        }
    }

    /// The end of the last frame that arrived before `arrival`.
    pub(crate) fn end_before_arrival(&self, arrival: u64) -> u64 {
        match self.frames.partition_point(|frame| frame.arrival < arrival) {
            0 => self.base,
            count => self.frames[count - 1].end,
        }
    }

    /// Forgets what lies before `position`, a frame's end; gives the number of bytes forgotten.
    pub(crate) fn trim(&mut self, position: u64) -> usize {
        let index = self.index(position);
        let gone = index - self.start;
        self.base += gone as u64;
        self.start = index;
        while let Some(frame) = self.frames.pop_front_if(|frame| frame.end <= self.base) {
            self.uncount(&frame.terms);
        }
        if self.start == self.bytes.len() {
            self.start = 0;
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
                self.frames = VecDeque::new();
            } else {
                self.bytes.clear();
            }
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(frames: &[&str]) -> ByteRing {
        let mut ring = ByteRing::default();
        for (arrival, frame) in frames.iter().enumerate() {
            ring.push(arrival as u64, Terms::default(), 0, |out| out.extend_from_slice(frame.as_bytes()));
        }
        ring
    }

    #[test]
    fn positions_outlive_trimming() {
        let mut ring = ring(&["aaa", "bb", "c"]);
        assert_eq!(ring.head(), 6);
        assert_eq!(ring.bytes_from(1), b"aabbc");
        assert_eq!(ring.trim(3), 3);
        assert_eq!((ring.tail(), ring.head(), ring.len()), (3, 6, 3));
        assert_eq!(ring.bytes_from(4), b"bc");
        assert_eq!(ring.bytes_from(0), b"bbc", "what is gone is clamped");
        ring.push(9, Terms::default(), 0, |out| out.extend_from_slice(b"dd"));
        assert_eq!(ring.bytes_between(5, 8), b"cdd");
        assert_eq!(ring.trim(8), 5);
        assert_eq!((ring.tail(), ring.head(), ring.len()), (8, 8, 0));
    }

    #[test]
    fn readers_who_have_seen_a_position() {
        let mut ring = ByteRing::default();
        for (arrival, pos) in [7, 8, 0, 9, u64::MAX].into_iter().enumerate() {
            ring.push(arrival as u64, Terms::default(), pos, |out| out.extend_from_slice(b"xx"));
        }
        for (position, pos, end) in [(0, 6, 0), (0, 7, 2), (0, 8, 4), (0, 9, 8), (4, 8, 4), (0, u64::MAX, 10), (10, 9, 10)] {
            assert_eq!(ring.end_of_pos(position, pos), end, "from {position}, seen {pos}");
        }
        assert_eq!((ring.next_pos(0), ring.next_pos(4), ring.next_pos(10)), (Some(7), Some(9), None));
    }

    #[test]
    fn boundaries_and_counts() {
        let ring = ring(&["aaa", "bb", "c"]);
        assert_eq!(ring.boundary_at_or_after(0), 0);
        assert_eq!(ring.boundary_at_or_after(1), 3);
        assert_eq!(ring.boundary_at_or_after(3), 3);
        assert_eq!(ring.boundary_at_or_after(6), 6);
        assert_eq!(ring.boundary_at_or_before(4), 3);
        assert_eq!(ring.boundary_at_or_before(5), 5);
        assert_eq!(ring.frames_between(0, 6), 3);
        assert_eq!(ring.frames_between(1, 5), 2, "the first one ends in between, too");
        assert_eq!(ring.end_before_arrival(0), 0);
        assert_eq!(ring.end_before_arrival(2), 5);
        assert_eq!(ring.end_before_arrival(99), 6);
        assert_eq!(ring.frames_after(3).count(), 2);
    }
}
