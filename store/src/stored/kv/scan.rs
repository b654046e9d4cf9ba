//! Walking through layers as if they were one map.

use std::cmp::Ordering;
use std::iter::Peekable;

use bytes::Bytes;

use super::{BaseRows, Broken, Key};

/// A row of a layer: no value = deleted there.
pub(super) type LayerRow = (Key, Option<Bytes>);

type LayerRows<'a> = Box<dyn Iterator<Item = LayerRow> + 'a>;

/// The rows of all layers in one order; the uppermost one that has a key tells its value.
pub(crate) struct Scan<'a> {
    upper: Vec<Peekable<LayerRows<'a>>>,
    base: Option<Peekable<BaseRows<'a>>>,
    descending: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(upper: Vec<LayerRows<'a>>, base: Option<BaseRows<'a>>, descending: bool) -> Self {
        Self { upper: upper.into_iter().map(Iterator::peekable).collect(), base: base.map(Iterator::peekable), descending }
    }

    fn sooner(&self, one: &Key, other: &Key) -> bool {
        let order = one.cmp(other);
        if self.descending { order == Ordering::Greater } else { order == Ordering::Less }
    }

    /// The key that comes next in any layer.
    fn next_key(&mut self) -> Result<Option<Key>, Broken> {
        let mut next = match self.base.as_mut().and_then(Peekable::peek) {
            Some(Ok((key, _))) => Some(*key),
            Some(Err(broken)) => return Err(broken.clone()),
            None => None,
        };
        for index in 0..self.upper.len() {
            let Some(key) = self.upper[index].peek().map(|row| row.0) else { continue };
            if next.is_none_or(|best| self.sooner(&key, &best)) {
                next = Some(key);
            }
        }
        Ok(next)
    }

    /// Takes this key from every layer; the uppermost value counts.
    fn take(&mut self, key: &Key) -> Option<Bytes> {
        let mut found: Option<Option<Bytes>> = None;
        for layer in &mut self.upper {
            if let Some((_, value)) = layer.next_if(|row| row.0 == *key) {
                found = found.or(Some(value));
            }
        }
        let below = self.base.as_mut().and_then(|base| base.next_if(|row| matches!(row, Ok((other, _)) if other == key)));
        found.unwrap_or_else(|| below.and_then(Result::ok).map(|row| row.1))
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Key, Bytes), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = match self.next_key() {
                Ok(key) => key?,
                Err(broken) => {
                    self.upper.clear();
                    self.base = None;
                    return Some(Err(broken));
                }
            };
            if let Some(value) = self.take(&key) {
                return Some(Ok((key, value)));
            }
        }
    }
}
