//! The store in a folder, for one process that holds everything: one bucket of conversations and one of users.
//!
//! What is applied is in memory and can be read at once; a thread commits it behind everybody's back. The folder is a
//! projection: what a kill takes from it comes again from the log, at the same positions, so its epoch never changes.

mod base;
mod committer;
mod config;
mod counters;
mod heal;
mod later;
mod open;
mod readers;
mod recent;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod torn;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub use config::{Condition, DiskFault, DiskUse, EmbeddedConfig, OnCondition, OpenError};
pub use counters::{DURATIONS_SECONDS, Durations, EmbeddedCounters};
use readers::Readers;
use shared::{Shared, hold};

/// The store in a folder. Closing or dropping it commits and syncs what was applied.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    readers: Readers,
}

impl EmbeddedStore {
    /// Opens a folder, or makes it. One that can't be read is moved aside, if the settings want it so.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        let stored = Arc::new(config.stored.clone());
        let opened = open::open(&config, &stored)?;
        let folder = config.folder.clone();
        let no_thread = |error: std::io::Error| OpenError::Disk { folder: folder.clone(), why: error.to_string() };
        let readers = Readers::start(config.readers, config.reads_waiting_max).map_err(no_thread)?;
        let (shared, on_disk) = Shared::new(config, opened);
        let shared = Arc::new(shared);
        let committing = shared.clone();
        let thread = std::thread::Builder::new().name("store-commit".to_owned());
        let committer = thread.spawn(move || committer::run(committing, on_disk));
        let committer = committer.map_err(no_thread)?;
        Ok(Self { shared, committer: Mutex::new(Some(committer)), readers })
    }

    /// Where the folder went that was there and could not be read: the store was begun anew.
    #[must_use]
    pub fn moved_to(&self) -> Option<&Path> {
        self.shared.moved_to.as_deref()
    }

    /// What happened since the store was opened.
    #[must_use]
    pub fn counters(&self) -> EmbeddedCounters {
        EmbeddedCounters { reads_waiting: self.readers.waiting() as u64, ..self.shared.counters() }
    }

    /// Commits and syncs what was applied, and takes no steps from then on; what was applied can still be read. Blocks for as
    /// long as the disk takes. Idempotent.
    pub fn close(&self) {
        self.shared.close();
        let committer = hold(&self.committer).take();
        if let Some(committer) = committer {
            // A thread that panicked has said so.
            let _ = committer.join();
            self.shared.closed();
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}
