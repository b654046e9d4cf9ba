//! What a bucket has applied: its epoch, and a guard for each partition of the log.

use std::collections::BTreeMap;

use super::keys;
use super::kv::{Broken, Key, Rows};
use super::rows::{Guard, number, read_number};
use super::step::{Bucket, BucketState, StepError};

/// The epoch and the guards of one bucket.
pub(crate) struct Guards {
    bucket: Bucket,
    epoch_sort: u8,
    guard_sort: u8,
    /// The life of the store.
    boot: u64,
    epoch: Option<u64>,
    partitions: BTreeMap<u32, Guard>,
}

impl Guards {
    /// Reads them.
    pub(crate) fn load(rows: &Rows, bucket: Bucket, boot: u64) -> Result<Self, Broken> {
        let (epoch_sort, guard_sort) = match bucket {
            Bucket::Conv(_) => (keys::sort::CONV_EPOCH, keys::sort::CONV_GUARD),
            Bucket::User(_) => (keys::sort::USER_EPOCH, keys::sort::USER_GUARD),
        };
        let epoch = rows.get(&Key::new(epoch_sort))?.map(|row| read_number(&row)).transpose()?;
        let mut partitions = BTreeMap::new();
        for row in rows.prefix(Key::new(guard_sort)) {
            let (key, value) = row?;
            let partition = key.tail(1).first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            partitions.insert(partition, Guard::from_bytes(&value)?);
        }
        Ok(Self { bucket, epoch_sort, guard_sort, boot, epoch, partitions })
    }

    /// When the bucket was made; `None`: it is not there.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// What is known of a partition.
    pub(crate) fn state(&self, partition: u32) -> BucketState {
        let guard = self.partitions.get(&partition).copied().unwrap_or_default();
        BucketState { bucket: self.bucket, epoch: self.epoch, guard: guard.offset, boot: guard.boot, shown: guard.shown }
    }

    /// The last applied offset of a partition.
    pub(crate) fn offset(&self, partition: u32) -> u64 {
        self.partitions.get(&partition).map_or(0, |guard| guard.offset)
    }

    /// All guards.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.partitions.iter().map(|(partition, guard)| (*partition, guard.offset))
    }

    /// Whether a step may be applied; gives the guard.
    pub(crate) fn check(&self, partition: u32, boot: u64, prev: u64) -> Result<u64, StepError> {
        if self.epoch.is_none() {
            return Err(StepError::Lost);
        }
        if boot != self.boot {
            return Err(StepError::Rebooted);
        }
        let guard = self.offset(partition);
        if guard < prev { Err(StepError::Gap { guard }) } else { Ok(guard) }
    }

    /// Everything up to `offset` was applied.
    pub(crate) fn raise(&mut self, rows: &mut Rows, partition: u32, offset: u64) {
        let guard = self.partitions.entry(partition).or_default();
        guard.offset = guard.offset.max(offset);
        guard.boot = self.boot;
        rows.put(keys::guard(self.guard_sort, partition), guard.to_bytes());
    }

    /// Remembers E, in this life of the store.
    pub(crate) fn prepare(&mut self, rows: &mut Rows, partition: u32, shown: u64) {
        let guard = self.partitions.entry(partition).or_default();
        guard.shown = guard.shown.max(shown);
        guard.boot = self.boot;
        rows.put(keys::guard(self.guard_sort, partition), guard.to_bytes());
    }

    /// The bucket begins anew, or stands on less than it should: never with an epoch that it had before.
    pub(crate) fn renew(&mut self, rows: &mut Rows, epoch: u64) {
        let epoch = self.epoch.map_or(epoch, |before| epoch.max(before.saturating_add(1)));
        self.epoch = Some(epoch);
        rows.put(Key::new(self.epoch_sort), number(epoch));
    }

    /// Whether everything that was ever shown is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.epoch.is_some() && self.partitions.values().all(|guard| guard.boot == self.boot && guard.offset >= guard.shown)
    }

    /// The store lives anew.
    pub(crate) fn set_boot(&mut self, boot: u64) {
        self.boot = boot;
    }
}
