//! Rows of timelines that were committed lately: what those read who were away for a while. Fjall would look for each of them
//! in every table of its first level; references of an inbox lie side by side and are found by one walk.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::stored::cache::Cache;
use crate::stored::keys::sort;
use crate::stored::kv::{Found, Key, Layer};

/// What a row costs besides its bytes: its key, its handle, its place in the map, its allocation.
const ROW_OVERHEAD_BYTES: usize = size_of::<(Key, Bytes)>() * 3 / 2 + 32;
const COPIED_BYTES_MAX: usize = 1_024;
/// Of these sorts: bodies, and the small rows that live sessions change again and again.
const KEPT: [u8; 4] = [sort::TIMELINE, sort::MEMBER, sort::CURSORS, sort::READ];
/// Rows taken under one lock, so that readers wait for no more than these.
const ROWS_AT_ONCE: usize = 64;

/// A bounded part of what is on the disk, as it is on the disk.
pub(super) struct Recent(Mutex<Cache<Key, Bytes>>);

fn weight(row: &Bytes) -> usize {
    row.len() + ROW_OVERHEAD_BYTES
}

/// Of a short row another copy: to share one, the line of its counter is fetched, and it is held by all who read it.
fn copy(row: &Bytes) -> Bytes {
    if row.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(row) } else { row.clone() }
}

fn is_kept(key: &Key) -> bool {
    key.as_ref().first().is_some_and(|sort| KEPT.contains(sort))
}

impl Recent {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Mutex::new(Cache::new(bytes_max / 2)))
    }

    fn hold(&self) -> MutexGuard<'_, Cache<Key, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row, if it is known here.
    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        if is_kept(key) { self.hold().peek(key).map(copy) } else { None }
    }

    /// What is known here of those that were not found yet.
    pub(super) fn find(&self, keys: &[Key], found: &mut [Found]) {
        for (keys, found) in keys.chunks(ROWS_AT_ONCE).zip(found.chunks_mut(ROWS_AT_ONCE)) {
            let kept = self.hold();
            for (key, found) in keys.iter().zip(found).filter(|(key, found)| found.is_none() && is_kept(key)) {
                *found = kept.peek(key).map(|row| Some(copy(row)));
            }
        }
    }

    /// These rows are on the disk now; to be told before anybody can look for them there.
    pub(super) fn committed(&self, layer: &Layer) {
        let mut rows = layer.iter().filter(|(key, _)| is_kept(key)).peekable();
        while rows.peek().is_some() {
            // Dropped when the readers can go on.
            let mut gone = Vec::with_capacity(ROWS_AT_ONCE);
            let mut kept = self.hold();
            for (key, value) in rows.by_ref().take(ROWS_AT_ONCE) {
                match value {
                    Some(row) => gone.push(kept.insert(*key, row.clone(), weight(row))),
                    None => kept.remove(key),
                }
            }
            drop(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::conv::Conv;
    use crate::stored::keys::{inbox_row, timeline_row};

    fn layer(rows: &[(Key, Option<&'static str>)]) -> Layer {
        rows.iter().map(|(key, value)| (*key, value.map(Bytes::from))).collect()
    }

    #[test]
    fn rows_of_timelines_are_known_as_they_were_committed_last() {
        let recent = Recent::new(1 << 20);
        let row = |pos| timeline_row(Conv::Group(1), pos);
        recent.committed(&layer(&[(row(1), Some("a")), (row(2), Some("b")), (inbox_row(1, 1), Some("c"))]));
        assert_eq!((recent.get(&row(1)), recent.get(&inbox_row(1, 1))), (Some("a".into()), None));
        recent.committed(&layer(&[(row(1), Some("gone")), (row(2), None)]));
        assert_eq!((recent.get(&row(1)), recent.get(&row(2))), (Some("gone".into()), None));
    }

    #[test]
    fn they_are_bounded_in_bytes() {
        let recent = Recent::new(100 * ROW_OVERHEAD_BYTES);
        let row = |pos| timeline_row(Conv::Group(1), pos);
        for pos in 0..1_000 {
            recent.committed(&layer(&[(row(pos), Some("body"))]));
        }
        let known = (0..1_000).filter(|pos| recent.get(&row(*pos)).is_some()).count();
        assert!((40..=100).contains(&known), "{known}");
        assert!(recent.get(&row(999)).is_some());
    }
}
