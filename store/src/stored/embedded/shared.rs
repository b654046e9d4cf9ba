//! What the callers of a store on disk and its committer share.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::base::Disk;
use super::committer::Offsets;
use super::config::EmbeddedConfig;
use super::later::Promise;
use super::open::{self, Opened};
use crate::stored::engine::{Buckets, Engine};
use crate::stored::kv::{Broken, Layer};
use crate::stored::step::{Bucket, StepError};

/// Bytes that a disk has to take before a broken store is opened anew.
const PROBE_BYTES: usize = 1 << 20;
/// How long the readers of a broken store have to finish.
const READERS_MS: u64 = 5_000;

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
    waiting: Vec<Waiting>,
    is_closing: bool,
}

/// What happened since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedCounters {
    /// Commits.
    pub commits: u64,
    /// Rows in them.
    pub rows: u64,
    /// Time of the slowest commit, µs.
    pub commit_us_max: u64,
    /// Syncs.
    pub persists: u64,
    /// Time of the slowest sync, µs.
    pub persist_us_max: u64,
    /// Times that the disk failed and the store was opened anew.
    pub reopened: u64,
    /// Bytes applied and not committed.
    pub uncommitted_bytes: u64,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    rows: AtomicU64,
    commit_us_max: AtomicU64,
    persists: AtomicU64,
    persist_us_max: AtomicU64,
    reopened: AtomicU64,
}

pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) config: EmbeddedConfig,
    pub(super) moved_to: Option<PathBuf>,
    disk: Mutex<Option<Arc<Disk>>>,
    work: Mutex<Work>,
    wake: Condvar,
    /// The committer sleeps: whoever has work for it wakes it.
    is_asleep: AtomicBool,
    /// Bytes applied and not committed, of conversations and of users.
    conv_bytes: AtomicUsize,
    user_bytes: AtomicUsize,
    is_well: AtomicBool,
    health: Mutex<Health>,
    /// The guards that had been reached when the store broke.
    reached: Mutex<(Offsets, Offsets)>,
    durable: Mutex<Offsets>,
    counters: Counters,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What both buckets have applied.
pub(super) fn lower(one: &Offsets, other: &Offsets) -> Offsets {
    one.iter().filter_map(|(partition, offset)| Some((*partition, (*offset).min(*other.get(partition)?)))).collect()
}

fn offsets_of(buckets: &Buckets) -> Offsets {
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
            disk: Mutex::new(Some(opened.disk)),
            work: Mutex::default(),
            wake: Condvar::new(),
            is_asleep: AtomicBool::new(false),
            conv_bytes: AtomicUsize::new(0),
            user_bytes: AtomicUsize::new(0),
            is_well: AtomicBool::new(true),
            health: Mutex::new(Health::Works),
            reached: Mutex::default(),
            durable: Mutex::default(),
            counters: Counters::default(),
        }
    }

    // ---- the committer's side

    /// Waits until there is something to commit, or until this time; gives whether the store is closing, and whether it is time.
    pub(super) fn wait_for_work(&self, until: Instant) -> (bool, bool) {
        let mut work = hold(&self.work);
        loop {
            let now = Instant::now();
            if work.is_closing || now >= until || !work.waiting.is_empty() || self.is_enough() {
                return (work.is_closing, now >= until);
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

    pub(super) fn is_closing(&self) -> bool {
        hold(&self.work).is_closing
    }

    pub(super) fn disk(&self) -> Result<Arc<Disk>, Broken> {
        hold(&self.disk).clone().ok_or_else(|| Broken("it is being opened anew".to_owned()))
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

    pub(super) fn count_commit(&self, took: Duration, rows: usize) {
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.counters.commit_us_max.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn count_persist(&self, took: Duration) {
        self.counters.persists.fetch_add(1, Ordering::Relaxed);
        self.counters.persist_us_max.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> EmbeddedCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EmbeddedCounters {
            commits: read(&self.counters.commits),
            rows: read(&self.counters.rows),
            commit_us_max: read(&self.counters.commit_us_max),
            persists: read(&self.counters.persists),
            persist_us_max: read(&self.counters.persist_us_max),
            reopened: read(&self.counters.reopened),
            uncommitted_bytes: self.uncommitted_bytes() as u64,
        }
    }

    pub(super) fn set_durable(&self, offsets: &Offsets) {
        hold(&self.durable).clone_from(offsets);
    }

    pub(super) fn durable(&self, partition: u32) -> u64 {
        hold(&self.durable).get(&partition).copied().unwrap_or(0)
    }

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
        self.counters.reopened.fetch_add(1, Ordering::Relaxed);
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
    fn catch_up(&self) {
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

    // ---- the callers' side

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

    /// Somebody waits for the next commit.
    pub(super) fn wait_for_commit(&self, waiting: Waiting) {
        hold(&self.work).waiting.push(waiting);
        self.wake.notify_one();
    }

    /// The committer is to end.
    pub(super) fn close(&self) {
        hold(&self.work).is_closing = true;
        self.wake.notify_one();
    }
}
