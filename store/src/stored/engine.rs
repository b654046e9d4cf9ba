//! The buckets of a store in this process: what memory and disk have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::{Clock, StoredConfig};
use super::conv::Conv;
use super::conv_bucket::ConvBucket;
use super::kv::{Broken, Rows};
use super::step::{Bucket, ConvDone, ConvOp, Loaded, Prepare, Step, StepError, UserDone, UserItem};
use super::sweep::Places;
use super::user_bucket::UserBucket;

/// How many buckets, and what the rows are for each.
pub(crate) struct Buckets {
    pub(crate) convs: Vec<ConvBucket>,
    pub(crate) users: Vec<UserBucket>,
}

/// The buckets of a store.
pub(crate) struct Engine {
    convs: Box<[Mutex<ConvBucket>]>,
    users: Box<[Mutex<UserBucket>]>,
    boot: AtomicU64,
    clock: Clock,
    pub(crate) places: Places,
    pub(crate) config: Arc<StoredConfig>,
}

fn hold<T>(bucket: &Mutex<T>) -> MutexGuard<'_, T> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spreads numbers that stand close together.
fn spread(number: u64) -> u64 {
    let mixed = (number ^ (number >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn down(broken: Broken) -> StepError {
    StepError::Down(broken.0)
}

impl Engine {
    pub(crate) fn new(buckets: Buckets, boot: u64, clock: Clock, config: Arc<StoredConfig>) -> Self {
        let convs = buckets.convs.into_iter().map(Mutex::new).collect();
        let users = buckets.users.into_iter().map(Mutex::new).collect();
        Self { convs, users, boot: AtomicU64::new(boot), clock, places: Places::default(), config }
    }

    pub(crate) fn boot(&self) -> u64 {
        self.boot.load(Ordering::Acquire)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    pub(crate) fn conv_bucket(&self, conv: Conv) -> u32 {
        let number = match conv {
            Conv::Direct { lo, hi } => spread(lo).wrapping_add(spread(hi.wrapping_add(1))),
            Conv::Group(id) => spread(id),
            Conv::Room(id) => spread(!id),
        };
        (number % self.convs.len() as u64) as u32
    }

    pub(crate) fn user_bucket(&self, mid: u64) -> u32 {
        (spread(mid) % self.users.len() as u64) as u32
    }

    pub(crate) fn conv_buckets(&self) -> u32 {
        self.convs.len() as u32
    }

    pub(crate) fn user_buckets(&self) -> u32 {
        self.users.len() as u32
    }

    /// The bucket of a conversation.
    pub(crate) fn conv(&self, conv: Conv) -> MutexGuard<'_, ConvBucket> {
        hold(&self.convs[self.conv_bucket(conv) as usize])
    }

    /// The bucket of a user.
    pub(crate) fn user(&self, mid: u64) -> MutexGuard<'_, UserBucket> {
        hold(&self.users[self.user_bucket(mid) as usize])
    }

    /// A bucket by its number.
    pub(crate) fn conv_number(&self, number: u32) -> Option<MutexGuard<'_, ConvBucket>> {
        self.convs.get(number as usize).map(hold)
    }

    /// A bucket by its number.
    pub(crate) fn user_number(&self, number: u32) -> Option<MutexGuard<'_, UserBucket>> {
        self.users.get(number as usize).map(hold)
    }

    /// All buckets of conversations.
    pub(crate) fn all_convs(&self) -> impl Iterator<Item = MutexGuard<'_, ConvBucket>> {
        self.convs.iter().map(hold)
    }

    /// All buckets of users.
    pub(crate) fn all_users(&self) -> impl Iterator<Item = MutexGuard<'_, UserBucket>> {
        self.users.iter().map(hold)
    }

    pub(crate) fn load(&self, partition: u32) -> Loaded {
        let convs = self.all_convs().map(|bucket| bucket.guards.state(partition));
        let buckets = convs.chain(self.all_users().map(|bucket| bucket.guards.state(partition))).collect();
        Loaded { boot: self.boot(), buckets }
    }

    pub(crate) fn prepare(&self, prepare: &Prepare) -> Result<(), StepError> {
        if prepare.boot != self.boot() {
            return Err(StepError::Rebooted);
        }
        for (bucket, epoch) in &prepare.renewed {
            match bucket {
                Bucket::Conv(number) => {
                    let mut bucket = self.conv_number(*number).ok_or_else(no_bucket)?;
                    let ConvBucket { guards, rows, .. } = &mut *bucket;
                    guards.renew(rows, *epoch);
                }
                Bucket::User(number) => {
                    let mut bucket = self.user_number(*number).ok_or_else(no_bucket)?;
                    let UserBucket { guards, rows, .. } = &mut *bucket;
                    guards.renew(rows, *epoch);
                }
            }
        }
        let (partition, shown) = (prepare.partition, prepare.shown);
        for mut bucket in self.all_convs() {
            let ConvBucket { guards, rows, .. } = &mut *bucket;
            guards.epoch().ok_or(StepError::Lost)?;
            guards.prepare(rows, partition, shown);
        }
        for mut bucket in self.all_users() {
            let UserBucket { guards, rows, .. } = &mut *bucket;
            guards.epoch().ok_or(StepError::Lost)?;
            guards.prepare(rows, partition, shown);
        }
        Ok(())
    }

    /// Applies a step; gives the bytes of its bucket that are not committed, too.
    pub(crate) fn conv_step(&self, step: &Step<ConvOp>) -> Result<(Vec<ConvDone>, usize), StepError> {
        let mut bucket = self.conv_number(step.bucket).ok_or_else(no_bucket)?;
        Ok((bucket.step(step)?, bucket.rows.uncommitted_bytes()))
    }

    /// Applies a step; gives the bytes of its bucket that are not committed, too.
    pub(crate) fn user_step(&self, step: &Step<UserItem>, again: bool) -> Result<(Vec<UserDone>, usize), StepError> {
        let now_ms = if again { self.now_ms() } else { 0 };
        let mut bucket = self.user_number(step.bucket).ok_or_else(no_bucket)?;
        Ok((bucket.step(step, again, now_ms)?, bucket.rows.uncommitted_bytes()))
    }

    pub(crate) fn is_warm(&self, convs: &[Conv], mids: &[u64]) -> bool {
        convs.iter().all(|conv| self.conv(*conv).is_warm(*conv)) && mids.iter().all(|mid| self.user(*mid).is_warm(*mid))
    }

    /// Everything up to `low_water` was applied to every bucket.
    pub(crate) fn raise_all(&self, partition: u32, low_water: u64) {
        for mut bucket in self.all_convs() {
            let ConvBucket { guards, rows, .. } = &mut *bucket;
            if guards.epoch().is_some() && low_water > 0 {
                rows.begin();
                guards.raise(rows, partition, low_water);
            }
        }
        for mut bucket in self.all_users() {
            let UserBucket { guards, rows, .. } = &mut *bucket;
            if guards.epoch().is_some() && low_water > 0 {
                rows.begin();
                guards.raise(rows, partition, low_water);
            }
        }
    }

    /// One bucket stands on other rows from now on, and the store lives anew.
    pub(crate) fn replace(&self, bucket: Bucket, rows: Rows, boot: u64, seed: [u64; 2]) -> Result<(), StepError> {
        match bucket {
            Bucket::Conv(number) => {
                let mut held = self.conv_number(number).ok_or_else(no_bucket)?;
                *held = ConvBucket::load(rows, number, boot, seed, &self.config).map_err(down)?;
            }
            Bucket::User(number) => {
                let mut held = self.user_number(number).ok_or_else(no_bucket)?;
                *held = UserBucket::load(rows, number, boot, &self.config).map_err(down)?;
            }
        }
        self.set_boot(boot);
        Ok(())
    }

    /// All buckets are these from now on.
    pub(crate) fn stand_on(&self, buckets: Buckets, boot: u64) {
        for (mut held, bucket) in self.all_convs().zip(buckets.convs) {
            *held = bucket;
        }
        for (mut held, bucket) in self.all_users().zip(buckets.users) {
            *held = bucket;
        }
        self.set_boot(boot);
    }

    /// The store lives anew.
    pub(crate) fn set_boot(&self, boot: u64) {
        self.all_convs().for_each(|mut bucket| bucket.guards.set_boot(boot));
        self.all_users().for_each(|mut bucket| bucket.guards.set_boot(boot));
        self.boot.store(boot, Ordering::Release);
    }
}

fn no_bucket() -> StepError {
    StepError::Down("the store has no such bucket: job and store disagree on their number".to_owned())
}
