//! Everything that waits for one session, put together in order for one write.

use crate::outbox::{QueuedFrame, Way};

/// Whole frames, back to back, with what is known of each. One per worker, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    pub(crate) bytes: Vec<u8>,
    pub(crate) frames: Vec<QueuedFrame>,
}

/// A worker keeps no larger buffer than this between two uses.
const KEPT_BYTES: usize = 256 * 1024;

impl Gather {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts the frame that `encode` writes.
    pub(crate) fn put(&mut self, way: Way, expires_at_ms: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        self.frames.push(QueuedFrame { len: self.bytes.len() - before, way, expires_at_ms });
    }

    /// Puts a frame's bytes.
    pub(crate) fn put_bytes(&mut self, way: Way, expires_at_ms: u64, bytes: &[u8]) {
        self.put(way, expires_at_ms, |out| out.extend_from_slice(bytes));
    }
}
