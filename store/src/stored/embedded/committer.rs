//! The thread that brings what was applied to the disk. Nobody waits for it but acknowledgements of devices.
//!
//! Commits are merged: one happens when enough has come together, when somebody waits, or when its second is over. Each holds
//! data and guard, so that after a kill both are equally old. Once a second what is committed is synced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::heal::lower;
use super::shared::{Health, Shared};
use crate::stored::kv::Broken;

/// How long a commit waits for fjall to write its tables, before the store is taken for broken. A slow disk may need long.
const ROOM_MS: u64 = 600_000;
const ROOM_STEP_MS: u64 = 5;
/// How often it is asked meanwhile whether it has given up.
const ROOM_ASK_MS: u64 = 1_000;
/// How often a broken store is tried again.
const RETRY_MS: u64 = 1_000;

/// Guards by partition.
pub(super) type Offsets = BTreeMap<u32, u64>;

struct Committer {
    shared: Arc<Shared>,
    /// What the last commit has applied.
    committed: Offsets,
    /// There is something committed that is not synced.
    to_persist: bool,
    persist_at: Instant,
}

/// Runs until the store is closed. `on_disk`: what stood on the disk when it was opened.
pub(super) fn run(shared: Arc<Shared>, on_disk: Offsets) {
    let persist_at = Instant::now() + Duration::from_millis(shared.config.persist_ms);
    let mut committer = Committer { shared, committed: on_disk, to_persist: true, persist_at };
    while !committer.round() {}
}

impl Committer {
    /// One round; true: the store is closed.
    fn round(&mut self) -> bool {
        let (is_closing, is_due) = self.shared.wait_for_work(self.persist_at);
        // Taken before the commit: what they wait for is in it.
        let syncing = if is_due || is_closing { self.shared.take_syncing() } else { Vec::new() };
        let worked = self.commit().and_then(|()| if is_due || is_closing { self.persist() } else { Ok(()) });
        for waits in syncing {
            waits.keep(worked.clone());
        }
        if is_due {
            self.persist_at = Instant::now() + Duration::from_millis(self.shared.config.persist_ms);
        }
        match worked {
            Ok(()) => std::thread::sleep(Duration::from_millis(if is_closing { 0 } else { self.shared.config.rest_ms })),
            Err(broken) if !is_closing => self.heal(broken),
            Err(_) => {}
        }
        is_closing
    }

    fn commit(&mut self) -> Result<(), Broken> {
        let waiting = self.shared.take_waiting();
        let worked = self.commit_layers(!waiting.is_empty());
        for waits in waiting {
            waits.keep(worked.clone());
        }
        worked
    }

    fn commit_layers(&mut self, flush: bool) -> Result<(), Broken> {
        let ground = self.shared.ground()?;
        let disk = &ground.disk;
        self.wait_for_room(disk)?;
        // Users first: on disk no inbox refers to what a timeline does not have.
        let (users, user_offsets) = self.shared.freeze_users();
        let (convs, conv_offsets) = self.shared.freeze_convs();
        if convs.is_empty() && users.is_empty() && !flush {
            self.shared.thaw();
            return Ok(());
        }
        let began = Instant::now();
        disk.commit(&[&convs, &users], flush)?;
        ground.careful.committed(&[&users, &convs]);
        self.shared.counters.committed(began.elapsed(), convs.len() + users.len());
        self.shared.thaw();
        self.committed = lower(&conv_offsets, &user_offsets);
        self.to_persist = true;
        Ok(())
    }

    /// Fjall would wait without an end, and not see that it is broken.
    fn wait_for_room(&self, disk: &super::base::Disk) -> Result<(), Broken> {
        for waited in 1..=ROOM_MS / ROOM_STEP_MS {
            if disk.has_room() || self.shared.is_closing() {
                return Ok(());
            }
            if waited.is_multiple_of(ROOM_ASK_MS / ROOM_STEP_MS) {
                disk.flush()?;
            }
            std::thread::sleep(Duration::from_millis(ROOM_STEP_MS));
        }
        Err(Broken("its tables are not written to disk: look at the disk".to_owned()))
    }

    fn persist(&mut self) -> Result<(), Broken> {
        if !std::mem::take(&mut self.to_persist) {
            return Ok(());
        }
        let began = Instant::now();
        self.shared.disk()?.persist()?;
        self.shared.counters.persisted(began.elapsed());
        self.shared.set_durable(&self.committed);
        Ok(())
    }

    /// The disk failed: says so, and opens it anew as soon as it takes bytes again. What was not synced is applied again then.
    fn heal(&mut self, broken: Broken) {
        self.shared.counters.failed();
        self.shared.set_health(Health::Down(broken.0));
        while !self.shared.is_closing() {
            std::thread::sleep(Duration::from_millis(RETRY_MS));
            self.shared.take_waiting().clear();
            self.shared.take_syncing().clear();
            match self.shared.reopen() {
                Ok(on_disk) => {
                    (self.committed, self.to_persist) = (on_disk, true);
                    return;
                }
                Err(why) => self.shared.set_health(Health::Down(why)),
            }
        }
    }
}
