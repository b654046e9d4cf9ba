//! The body of every message the generator pushes: who it belongs to, its
//! number, and when it was due. Big-endian, padded with zeros.

/// Bytes of a stamp; with the classic header of 16 a frame of 40.
pub(crate) const STAMP_LEN: usize = 24;

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which phase of which run: frames of another phase are not counted.
    pub(crate) marker: u64,
    /// 1, 2, 3 … within the stream that one session receives.
    pub(crate) seq: u64,
    /// When it was due by the schedule, on the common clock.
    pub(crate) due_ns: u64,
}

impl Stamp {
    /// The body of `size` bytes, or of [`STAMP_LEN`] when that is more.
    pub(crate) fn encode(self, size: usize) -> Vec<u8> {
        let mut body = vec![0; size.max(STAMP_LEN)];
        self.write(&mut body);
        body
    }

    /// Writes the stamp over the first bytes of `body`, as many as fit.
    pub(crate) fn write(self, body: &mut [u8]) {
        let words = [self.marker, self.seq, self.due_ns];
        for (place, word) in body.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }

    /// Reads the stamp of a body; none when it is too short for one.
    #[inline]
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let bytes = body.first_chunk::<STAMP_LEN>()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(word)
        };
        Some(Self { marker: word(0), seq: word(8), due_ns: word(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_survives_and_is_padded() {
        let stamp = Stamp { marker: 7, seq: u64::MAX, due_ns: 1 << 60 };
        let body = stamp.encode(100);
        assert_eq!(body.len(), 100);
        assert_eq!(Stamp::decode(&body), Some(stamp));
        assert_eq!(stamp.encode(0).len(), STAMP_LEN);
        assert_eq!(Stamp::decode(&body[..23]), None);
    }
}
