//! After a failed write: the disk is opened anew as soon as it takes bytes, and what was not on it comes again from the log.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::committer::Offsets;
use super::open::{self, Opened};
use super::shared::{Health, Shared, hold};
use crate::stored::engine::Buckets;

/// Bytes that a disk has to take before a broken store is opened anew.
const PROBE_BYTES: usize = 1 << 20;
/// How long the readers of a broken store have to finish.
const READERS_MS: u64 = 5_000;

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
    pub(super) fn set_health(&self, health: Health) {
        self.is_well.store(health == Health::Works, Ordering::Release);
        *hold(&self.health) = health;
    }

    /// Opens the disk anew, when it takes bytes again: what is not on it is forgotten, and comes again from the log.
    /// Gives what stands on it.
    pub(super) fn reopen(&self) -> Result<Offsets, String> {
        self.probe()?;
        self.let_go()?;
        let opened = open::open(&self.config, &self.engine.config).map_err(|error| error.to_string())?;
        let on_disk = offsets_of(&opened.buckets);
        self.stand_on(opened);
        self.counters.reopened();
        Ok(on_disk)
    }

    /// Whether the disk takes bytes.
    fn probe(&self) -> Result<(), String> {
        let path = self.config.folder.join("probe");
        let probe = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        };
        let worked = probe().map_err(|error| format!("the disk does not take bytes: {error}"));
        // What could not be written is not there.
        let _ = std::fs::remove_file(&path);
        worked
    }

    /// Lets go of the disk: it can be opened once only.
    fn let_go(&self) -> Result<(), String> {
        self.set_health(Health::Behind);
        let (convs, users) = (self.guards_of(true), self.guards_of(false));
        {
            let mut reached = hold(&self.reached);
            raise(&mut reached.0, convs);
            raise(&mut reached.1, users);
        }
        self.engine.all_convs().for_each(|mut bucket| bucket.close());
        self.engine.all_users().for_each(|mut bucket| bucket.close());
        let Some(disk) = hold(&self.disk).take() else { return Ok(()) };
        let readers = Arc::downgrade(&disk);
        drop(disk);
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
        *hold(&self.disk) = Some(opened.disk);
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
