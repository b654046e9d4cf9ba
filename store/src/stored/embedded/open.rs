//! Opening a folder: what is there is read, or moved aside.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::base::{Disk, is_of_disk};
use super::config::{DiskUse, EmbeddedConfig, OpenError};
use super::torn::cut_newest_journal;
use crate::stored::config::StoredConfig;
use crate::stored::conv_bucket::ConvBucket;
use crate::stored::engine::Buckets;
use crate::stored::keys::sort;
use crate::stored::kv::{Base, Broken, Careful, Key, Rows};
use crate::stored::rows::{number, read_number};
use crate::stored::user_bucket::UserBucket;

/// What rows mean. A store of another one is not read.
const FORMAT: u64 = 1;

/// A store that was opened.
pub(super) struct Opened {
    pub(super) disk: Arc<Disk>,
    /// What the buckets stand on.
    pub(super) careful: Arc<Careful>,
    pub(super) buckets: Buckets,
    /// The life of the store: that of its folder, because what one process wrote the next one reads.
    pub(super) boot: u64,
    /// Where a folder went that could not be read.
    pub(super) moved_to: Option<PathBuf>,
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Opens a folder, or makes it.
pub(super) fn open(config: &EmbeddedConfig, stored: &Arc<StoredConfig>) -> Result<Opened, OpenError> {
    match open_folder(config, stored) {
        Err(OpenError::Broken { .. }) if config.move_aside => {
            let moved_to = move_aside(&config.folder, (config.clock)())?;
            Ok(Opened { moved_to: Some(moved_to), ..open_folder(config, stored)? })
        }
        opened => opened,
    }
}

/// Opens a folder, or makes it; one that can't be read stays where it is.
pub(super) fn open_folder(config: &EmbeddedConfig, stored: &Arc<StoredConfig>) -> Result<Opened, OpenError> {
    let folder = config.folder.clone();
    let asked = (config.disk_fault)(DiskUse::Open).map_err(fjall::Error::from);
    let opened = asked.and_then(|()| match Disk::open(&folder, config) {
        // Once: a loss of power leaves no more than that.
        Err(fjall::Error::JournalRecovery(_)) if cut_newest_journal(&folder)? => Disk::open(&folder, config),
        opened => opened,
    });
    let disk = opened.map_err(|error| classify(&folder, &error))?;
    let disk = Arc::new(disk);
    let unreadable = |broken: Broken| match disk.has_failed() {
        true => OpenError::Disk { folder: folder.clone(), why: broken.0 },
        false => OpenError::Broken { folder: folder.clone(), why: broken.0 },
    };
    let format = format_of(&disk).map_err(unreadable)?;
    if format > FORMAT {
        return Err(OpenError::Newer { folder, format });
    }
    let careful = Careful::new(disk.clone());
    let (buckets, boot) = buckets(&disk, &careful, stored).map_err(unreadable)?;
    Ok(Opened { disk, careful, buckets, boot, moved_to: None })
}

/// The buckets as a store on disk has them, and its life.
fn buckets(disk: &Disk, careful: &Arc<Careful>, stored: &Arc<StoredConfig>) -> Result<(Buckets, u64), Broken> {
    let mut rows = Rows::over(careful);
    let boot = life(&mut rows, disk)?;
    let conv = ConvBucket::load(rows, 0, boot, [random(), random()], stored)?;
    let user = UserBucket::load(Rows::over(careful), 0, boot, stored)?;
    Ok((Buckets { convs: vec![conv], users: vec![user] }, boot))
}

fn life_key(index: u8) -> Key {
    Key::new(sort::SEED).and(&[index])
}

/// The format of what is there; of an empty store this version's.
fn format_of(disk: &Disk) -> Result<u64, Broken> {
    disk.get(&life_key(8))?.map_or(Ok(FORMAT), |row| read_number(&row))
}

/// The life of the store; a new one gets it, and its format.
fn life(rows: &mut Rows, disk: &Disk) -> Result<u64, Broken> {
    if let Some(boot) = disk.get(&life_key(9))? {
        return read_number(&boot);
    }
    let boot = random().max(1);
    rows.put(life_key(8), number(FORMAT));
    rows.put(life_key(9), number(boot));
    Ok(boot)
}

fn classify(folder: &Path, error: &fjall::Error) -> OpenError {
    let (folder, why) = (folder.to_owned(), error.to_string());
    match error {
        fjall::Error::Locked => OpenError::Locked(folder),
        error if is_of_disk(error) => OpenError::Disk { folder, why },
        _ => OpenError::Broken { folder, why },
    }
}

/// Gives the folder another name, so that somebody can look at it.
fn move_aside(folder: &Path, now_ms: u64) -> Result<PathBuf, OpenError> {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".broken-{now_ms}"));
    let to = folder.with_file_name(name);
    match std::fs::rename(folder, &to) {
        Ok(()) => Ok(to),
        Err(error) => Err(OpenError::Disk { folder: folder.to_owned(), why: format!("it can't be moved aside: {error}") }),
    }
}
