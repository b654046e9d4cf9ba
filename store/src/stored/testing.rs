//! What tests and simulations do to a [`MemoryStore`]: failovers that lose writes, lost buckets, calls that fail.

use std::sync::PoisonError;

use super::kv::{Layer, Rows};
use super::memory::{MemoryStore, SEED};
use super::step::{Bucket, StepError};

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the calls of `Store`
pub enum Call {
    Load,
    Prepare,
    Conv,
    User,
    Sweep,
    Reserve,
}

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It works.
    Work,
    /// It does nothing and says that the store is down.
    Fail,
    /// It works and says that the store is down.
    LoseAnswer,
}

/// A bucket as it was.
#[derive(Clone)]
pub struct Snapshot {
    bucket: Bucket,
    rows: Layer,
}

impl MemoryStore {
    /// From now on this tells the fate of every call.
    pub fn set_faults(&self, fate: impl FnMut(Call) -> Fate + Send + 'static) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fate));
    }

    /// From now on every call works.
    pub fn clear_faults(&self) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A bucket as it is now; empty if there is no such bucket.
    #[must_use]
    pub fn snapshot(&self, bucket: Bucket) -> Snapshot {
        let rows = match bucket {
            Bucket::Conv(number) => self.engine.conv_number(number).map(|held| held.rows.top()),
            Bucket::User(number) => self.engine.user_number(number).map(|held| held.rows.top()),
        };
        Snapshot { bucket, rows: rows.unwrap_or_default() }
    }

    /// A failover: the bucket is again as it was, what was written since is lost, the store has another `boot`, and what it
    /// held in memory only (reservations) is gone.
    ///
    /// # Errors
    /// There is no such bucket.
    pub fn roll_back(&self, snapshot: &Snapshot) -> Result<(), StepError> {
        let mut rows = Rows::new(None);
        rows.set_top(snapshot.rows.clone());
        self.engine.replace(snapshot.bucket, rows, self.engine.boot() + 1, SEED)
    }

    /// The bucket is lost with everything in it, its epoch too; the store has another `boot`.
    ///
    /// # Errors
    /// There is no such bucket.
    pub fn wipe(&self, bucket: Bucket) -> Result<(), StepError> {
        self.engine.replace(bucket, Rows::new(None), self.engine.boot() + 1, SEED)
    }

    /// The store was started again and has lost nothing: another `boot`.
    pub fn restart(&self) {
        self.engine.set_boot(self.engine.boot() + 1);
    }
}
