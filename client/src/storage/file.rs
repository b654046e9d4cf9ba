//! Storage in a file: a log of records with checksums, rewritten when most of it is over.
//!
//! ```text
//! "PSDC" 1 0 0 0 │ length u32 │ crc32c of the length u32 │ crc32c of kind and body u32 │ kind u8 │ body │ length …
//! ```
//!
//! A record is appended whole and synced before [`Storage::save`] returns. A kill can only cut the last one: a torn tail,
//! which was promised to nobody and is cut off. Damage before the tail is an error, never a shorter list. Rewriting goes to
//! a file beside it, which is synced and then renamed over the old one.

mod record;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Record, Storage, Stored};

/// Begins each file: what it is, and the version of its form.
const MAGIC: [u8; 8] = *b"PSDC\x01\0\0\0";
/// A log below this is never rewritten, bytes.
const REWRITE_BYTES_MIN: u64 = 256 * 1024;
/// A log is rewritten when it is so many times as long as what it holds.
const REWRITE_FACTOR: u64 = 4;

/// Keeps everything in one file, over a kill of the process and over a loss of power.
///
/// A file belongs to one client at a time: a second one that opens it is refused.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    /// Open from `load` on.
    file: Option<File>,
    /// Held from `load` on, so that no other client uses the file.
    lock: Option<File>,
    stored: Stored,
    bytes: u64,
    rewrite_at_bytes: u64,
}

impl FileStorage {
    /// Storage in the file `path`, which is made if it is not there. Nothing is touched before the client starts.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
            lock: None,
            stored: Stored::default(),
            bytes: 0,
            rewrite_at_bytes: REWRITE_BYTES_MIN,
        }
    }

    /// Takes the file for this client alone.
    fn lock(&self) -> io::Result<File> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(beside(&self.path, "lock"))?;
        lock.try_lock().map_err(|_| {
            let text = format!("{} is in use by another client: give each its own file", self.path.display());
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        })?;
        Ok(lock)
    }

    fn read(&mut self) -> io::Result<u64> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        // A kill while the file was made leaves a part of the first bytes.
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            return Ok(0);
        }
        let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
            return Err(self.damaged("it does not begin as a file of this client"));
        };
        let mut good = MAGIC.len();
        while let Some((record, len)) = record::take(rest).map_err(|what| self.damaged(&what))? {
            self.stored.apply(&record);
            good += len;
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(good as u64)
    }

    fn damaged(&self, what: &str) -> io::Error {
        let text =
            format!("{} is damaged: {what}. Move it away to begin anew; unsent messages in it are lost", self.path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    /// Writes what is kept into a new file, and puts that in the place of the old one.
    fn rewrite(&mut self) -> io::Result<File> {
        let mut bytes = MAGIC.to_vec();
        record::put(&mut bytes, &Record::Cursor(self.stored.cursor));
        for entry in &self.stored.outbox {
            record::put(&mut bytes, &Record::Queued(entry.clone()));
        }
        let fresh = beside(&self.path, "new");
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        sync_folder(&self.path)?;
        self.bytes = bytes.len() as u64;
        self.rewrite_at_bytes = REWRITE_BYTES_MIN.max(self.bytes.saturating_mul(REWRITE_FACTOR));
        Ok(file)
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> io::Result<Stored> {
        if self.lock.is_none() {
            self.lock = Some(self.lock()?);
        }
        self.stored = Stored::default();
        let good_bytes = self.read()?;
        self.file = Some(if good_bytes == 0 {
            self.rewrite()?
        } else {
            let file = OpenOptions::new().append(true).open(&self.path)?;
            // Behind a torn tail nothing could be found again.
            file.set_len(good_bytes)?;
            file.sync_all()?;
            self.bytes = good_bytes;
            file
        });
        Ok(self.stored.clone())
    }

    fn save(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            record::put(&mut bytes, record);
        }
        // After a failure nobody knows what is in the file: it stays closed.
        let mut file = self.file.take().ok_or_else(|| io::Error::other("the file is not open, or a write to it failed"))?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        for record in records {
            self.stored.apply(record);
        }
        self.file = Some(if self.bytes >= self.rewrite_at_bytes { self.rewrite()? } else { file });
        Ok(())
    }
}

/// The path with one more ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// A rename lasts when its folder is synced. Not every system can open a folder; there it has to do without.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
