//! The layers of one bucket.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::scan::Scan;
use super::{Base, Broken, Careful, Found, Key, SharedBase};

/// Rows that are not in the base yet; no value = deleted.
pub(crate) type Layer = BTreeMap<Key, Option<Bytes>>;

/// What a row costs in a layer besides its value.
const ROW_OVERHEAD_BYTES: usize = size_of::<(Key, Option<Bytes>)>() + 32;

/// Layers to read through, uppermost first.
#[derive(Clone, Copy)]
pub(crate) struct Layers<'a> {
    top: &'a Layer,
    frozen: Option<&'a Layer>,
    base: Option<&'a dyn Base>,
}

impl<'a> Layers<'a> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken> {
        match (self.above_base(key), self.base) {
            (Some(value), _) => Ok(value),
            (None, Some(base)) => base.get(key),
            (None, None) => Ok(None),
        }
    }

    fn above_base(&self, key: &Key) -> Found {
        [Some(self.top), self.frozen].into_iter().flatten().find_map(|layer| layer.get(key)).cloned()
    }

    /// The rows from `from` to `to`, both included.
    pub(crate) fn range(&self, from: Key, to: Key, descending: bool) -> Scan<'a> {
        if from > to {
            return Scan::new(Vec::new(), None, descending);
        }
        let bounds = (Bound::Included(from), Bound::Included(to));
        let upper = [Some(self.top), self.frozen].into_iter().flatten().map(|layer| {
            let rows = layer.range(bounds).map(|(key, value)| (*key, value.clone()));
            if descending { Box::new(rows.rev()) as Box<dyn Iterator<Item = _> + 'a> } else { Box::new(rows) }
        });
        Scan::new(upper.collect(), self.base.map(|base| base.range(from, to, descending)), descending)
    }

    /// The last row with this prefix.
    pub(crate) fn last(&self, prefix: Key) -> Result<Option<(Key, Bytes)>, Broken> {
        self.range(prefix, prefix.last_with_prefix(), true).next().transpose()
    }
}

/// The rows of one bucket, and how to take back what a failed step did.
pub(crate) struct Rows {
    top: Layer,
    frozen: Option<Arc<Layer>>,
    base: Option<SharedBase>,
    /// The same base, for those who read when the bucket is free for others again.
    free: Option<SharedBase>,
    top_bytes: usize,
    frozen_bytes: usize,
    /// What the keys written since [`Rows::begin`] were in the topmost layer.
    undo: Vec<(Key, Option<Option<Bytes>>)>,
    undo_bytes: usize,
}

impl Rows {
    /// Rows over a base; without one they are all there is.
    pub(crate) fn new(base: Option<SharedBase>) -> Self {
        let (top, free) = (Layer::new(), base.clone());
        Self { top, frozen: None, base, free, top_bytes: 0, frozen_bytes: 0, undo: Vec::new(), undo_bytes: 0 }
    }

    /// Rows over a base that is not waited for while they are held.
    pub(crate) fn over(base: &Arc<Careful>) -> Self {
        Self { free: Some(base.free()), ..Self::new(Some(base.held())) }
    }

    /// To read through.
    pub(crate) fn layers(&self) -> Layers<'_> {
        Layers { top: &self.top, frozen: self.frozen.as_deref(), base: self.base.as_deref() }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken> {
        self.layers().get(key)
    }

    /// What is known of a key without the base.
    pub(crate) fn above_base(&self, key: &Key) -> Found {
        self.layers().above_base(key)
    }

    /// What they stand on, to be read when the bucket is free for others again.
    pub(crate) fn base(&self) -> Option<SharedBase> {
        self.free.clone()
    }

    /// The rows with this prefix, ascending.
    pub(crate) fn prefix(&self, prefix: Key) -> Scan<'_> {
        self.layers().range(prefix, prefix.last_with_prefix(), false)
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, key: Key, value: impl Into<Bytes>) {
        self.write(key, Some(value.into()));
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, key: Key) {
        self.write(key, None);
    }

    fn write(&mut self, key: Key, value: Option<Bytes>) {
        let row_bytes = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD_BYTES;
        let before = if value.is_none() && self.base.is_none() {
            self.top.remove(&key)
        } else {
            self.top_bytes += row_bytes(&value);
            self.top.insert(key, value)
        };
        self.top_bytes -= before.as_ref().map_or(0, row_bytes).min(self.top_bytes);
        self.undo.push((key, before));
    }

    /// From here on writes can be taken back.
    pub(crate) fn begin(&mut self) {
        self.undo.clear();
        self.undo_bytes = self.top_bytes;
    }

    /// Takes back everything since [`Rows::begin`].
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.top.insert(key, value),
                None => self.top.remove(&key),
            };
        }
        self.top_bytes = self.undo_bytes;
    }

    /// Bytes that are applied and not in the base yet.
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        self.top_bytes + self.frozen_bytes
    }

    /// Whether a row may be lost with the process.
    pub(crate) fn is_uncommitted(&self, key: &Key) -> bool {
        self.base.is_some() && (self.top.contains_key(key) || self.frozen.as_ref().is_some_and(|layer| layer.contains_key(key)))
    }

    /// Everything applied so far, for a committer; the same again until [`Rows::thaw`].
    pub(crate) fn freeze(&mut self) -> Arc<Layer> {
        if let Some(frozen) = &self.frozen {
            return frozen.clone();
        }
        let frozen = Arc::new(std::mem::take(&mut self.top));
        self.frozen_bytes = std::mem::take(&mut self.top_bytes);
        self.undo.clear();
        self.frozen = Some(frozen.clone());
        frozen
    }

    /// What was frozen is in the base now.
    pub(crate) fn thaw(&mut self) -> Option<Arc<Layer>> {
        self.frozen_bytes = 0;
        self.frozen.take()
    }

    /// Forgets what is not in the base, and stands on this one.
    pub(crate) fn reset(&mut self, base: Option<SharedBase>) {
        *self = Self::new(base);
    }

    /// A copy of the topmost layer; of everything, where there is no base.
    pub(crate) fn top(&self) -> Layer {
        self.top.clone()
    }

    /// Makes this the topmost layer.
    pub(crate) fn set_top(&mut self, top: Layer) {
        self.top_bytes = top.values().map(|value| value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD_BYTES).sum();
        self.top = top;
        self.undo.clear();
    }

    /// The rows from `from` to `to` as they are now, to be read when the bucket is free for others again.
    pub(crate) fn view(&self, from: Key, to: Key) -> View {
        let top =
            if from > to { Layer::new() } else { self.top.range(from..=to).map(|(key, value)| (*key, value.clone())).collect() };
        View { top, frozen: self.frozen.clone(), base: self.free.clone() }
    }
}

/// A part of the rows of a bucket, as they were at one moment or later.
pub(crate) struct View {
    top: Layer,
    frozen: Option<Arc<Layer>>,
    base: Option<SharedBase>,
}

impl View {
    /// To read through.
    pub(crate) fn layers(&self) -> Layers<'_> {
        Layers { top: &self.top, frozen: self.frozen.as_deref(), base: self.base.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key::new(1).and_u64(number)
    }

    struct Committed(Layer);

    impl Base for Committed {
        fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken> {
            Ok(self.0.get(key).cloned().flatten())
        }

        fn range(&self, from: Key, to: Key, descending: bool) -> super::super::BaseRows<'_> {
            let rows = self.0.range(from..=to).filter_map(|(key, value)| Some(Ok((*key, value.clone()?))));
            if descending { Box::new(rows.rev()) } else { Box::new(rows) }
        }
    }

    fn numbers(rows: &Rows, descending: bool) -> Vec<(u64, Bytes)> {
        let all = rows.layers().range(key(0), key(u64::MAX), descending);
        all.map(|row| row.unwrap()).map(|(key, value)| (key.last_u64(), value)).collect()
    }

    #[test]
    fn upper_layers_hide_lower_ones() {
        let base = [(key(1), Some("base".into())), (key(2), Some("base".into())), (key(5), Some("base".into()))];
        let mut rows = Rows::new(Some(Arc::new(Committed(base.into_iter().collect()))));
        rows.put(key(2), "frozen");
        rows.put(key(3), "frozen");
        rows.put(key(4), "frozen");
        rows.freeze();
        rows.delete(key(5));
        rows.put(key(3), "top");
        rows.delete(key(4));
        let wanted: Vec<(u64, Bytes)> = vec![(1, "base".into()), (2, "frozen".into()), (3, "top".into())];
        assert_eq!(numbers(&rows, false), wanted);
        assert_eq!(numbers(&rows, true), wanted.into_iter().rev().collect::<Vec<_>>());
        assert_eq!(rows.layers().last(Key::new(1)), Ok(Some((key(3), "top".into()))));
        assert_eq!((rows.get(&key(5)), rows.get(&key(2))), (Ok(None), Ok(Some("frozen".into()))));
        assert!(rows.is_uncommitted(&key(2)) && !rows.is_uncommitted(&key(1)));
        let view = rows.view(key(3), key(4));
        rows.put(key(3), "later");
        assert_eq!(view.layers().get(&key(3)), Ok(Some("top".into())));
    }

    #[test]
    fn what_a_failed_step_did_is_taken_back() {
        let mut rows = Rows::new(None);
        rows.put(key(1), "a");
        rows.put(key(2), "b");
        let bytes = rows.uncommitted_bytes();
        rows.begin();
        rows.put(key(1), "long and new");
        rows.put(key(1), "again");
        rows.delete(key(2));
        rows.put(key(3), "c");
        rows.roll_back();
        assert_eq!(numbers(&rows, false), vec![(1, "a".into()), (2, "b".into())]);
        assert_eq!(rows.uncommitted_bytes(), bytes);
        rows.delete(key(1));
        rows.delete(key(2));
        assert_eq!(rows.uncommitted_bytes(), 0);
    }
}
