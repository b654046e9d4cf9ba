//! What the rules stand on: an ordered map of bytes, in layers.
//!
//! What was applied lies in the topmost layer until a committer takes it ([`Rows::freeze`]) and has brought it into the base
//! ([`Rows::thaw`]); reads go through all of them. Without a base the topmost layer is the store.

mod careful;
mod key;
mod layers;
pub(crate) mod reach;
mod scan;

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use careful::Careful;
pub(crate) use key::Key;
pub(crate) use layers::{Layer, Layers, Rows, View};

/// The store below can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// Rows of a range, in the order asked for.
pub(crate) type BaseRows<'a> = Box<dyn Iterator<Item = Result<(Key, Bytes), Broken>> + 'a>;

/// What was found of a key, in one layer or in all so far; the inner `None`: it is deleted, or nowhere.
pub(crate) type Found = Option<Option<Bytes>>;

/// What survives the process: committed rows.
pub(crate) trait Base: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken>;

    /// What of a key is known without waiting for anything.
    fn known(&self, _: &Key) -> Found {
        None
    }

    /// Looks for those of the keys that were not found above.
    fn find(&self, keys: &[Key], found: &mut [Found]) -> Result<(), Broken> {
        for (key, found) in keys.iter().zip(found).filter(|(_, found)| found.is_none()) {
            *found = Some(self.get(key)?);
        }
        Ok(())
    }

    /// The rows from `from` to `to`, both included, ascending or descending.
    fn range(&self, from: Key, to: Key, descending: bool) -> BaseRows<'_>;
}

/// A base that several threads read.
pub(crate) type SharedBase = Arc<dyn Base>;

/// A base that is being opened anew: nothing can be read from it.
pub(crate) struct Closed;

impl Base for Closed {
    fn get(&self, _: &Key) -> Result<Option<Bytes>, Broken> {
        Err(closed())
    }

    fn range(&self, _: Key, _: Key, _: bool) -> BaseRows<'_> {
        Box::new(std::iter::once(Err(closed())))
    }
}

fn closed() -> Broken {
    Broken("its disk failed, and it is being opened anew".to_owned())
}
