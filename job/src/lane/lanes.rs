//! The lanes there are: comets come and go while the job runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Lane;

/// The lanes there are, one for each comet. Cheap to clone: all clones are one list.
#[derive(Clone)]
pub struct Lanes(Arc<Inner>);

struct Inner {
    /// Ascending by node.
    lanes: RwLock<Arc<[Arc<dyn Lane>]>>,
    /// Grows with each change.
    version: AtomicU64,
}

impl Lanes {
    /// Adds a lane; the one that led to its comet before is given back, and gets nothing any more.
    pub fn add(&self, lane: Arc<dyn Lane>) -> Option<Arc<dyn Lane>> {
        self.change(|lanes| match lanes.binary_search_by_key(&lane.node(), |known| known.node()) {
            Ok(at) => Some(std::mem::replace(&mut lanes[at], lane)),
            Err(at) => {
                lanes.insert(at, lane);
                None
            }
        })
    }

    /// Takes away the lane to `node`, if there is one.
    pub fn remove(&self, node: u32) -> Option<Arc<dyn Lane>> {
        self.change(|lanes| {
            let at = lanes.binary_search_by_key(&node, |known| known.node()).ok()?;
            Some(lanes.remove(at))
        })
    }

    /// The lanes now, ascending by node.
    pub fn all(&self) -> Arc<[Arc<dyn Lane>]> {
        Arc::clone(&self.0.lanes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Differs from what it was when something changed since.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<dyn Lane>>) -> T) -> T {
        // Replaced whole: a panic can't leave half a list.
        let mut lanes = self.0.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = lanes.to_vec();
        let result = change(&mut changed);
        *lanes = changed.into();
        self.0.version.fetch_add(1, Ordering::Release);
        result
    }
}

impl From<Vec<Arc<dyn Lane>>> for Lanes {
    /// Of two lanes to one comet the first counts.
    fn from(mut lanes: Vec<Arc<dyn Lane>>) -> Self {
        lanes.sort_by_key(|lane| lane.node());
        lanes.dedup_by_key(|lane| lane.node());
        Self(Arc::new(Inner { lanes: RwLock::new(lanes.into()), version: AtomicU64::new(0) }))
    }
}
