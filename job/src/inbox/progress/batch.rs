//! Records of the log as steps on the store: by bucket, each bucket's in the order of the log.

use std::collections::{BTreeMap, HashMap};

use perseid_store::stored::Store;
use perseid_store::stored::step::{Bucket, BucketState, ConvDone, ConvOp, Loaded, Step, UserItem};

use crate::inbox::meaning::{RoomKeep, Senseless, conv_op};
use crate::inbox::project::{Meant, project};
use crate::inbox::show::Shown;
use perseid_log::{Record, Topic};
use perseid_protocol::trace::Trace;
use perseid_rpc::LogRecord;

/// Entries of inboxes in one step, unless a single record has more.
const ITEMS_MAX: usize = 4096;

/// Records that make sense, and what each does in its conversation.
#[derive(Default)]
pub(super) struct Batch {
    /// The offset up to which it reaches, whatever stood there.
    pub(super) last: u64,
    pub(super) meant: Vec<(Meant, Option<ConvOp>)>,
    /// What made no sense.
    pub(super) dead: Vec<(u64, Senseless)>,
    /// What is traced: none, as a rule.
    pub(super) sampled: Vec<Sampled>,
}

/// A record whose trace is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Where it stands in the log.
    pub offset: u64,
    /// The id of its message.
    pub id: u64,
    /// Its trace.
    pub trace: Trace,
}

impl Sampled {
    fn of(offset: u64, record: &LogRecord) -> Option<Self> {
        if record.trace.is_empty() {
            return None;
        }
        let trace = Trace::from_record(&record.trace).filter(|trace| trace.sampled)?;
        Some(Self { offset, id: record.id, trace })
    }
}

impl Batch {
    /// Takes what records say. Those of other topics are passed over.
    pub(super) fn read(records: &[Record], last: u64, keep: &RoomKeep) -> Self {
        let mut batch = Self { last, ..Self::default() };
        for record in records.iter().filter(|record| record.topic == Topic::Log) {
            let offset = record.offset;
            let read = LogRecord::from_value(&record.value).map_err(Senseless::Undecodable);
            match read.and_then(|said| conv_op(offset, &said, keep).map(|op| (said, op))) {
                Ok((record, op)) => {
                    batch.sampled.extend(Sampled::of(offset, &record));
                    batch.meant.push((Meant { offset, record }, op));
                }
                Err(error) => batch.dead.push((offset, error)),
            }
        }
        batch
    }

    /// The steps in conversations.
    pub(super) fn conv_steps(&self, store: &dyn Store, chain: &Chain) -> Vec<Step<ConvOp>> {
        let mut buckets: BTreeMap<u32, Vec<ConvOp>> = BTreeMap::new();
        for op in self.meant.iter().filter_map(|(_, op)| op.as_ref()) {
            buckets.entry(store.conv_bucket(op.conv)).or_default().push(op.clone());
        }
        let step = |(bucket, items)| chain.step(Bucket::Conv(bucket), self.last, items);
        buckets.into_iter().map(step).collect()
    }

    /// The steps at users, and what is to be told, from what became of the batch in conversations (ascending by offset).
    pub(super) fn user_steps(&self, dones: &[ConvDone], store: &dyn Store, chain: &Chain) -> (Vec<Step<UserItem>>, Vec<Shown>) {
        let (mut items, mut shown) = (Vec::new(), Vec::new());
        let mut dones = dones.iter().peekable();
        for (meant, op) in &self.meant {
            while dones.next_if(|done| done.offset < meant.offset).is_some() {}
            let done = dones.next_if(|done| done.offset == meant.offset);
            shown.extend(project(meant, op.as_ref().zip(done), &mut items));
        }
        let mut buckets: BTreeMap<u32, Vec<UserItem>> = BTreeMap::new();
        for item in items {
            buckets.entry(store.user_bucket(item.mid)).or_default().push(item);
        }
        let steps = buckets.into_iter().flat_map(|(bucket, items)| self.cut(Bucket::User(bucket), items, chain)).collect();
        (steps, shown)
    }

    /// Steps of a bearable size. A cut never parts one record: the guard would pass over the rest of it.
    fn cut(&self, bucket: Bucket, mut items: Vec<UserItem>, chain: &Chain) -> Vec<Step<UserItem>> {
        let mut steps: Vec<Step<UserItem>> = Vec::new();
        while items.len() > ITEMS_MAX {
            let offset = items[ITEMS_MAX].offset;
            let mut at = items.partition_point(|item| item.offset < offset);
            if at == 0 {
                at = items.partition_point(|item| item.offset <= offset);
            }
            let rest = items.split_off(at);
            let last = items.last().map_or(self.last, |item| item.offset);
            if rest.is_empty() {
                break;
            }
            steps.push(chain.after(steps.last(), bucket, last, std::mem::replace(&mut items, rest)));
        }
        steps.push(chain.after(steps.last(), bucket, self.last, items));
        steps
    }
}

/// The guards that the buckets are known to have: each step names the one that it builds upon.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) partition: u32,
    pub(super) boot: u64,
    pub(super) guards: HashMap<Bucket, u64>,
}

impl Chain {
    /// A step on a bucket as it is known.
    pub(super) fn step<T>(&self, bucket: Bucket, last: u64, items: Vec<T>) -> Step<T> {
        let (Bucket::Conv(number) | Bucket::User(number)) = bucket;
        let prev = self.guards.get(&bucket).copied().unwrap_or(0);
        Step { partition: self.partition, bucket: number, boot: self.boot, prev, last, items }
    }

    /// A step after another one on the same bucket, which has not been taken yet.
    fn after<T>(&self, before: Option<&Step<T>>, bucket: Bucket, last: u64, items: Vec<T>) -> Step<T> {
        let step = self.step(bucket, last, items);
        let prev = before.map_or(0, |before| before.last);
        Step { prev: step.prev.max(prev), ..step }
    }

    /// A step was taken.
    pub(super) fn taken(&mut self, bucket: Bucket, last: u64) {
        let guard = self.guards.entry(bucket).or_insert(0);
        *guard = last.max(*guard);
    }

    /// Whether the buckets have all that they are known to have.
    pub(super) fn holds(&self, loaded: &Loaded) -> bool {
        let holds = |state: &BucketState| {
            let guard = self.guards.get(&state.bucket).copied().unwrap_or(0);
            state.epoch.is_some() && state.guard >= guard
        };
        loaded.boot == self.boot && loaded.buckets.iter().all(holds)
    }

    /// The buckets that stand below `low_water`.
    pub(super) fn idle(&self, low_water: u64) -> Vec<Bucket> {
        let mut idle: Vec<_> = self.guards.iter().filter(|(_, guard)| **guard < low_water).map(|(bucket, _)| *bucket).collect();
        idle.sort_unstable();
        idle
    }
}

#[cfg(test)]
mod tests {
    use perseid_store::stored::step::Effect;

    use super::*;

    /// Items for each record → (guard before, guard after, items) of each step.
    fn cut(counts: &[usize]) -> Vec<(u64, u64, usize)> {
        let items = counts.iter().enumerate().flat_map(|(index, count)| {
            let offset = 11 + index as u64;
            (0..*count as u64).map(move |mid| UserItem { offset, mid, entry: None, effect: Effect::None })
        });
        let bucket = Bucket::User(0);
        let chain = Chain { guards: HashMap::from([(bucket, 5)]), ..Chain::default() };
        let steps = Batch { last: 99, ..Batch::default() }.cut(bucket, items.collect(), &chain);
        steps.into_iter().map(|step| (step.prev, step.last, step.items.len())).collect()
    }

    #[test]
    fn large_steps_are_cut_between_records() {
        assert_eq!(cut(&[1, 2]), [(5, 99, 3)]);
        assert_eq!(cut(&[ITEMS_MAX]), [(5, 99, ITEMS_MAX)]);
        assert_eq!(cut(&[3_000, 3_000, 3_000]), [(5, 11, 3_000), (11, 12, 3_000), (12, 99, 3_000)]);
        assert_eq!(cut(&[9_000]), [(5, 99, 9_000)], "one record is never parted");
        assert_eq!(cut(&[9_000, 1]), [(5, 11, 9_000), (11, 99, 1)]);
        assert_eq!(cut(&[1, 9_000]), [(5, 11, 1), (11, 99, 9_000)]);
    }
}
