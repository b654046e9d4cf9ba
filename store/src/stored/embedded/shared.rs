//! What the callers of a store on disk and its committer share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::base::Disk;
use super::committer::Offsets;
use super::config::{Condition, EmbeddedConfig};
use super::counters::{Counters, EmbeddedCounters};
use super::heal::offsets_of;
use super::later::Promise;
use super::open::Opened;
use crate::stored::engine::Engine;
use crate::stored::kv::{Broken, Careful, Layer};
use crate::stored::step::{Bucket, StepError};

/// Whether the store works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Works,
    /// The disk fails; what was applied can be read.
    Down(String),
    /// It was opened anew and stands below what it had shown: nothing is read until the log has been applied again.
    Behind,
}

/// Somebody waits until what he wrote survives the process.
pub(super) type Waiting = Promise<Result<(), Broken>>;

#[derive(Default)]
struct Work {
    /// For the next commit.
    waiting: Vec<Waiting>,
    /// For the next sync.
    syncing: Vec<Waiting>,
    is_closing: bool,
    /// Nobody commits any more.
    is_closed: bool,
}

/// What the store stands on: its disk, and the way in which buckets read it.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) disk: Arc<Disk>,
    pub(super) careful: Arc<Careful>,
}

pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) config: EmbeddedConfig,
    pub(super) moved_to: Option<PathBuf>,
    pub(super) ground: Mutex<Option<Ground>>,
    /// Somebody has asked for what is stored: from here on nobody waits for the disk while he holds a bucket. What is applied
    /// before is applied faster.
    is_asked: AtomicBool,
    work: Mutex<Work>,
    wake: Condvar,
    /// The committer sleeps: whoever has work for it wakes it.
    is_asleep: AtomicBool,
    /// Bytes applied and not committed, of conversations and of users.
    pub(super) conv_bytes: AtomicUsize,
    pub(super) user_bytes: AtomicUsize,
    pub(super) is_well: AtomicBool,
    pub(super) health: Mutex<Health>,
    /// What whoever runs it was told last.
    pub(super) told: Mutex<Condition>,
    /// The guards that had been reached when the store broke.
    pub(super) reached: Mutex<(Offsets, Offsets)>,
    durable: Mutex<Offsets>,
    pub(super) counters: Counters,
}

pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Gives what stands on the disk, too.
    pub(super) fn new(config: EmbeddedConfig, opened: Opened) -> (Self, Offsets) {
        let on_disk = offsets_of(&opened.buckets);
        (Self::over(config, opened), on_disk)
    }

    fn over(config: EmbeddedConfig, opened: Opened) -> Self {
        let stored = Arc::new(config.stored.clone());
        let engine = Engine::new(opened.buckets, opened.boot, config.clock.clone(), stored);
        Self {
            engine,
            config,
            moved_to: opened.moved_to,
            ground: Mutex::new(Some(Ground { disk: opened.disk, careful: opened.careful })),
            is_asked: AtomicBool::new(false),
            work: Mutex::default(),
            wake: Condvar::new(),
            is_asleep: AtomicBool::new(false),
            conv_bytes: AtomicUsize::new(0),
            user_bytes: AtomicUsize::new(0),
            is_well: AtomicBool::new(true),
            health: Mutex::new(Health::Works),
            told: Mutex::new(Condition::Works),
            reached: Mutex::default(),
            durable: Mutex::default(),
            counters: Counters::default(),
        }
    }

    // ---- the committer's side

    /// Waits until there is something to commit, or until this time; gives whether the store is closing, and whether it is time to
    /// sync, or somebody waits for that.
    pub(super) fn wait_for_work(&self, until: Instant) -> (bool, bool) {
        let mut work = hold(&self.work);
        loop {
            let now = Instant::now();
            let is_due = now >= until || !work.syncing.is_empty();
            if work.is_closing || is_due || !work.waiting.is_empty() || self.is_enough() {
                return (work.is_closing, is_due);
            }
            self.is_asleep.store(true, Ordering::SeqCst);
            // What came between the question above and this is seen here, or sees that we sleep.
            if !self.is_enough() {
                work = self.wake.wait_timeout(work, until - now).unwrap_or_else(PoisonError::into_inner).0;
            }
            self.is_asleep.store(false, Ordering::SeqCst);
        }
    }

    fn is_enough(&self) -> bool {
        self.uncommitted_bytes() >= self.config.commit_bytes
    }

    pub(super) fn uncommitted_bytes(&self) -> usize {
        self.conv_bytes.load(Ordering::SeqCst) + self.user_bytes.load(Ordering::SeqCst)
    }

    pub(super) fn take_waiting(&self) -> Vec<Waiting> {
        std::mem::take(&mut hold(&self.work).waiting)
    }

    pub(super) fn take_syncing(&self) -> Vec<Waiting> {
        std::mem::take(&mut hold(&self.work).syncing)
    }

    pub(super) fn is_closing(&self) -> bool {
        hold(&self.work).is_closing
    }

    pub(super) fn disk(&self) -> Result<Arc<Disk>, Broken> {
        self.ground().map(|ground| ground.disk)
    }

    pub(super) fn ground(&self) -> Result<Ground, Broken> {
        hold(&self.ground).clone().ok_or_else(|| Broken("it is being opened anew".to_owned()))
    }

    pub(super) fn freeze_convs(&self) -> (Arc<Layer>, Offsets) {
        let Some(mut bucket) = self.engine.conv_number(0) else { return Default::default() };
        let bucket = &mut *bucket;
        bucket.dedupe.pack(&mut bucket.rows);
        (bucket.rows.freeze(), bucket.guards.offsets().collect())
    }

    pub(super) fn freeze_users(&self) -> (Arc<Layer>, Offsets) {
        let Some(mut bucket) = self.engine.user_number(0) else { return Default::default() };
        (bucket.rows.freeze(), bucket.guards.offsets().collect())
    }

    /// What was frozen is in the base.
    pub(super) fn thaw(&self) {
        // The layers are dropped when nobody is held up by that.
        let _convs = self.engine.conv_number(0).and_then(|mut bucket| {
            let frozen = bucket.rows.thaw();
            self.conv_bytes.store(bucket.rows.uncommitted_bytes(), Ordering::SeqCst);
            frozen
        });
        let _users = self.engine.user_number(0).and_then(|mut bucket| {
            let frozen = bucket.rows.thaw();
            self.user_bytes.store(bucket.rows.uncommitted_bytes(), Ordering::SeqCst);
            frozen
        });
    }

    pub(super) fn counters(&self) -> EmbeddedCounters {
        self.counters.read(self.uncommitted_bytes(), self.disk().map_or(0, |disk| disk.bytes()))
    }

    pub(super) fn set_durable(&self, offsets: &Offsets) {
        hold(&self.durable).clone_from(offsets);
    }

    pub(super) fn durable(&self, partition: u32) -> u64 {
        hold(&self.durable).get(&partition).copied().unwrap_or(0)
    }

    // ---- the callers' side

    /// Whether anybody but the job reads; `now`: somebody does.
    pub(super) fn is_asked(&self, now: bool) -> bool {
        if now && !self.is_asked.load(Ordering::Relaxed) {
            self.is_asked.store(true, Ordering::Relaxed);
        }
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Whether steps can be taken.
    pub(super) fn may_step(&self) -> Result<(), StepError> {
        if !self.is_well.load(Ordering::Acquire)
            && let Health::Down(why) = &*hold(&self.health)
        {
            return Err(StepError::Down(why.clone()));
        }
        if self.uncommitted_bytes() >= self.config.uncommitted_bytes_max {
            self.wake();
            return Err(StepError::Busy);
        }
        Ok(())
    }

    /// Whether it answers from what it had shown.
    pub(super) fn may_read(&self) -> Result<(), Broken> {
        if self.is_well.load(Ordering::Acquire) || *hold(&self.health) != Health::Behind {
            return Ok(());
        }
        Err(Broken("it was opened anew after its disk had failed, and applies the log again".to_owned()))
    }

    /// Why it does not work, if it does not.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.is_well() {
            return None;
        }
        match &*hold(&self.health) {
            Health::Works => None,
            Health::Down(why) => Some(format!("takes nothing now: {why}")),
            Health::Behind => Some("its disk had failed: the log is being applied again".to_owned()),
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Acquire)
    }

    /// Something was applied.
    pub(super) fn applied(&self, bucket: Bucket, bytes: usize) {
        let counter = if matches!(bucket, Bucket::Conv(_)) { &self.conv_bytes } else { &self.user_bytes };
        counter.store(bytes, Ordering::SeqCst);
        if self.is_enough() && self.is_asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        if !self.is_well.load(Ordering::Acquire) && *hold(&self.health) == Health::Behind {
            self.catch_up();
        }
    }

    fn wake(&self) {
        let _work = hold(&self.work);
        self.wake.notify_one();
    }

    /// Somebody waits for the next commit; if there is none any more, he is told so by the end of `waiting`.
    pub(super) fn wait_for_commit(&self, waiting: Waiting) {
        let mut work = hold(&self.work);
        if !work.is_closed {
            work.waiting.push(waiting);
            self.wake.notify_one();
        }
    }

    /// Somebody waits for the next sync, as above.
    pub(super) fn wait_for_sync(&self, waiting: Waiting) {
        let mut work = hold(&self.work);
        if !work.is_closed {
            work.syncing.push(waiting);
            self.wake.notify_one();
        }
    }

    /// The committer is to end.
    pub(super) fn close(&self) {
        hold(&self.work).is_closing = true;
        self.wake.notify_one();
    }

    /// The committer has ended: nothing is applied any more, and nobody waits.
    pub(super) fn closed(&self) {
        let waiting = {
            let mut work = hold(&self.work);
            work.is_closed = true;
            (std::mem::take(&mut work.waiting), std::mem::take(&mut work.syncing))
        };
        drop(waiting);
        // Nobody is told: whoever closed it knows.
        *hold(&self.health) = Health::Down("it was closed".to_owned());
        self.is_well.store(false, Ordering::Release);
    }
}
