//! Stored frames beyond a gap, bounded in bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use perseid_protocol::frame::Header;

/// What one kept frame takes beside its body, bytes: header, slice and its place in the map, generously.
const ENTRY_BYTES: usize = 160;

#[derive(Debug)]
pub(super) struct Held {
    frames: BTreeMap<u64, (Header, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl Held {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { frames: BTreeMap::new(), bytes: 0, bytes_max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Keeps a frame; `false` when there is no room for it.
    pub(super) fn insert(&mut self, header: Header, body: Bytes) -> bool {
        let bytes = body.len().saturating_add(ENTRY_BYTES);
        if self.frames.contains_key(&header.ext.pos) {
            return true;
        }
        if self.bytes.saturating_add(bytes) > self.bytes_max {
            return false;
        }
        self.bytes += bytes;
        self.frames.insert(header.ext.pos, (header, body));
        true
    }

    pub(super) fn take(&mut self, pos: u64) -> Option<(Header, Bytes)> {
        let (header, body) = self.frames.remove(&pos)?;
        self.bytes = self.bytes.saturating_sub(body.len().saturating_add(ENTRY_BYTES));
        Some((header, body))
    }

    pub(super) fn forget_up_to(&mut self, cursor: u64) {
        while let Some(pos) = self.frames.keys().next().copied().filter(|pos| *pos <= cursor) {
            self.take(pos);
        }
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }
}
