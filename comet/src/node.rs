//! What the workers of a node share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use perseid_protocol::push::Drop;

use crate::admission::Admission;
use crate::budget::Budget;
use crate::directory::RoomDirectory;
use crate::mailbox::Mailbox;
use crate::metrics::{Cell, WorkerMetrics};
use crate::users::UserRates;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) rooms: RoomDirectory,
    pub(crate) budget: Budget,
    pub(crate) admission: Admission,
    pub(crate) users: UserRates,
    /// Set once all workers exist.
    pub(crate) mailboxes: OnceLock<Vec<Mailbox>>,
    pub(crate) workers: OnceLock<Vec<Arc<WorkerMetrics>>>,
    /// Pushes that never reached a worker, by [`Drop`].
    pub(crate) dropped: [AtomicU64; Drop::ALL.len()],
    pub(crate) accept_log: LogLimit,
    pub(crate) session_log: LogLimit,
}

impl Node {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            rooms: RoomDirectory::default(),
            budget: Budget::new(bytes_max),
            admission: Admission::default(),
            users: UserRates::default(),
            mailboxes: OnceLock::new(),
            workers: OnceLock::new(),
            dropped: Default::default(),
            accept_log: LogLimit::new(1),
            session_log: LogLimit::new(20),
        }
    }

    pub(crate) fn mailbox(&self, worker: u16) -> Option<&Mailbox> {
        self.mailboxes.get()?.get(usize::from(worker))
    }

    /// Connections open now, over all workers.
    pub(crate) fn connections(&self) -> u64 {
        let workers = self.workers.get().map_or(&[][..], Vec::as_slice);
        workers.iter().flat_map(|metrics| metrics.connections.iter()).map(Cell::get).sum()
    }

    pub(crate) fn drop_pushes(&self, reason: Drop, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// Lets through so many log lines a second, whatever clients do.
#[derive(Debug)]
pub(crate) struct LogLimit {
    started: Instant,
    per_second: u64,
    /// Second in the upper half, lines in it in the lower.
    state: AtomicU64,
}

impl LogLimit {
    fn new(per_second: u64) -> Self {
        Self { started: Instant::now(), per_second, state: AtomicU64::new(0) }
    }

    pub(crate) fn allow(&self) -> bool {
        let second = self.started.elapsed().as_secs() & 0xffff_ffff;
        let state = self.state.load(Ordering::Relaxed);
        let count = if state >> 32 == second { state & 0xffff_ffff } else { 0 };
        self.state.store(second << 32 | (count + 1), Ordering::Relaxed);
        count < self.per_second
    }
}
