//! The disks that a standalone stands on.

use std::fmt;
use std::sync::Arc;

use perseid_log::{Disk, SystemDisk};
use perseid_store::stored::DiskFault;

/// The disks of a standalone: the operating system's, unless a test wants them to fail.
#[derive(Clone)]
pub struct Disks {
    /// What the event log writes to.
    pub log: Arc<dyn Disk>,
    /// Asked before the store uses its disk.
    pub store: DiskFault,
}

impl Default for Disks {
    fn default() -> Self {
        Self { log: Arc::new(SystemDisk), store: Arc::new(|_| Ok(())) }
    }
}

impl fmt::Debug for Disks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disks")
    }
}
