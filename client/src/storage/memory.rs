//! Storage that lasts as long as the process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Record, Storage, Stored};

/// Keeps everything in memory. Clones share what they keep, so that a client that follows in the same process goes on
/// where the one before it ended.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage(Arc<Mutex<Stored>>);

impl MemoryStorage {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds now.
    pub fn stored(&self) -> Stored {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Storage for MemoryStorage {
    fn load(&mut self) -> io::Result<Stored> {
        Ok(self.stored())
    }

    fn save(&mut self, records: &[Record]) -> io::Result<()> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            stored.apply(record);
        }
        Ok(())
    }
}
