//! After a failed write: the disk is opened anew as soon as it takes bytes, and what was not on it comes again from the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::committer::Offsets;
use super::config::{Condition, DiskUse};
use super::open::{self, Opened};
use super::shared::{Ground, Health, Shared, hold};
use crate::stored::engine::Buckets;

/// Bytes that a disk has to take before a broken store is opened anew.
const PROBE_BYTES: usize = 1 << 20;
/// How long the readers of a broken store have to finish.
const READERS_MS: u64 = 5_000;
/// Ending of the names of journals.
const JOURNAL: &str = "jnl";
/// Bytes of a journal that are written again at a time. A part of zeros only is room that was never used.
const AGAIN_BYTES: usize = 64 << 10;

/// What both buckets have applied.
pub(super) fn lower(one: &Offsets, other: &Offsets) -> Offsets {
    one.iter().filter_map(|(partition, offset)| Some((*partition, (*offset).min(*other.get(partition)?)))).collect()
}

pub(super) fn offsets_of(buckets: &Buckets) -> Offsets {
    let convs = buckets.convs.iter().flat_map(|bucket| bucket.guards.offsets()).collect();
    lower(&convs, &buckets.users.iter().flat_map(|bucket| bucket.guards.offsets()).collect())
}

fn raise(reached: &mut Offsets, now: Offsets) {
    for (partition, offset) in now {
        let there = reached.entry(partition).or_default();
        *there = offset.max(*there);
    }
}

impl Shared {
    /// Changes how the store is, and tells whoever runs it if that is news.
    pub(super) fn set_health(&self, health: Health) {
        let condition = match &health {
            Health::Works => Condition::Works,
            Health::Down(why) => Condition::Fails(why.clone()),
            Health::Behind => Condition::Behind,
        };
        self.put_health(health);
        let is_news = {
            let mut told = hold(&self.told);
            // Tried again and again is one thing to tell, whatever the reason is now.
            let is_news = std::mem::discriminant(&*told) != std::mem::discriminant(&condition);
            told.clone_from(&condition);
            is_news
        };
        if is_news {
            (self.config.on_condition)(&condition);
        }
    }

    fn put_health(&self, health: Health) {
        self.is_well.store(health == Health::Works, Ordering::Release);
        *hold(&self.health) = health;
    }

    /// Opens the disk anew, when it takes bytes again: what is not on it is forgotten, and comes again from the log.
    /// Gives what stands on it.
    pub(super) fn reopen(&self) -> Result<Offsets, String> {
        self.probe()?;
        self.let_go()?;
        let again = write_journals_again(&self.config.folder);
        again.map_err(|error| format!("what was written before can't be written once more: {error}"))?;
        // Never moved aside here: what was read a moment ago is more than the log may have.
        let opened = open::open_folder(&self.config, &self.engine.config).map_err(|error| error.to_string())?;
        let on_disk = offsets_of(&opened.buckets);
        self.stand_on(opened);
        self.counters.reopened();
        Ok(on_disk)
    }

    /// Whether the disk takes bytes.
    fn probe(&self) -> Result<(), String> {
        let path = self.config.folder.join("probe");
        let probe = || -> io::Result<()> {
            (self.config.disk_fault)(DiskUse::Open)?;
            let mut file = File::create(&path)?;
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        };
        let worked = probe().map_err(|error| format!("the disk does not take bytes: {error}"));
        // What could not be written is not there.
        let _ = fs::remove_file(&path);
        worked
    }

    /// Lets go of the disk: it can be opened once only.
    fn let_go(&self) -> Result<(), String> {
        self.put_health(Health::Behind);
        let (convs, users) = (self.guards_of(true), self.guards_of(false));
        {
            let mut reached = hold(&self.reached);
            raise(&mut reached.0, convs);
            raise(&mut reached.1, users);
        }
        self.engine.all_convs().for_each(|mut bucket| bucket.close());
        self.engine.all_users().for_each(|mut bucket| bucket.close());
        let Some(ground) = hold(&self.ground).take() else { return Ok(()) };
        let readers = Arc::downgrade(&ground.disk);
        drop(ground);
        for _ in 0..READERS_MS {
            if readers.strong_count() == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("somebody still reads from it".to_owned())
    }

    fn guards_of(&self, convs: bool) -> Offsets {
        if convs {
            self.engine.conv_number(0).map(|bucket| bucket.guards.offsets().collect()).unwrap_or_default()
        } else {
            self.engine.user_number(0).map(|bucket| bucket.guards.offsets().collect()).unwrap_or_default()
        }
    }

    fn stand_on(&self, opened: Opened) {
        *hold(&self.ground) = Some(Ground { disk: opened.disk, careful: opened.careful });
        self.engine.stand_on(opened.buckets, opened.boot);
        self.conv_bytes.store(0, Ordering::SeqCst);
        self.user_bytes.store(0, Ordering::SeqCst);
        self.set_health(Health::Behind);
        self.catch_up();
    }

    /// Works again as soon as it stands where it stood.
    pub(super) fn catch_up(&self) {
        let (convs, users) = (self.guards_of(true), self.guards_of(false));
        let is_there = |reached: &Offsets, now: &Offsets| {
            reached.iter().all(|(partition, offset)| now.get(partition).is_some_and(|there| there >= offset))
        };
        let caught_up = {
            let reached = hold(&self.reached);
            is_there(&reached.0, &convs) && is_there(&reached.1, &users)
        };
        if caught_up {
            self.set_health(Health::Works);
        }
    }
}

/// Writes what the journals hold once more, and syncs it: after a failed sync the kernel may take pages for clean that never
/// got to the disk, and another sync would do nothing and call it done.
fn write_journals_again(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == JOURNAL) {
            write_again(&OpenOptions::new().read(true).write(true).open(path)?)?;
        }
    }
    Ok(())
}

fn write_again(file: &File) -> io::Result<()> {
    let mut buffer = vec![0; AGAIN_BYTES];
    let mut position = 0;
    loop {
        let read = file.read_at(&mut buffer, position)?;
        let part = buffer.get(..read).unwrap_or_default();
        if part.is_empty() {
            return file.sync_all();
        }
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, position)?;
        }
        position += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_again_is_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.jnl");
        let mut bytes = vec![0; 5 * AGAIN_BYTES];
        for (at, byte) in [(0, 1), (AGAIN_BYTES - 1, 2), (3 * AGAIN_BYTES + 7, 3)] {
            bytes[at] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        fs::create_dir(folder.path().join("keyspaces")).unwrap();
        write_journals_again(folder.path()).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
    }
}
