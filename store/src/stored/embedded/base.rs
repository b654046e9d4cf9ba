//! Committed rows, in one keyspace of fjall: one, so that a flush is atomic over all sorts of rows.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::config::{DiskFault, DiskUse, EmbeddedConfig};
use super::recent::Recent;
use crate::stored::kv::{Base, BaseRows, Broken, Found, Key, Layer};

/// Memtables that wait to be flushed beyond which fjall would hold the committer for as long as it likes.
const SEALED_MAX: usize = 3;
/// Tables of the first level beyond which it would do the same.
const TABLES_MAX: usize = 25;

/// An open store on disk.
pub(super) struct Disk {
    db: Database,
    rows: Keyspace,
    recent: Recent,
    fault: DiskFault,
    /// The operating system refused something, as opposed to bytes that are not what was written.
    has_failed: AtomicBool,
}

/// Whether it is the disk, its room or its rights that fail, and not what is on it. A file that is missing, or shorter than it
/// should be, is damage.
pub(super) fn is_of_disk(error: &fjall::Error) -> bool {
    let of_system = |error: &io::Error| error.raw_os_error().is_some() && error.kind() != ErrorKind::NotFound;
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => of_system(error),
        _ => false,
    }
}

impl Disk {
    /// Opens or makes it.
    pub(super) fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, fjall::Error> {
        let db = Database::builder(folder)
            .manual_journal_persist(true)
            .worker_threads(2)
            .cache_size(config.page_cache_bytes_max)
            .max_journaling_size(config.journal_bytes_max)
            .open()?;
        let options =
            || KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(config.memtable_bytes_max);
        let rows = db.keyspace("rows", options)?;
        let (fault, has_failed) = (config.disk_fault.clone(), AtomicBool::new(false));
        Ok(Self { db, rows, recent: Recent::new(config.recent_bytes_max), fault, has_failed })
    }

    /// Whether an error of the disk itself was met.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    fn broken(&self, error: &fjall::Error) -> Broken {
        if is_of_disk(error) {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        Broken(error.to_string())
    }

    fn ask(&self, what: DiskUse) -> Result<(), Broken> {
        (self.fault)(what).map_err(|error| self.broken(&error.into()))
    }

    /// Writes layers in one commit. Until this returns nobody may look for their rows here. `flush`: it survives the process (not the machine) when this returns.
    pub(super) fn commit(&self, layers: &[&Layer], flush: bool) -> Result<(), Broken> {
        self.ask(DiskUse::Commit)?;
        let mut batch = self.db.batch().durability(flush.then_some(PersistMode::Buffer));
        for (key, value) in layers.iter().flat_map(|layer| layer.iter()) {
            match value {
                Some(value) => batch.insert(&self.rows, key.as_ref(), value.clone()),
                None => batch.remove(&self.rows, key.as_ref()),
            }
        }
        batch.commit().map_err(|error| self.broken(&error))?;
        layers.iter().for_each(|layer| self.recent.committed(layer));
        Ok(())
    }

    /// Everything committed so far survives the machine when this returns.
    pub(super) fn persist(&self) -> Result<(), Broken> {
        self.ask(DiskUse::Sync)?;
        self.db.persist(PersistMode::SyncData).map_err(|error| self.broken(&error))
    }

    /// Everything committed so far survives the process when this returns; an error if it takes no commits any more.
    pub(super) fn flush(&self) -> Result<(), Broken> {
        self.db.persist(PersistMode::Buffer).map_err(|error| self.broken(&error))
    }

    /// Whether a commit would not be held up.
    pub(super) fn has_room(&self) -> bool {
        self.rows.sealed_memtable_count() < SEALED_MAX && self.rows.l0_table_count() < TABLES_MAX
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }
}

impl Base for Disk {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, Broken> {
        if let Some(known) = self.known(key) {
            return Ok(known);
        }
        self.ask(DiskUse::Read)?;
        self.rows.get(key.as_ref()).map(|value| value.map(Bytes::from)).map_err(|error| self.broken(&error))
    }

    fn known(&self, key: &Key) -> Found {
        self.recent.get(key).map(Some)
    }

    fn find(&self, keys: &[Key], found: &mut [Found]) -> Result<(), Broken> {
        self.recent.find(keys, found);
        for (key, found) in keys.iter().zip(found).filter(|(_, found)| found.is_none()) {
            self.ask(DiskUse::Read)?;
            *found = Some(self.rows.get(key.as_ref()).map_err(|error| self.broken(&error))?.map(Bytes::from));
        }
        Ok(())
    }

    fn range(&self, from: Key, to: Key, descending: bool) -> BaseRows<'_> {
        if let Err(broken) = self.ask(DiskUse::Read) {
            return Box::new(std::iter::once(Err(broken)));
        }
        let rows = self.rows.range(from..=to);
        let row = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(|error| self.broken(&error))?;
            let key = Key::from_bytes(&key).ok_or_else(|| Broken("a key of the store is too long: it is damaged".to_owned()))?;
            Ok((key, Bytes::from(value)))
        };
        if descending { Box::new(rows.rev().map(row)) } else { Box::new(rows.map(row)) }
    }
}
