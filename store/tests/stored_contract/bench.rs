//! What the tests stand on: stores to test, and short ways to say what happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use perseid_store::Verdict;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::PageBound;
use perseid_store::stored::step::{
    Change, ConvDone, ConvOp, ConvOutcome, Effect, Entry, Prepare, Recipients, Step, StepError, UserDone, UserItem,
};
use perseid_store::stored::{EmbeddedConfig, EmbeddedStore, MemoryConfig, MemoryStore, Store, StoredConfig};

/// Epoch that the tests give to all buckets.
pub(crate) const EPOCH: u64 = 1_000_000;
/// A page that holds everything.
pub(crate) const ALL: PageBound = PageBound { messages_max: 1_000, bytes_max: usize::MAX };

pub(crate) fn memory(conv_buckets: u32, user_buckets: u32, stored: StoredConfig) -> MemoryStore {
    let ticks = AtomicU64::new(2 * EPOCH);
    let clock = Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed));
    MemoryStore::new(MemoryConfig { conv_buckets, user_buckets, boot: 1, stored, clock })
}

/// The answer, however long it takes.
pub(crate) fn now<T>(verdict: Verdict<T>) -> T {
    verdict.wait()
}

/// A store in a folder; small, so that much happens.
pub(crate) fn embedded(folder: &Path, stored: StoredConfig) -> EmbeddedStore {
    EmbeddedStore::open(small(folder, stored)).unwrap()
}

/// One that remembers next to nothing, so that nearly everything has to be read from the disk by somebody who waits for it.
pub(crate) fn forgetful(folder: &Path, stored: StoredConfig) -> EmbeddedStore {
    let stored = StoredConfig { cache_bytes_max: 0, dedupe_bytes_max: 0, ..stored };
    let store = EmbeddedStore::open(EmbeddedConfig { recent_bytes_max: 0, ..small(folder, stored) }).unwrap();
    // As soon as anybody asks nobody waits for the disk where others wait for him.
    now(store.inbox(1)).unwrap();
    store
}

fn small(folder: &Path, stored: StoredConfig) -> EmbeddedConfig {
    let config = EmbeddedConfig::new(folder.to_owned(), stored, Arc::new(|| 2 * EPOCH));
    // Few rows are kept in memory: most reads go to the disk.
    EmbeddedConfig { commit_bytes: 10_000, rest_ms: 0, persist_ms: 20, recent_bytes_max: 10_000, ..config }
}

/// A store, and the offsets that it has been given of partition 0.
pub(crate) struct Feed<'a, S: Store> {
    pub(crate) store: &'a S,
    pub(crate) offset: u64,
}

impl<'a, S: Store> Feed<'a, S> {
    /// A store that is made ready.
    pub(crate) fn new(store: &'a S) -> Self {
        let loaded = now(store.load(0)).unwrap();
        let renewed = loaded.buckets.iter().map(|state| (state.bucket, EPOCH)).collect();
        now(store.prepare(Prepare { partition: 0, boot: loaded.boot, shown: 0, renewed })).unwrap();
        Self { store, offset: 0 }
    }

    fn boot(&self) -> u64 {
        now(self.store.load(0)).unwrap().boot
    }

    /// The next record.
    pub(crate) fn op(&mut self, conv: Conv, from: u64, idem: u64, change: Change) -> ConvOp {
        self.offset += 1;
        let (offset, id) = (self.offset, self.offset + 1_000);
        ConvOp { offset, conv, id, ts_ms: 10_000_000 + offset, from, idem, hash: idem + 7, expires_at_ms: 0, change }
    }

    /// Applies one operation to its bucket.
    pub(crate) fn conv(&self, op: &ConvOp) -> Result<ConvDone, StepError> {
        let (bucket, boot) = (self.store.conv_bucket(op.conv), self.boot());
        let step = Step { partition: 0, bucket, boot, prev: 0, last: op.offset, items: vec![op.clone()] };
        now(self.store.conv(step)).map(|mut done| done.remove(0))
    }

    /// Applies the items of one record, bucket by bucket.
    pub(crate) fn users(&self, items: Vec<UserItem>) -> Result<Vec<UserDone>, StepError> {
        let mut buckets = BTreeMap::<u32, Vec<UserItem>>::new();
        items.into_iter().for_each(|item| buckets.entry(self.store.user_bucket(item.mid)).or_default().push(item));
        let mut all = Vec::new();
        for (bucket, items) in buckets {
            let last = items.last().map_or(0, |item| item.offset);
            all.extend(now(self.store.user(Step { partition: 0, bucket, boot: self.boot(), prev: 0, last, items }, false))?);
        }
        Ok(all)
    }

    /// Applies an operation and what follows from it at users, as a job does.
    pub(crate) fn apply(&mut self, conv: Conv, from: u64, idem: u64, change: Change) -> ConvOutcome {
        let op = self.op(conv, from, idem, change);
        let done = self.conv(&op).unwrap();
        assert!(done.fresh);
        let done_there = self.users(items(&op, &done.outcome)).unwrap();
        assert!(done_there.iter().all(|done| done.fresh));
        done.outcome
    }

    /// A message of text.
    pub(crate) fn say(&mut self, conv: Conv, from: u64, idem: u64, text: &str) -> ConvOutcome {
        self.apply(conv, from, idem, message(text))
    }
}

pub(crate) fn message(text: &str) -> Change {
    Change::Message { op: 4, quiet: false, body: Bytes::copy_from_slice(text.as_bytes()) }
}

pub(crate) fn group(members: &[u64]) -> Change {
    Change::Put { channel: false, owner: 1, name: "a group".into(), members: members.to_vec() }
}

pub(crate) fn pos(outcome: &ConvOutcome) -> u64 {
    match outcome {
        ConvOutcome::Row { pos, .. } => *pos,
        other => panic!("no row: {other:?}"),
    }
}

/// What follows at users from what became of an operation.
pub(crate) fn items(op: &ConvOp, outcome: &ConvOutcome) -> Vec<UserItem> {
    let ConvOutcome::Row { pos, kind, event, recipients, joined, left } = outcome else { return Vec::new() };
    let mids = match recipients {
        Recipients::Nobody => Vec::new(),
        Recipients::Pair(one, other) if one == other => vec![*one],
        Recipients::Pair(one, other) => vec![*one, *other],
        Recipients::Members(members) => members.to_vec(),
    };
    let (code, quiet) = match &op.change {
        Change::Message { op, quiet, .. } => (*op, *quiet),
        _ => (4, true),
    };
    let entry = Arc::new(Entry {
        id: op.id,
        ts_ms: op.ts_ms,
        from: op.from,
        cid: if event.is_none() { op.idem } else { 0 },
        kind: if event.is_some() { 5 } else { kind.to_frame() },
        op: code,
        flags: if quiet { 32 } else { 0 },
        conv: Some(op.conv),
        conv_pos: *pos,
        inline: None,
        expires_at_ms: if event.is_some() { 0 } else { op.expires_at_ms },
    });
    let effect = |mid: &u64| match op.conv {
        Conv::Direct { .. } => Effect::Has(op.conv),
        _ if joined.contains(mid) => Effect::Has(op.conv),
        _ if left.contains(mid) => Effect::HasNot(op.conv),
        _ => Effect::None,
    };
    let item = |mid: u64, entry| UserItem { offset: op.offset, mid, entry, effect: effect(&mid) };
    let told = mids.iter().map(|mid| item(*mid, Some(entry.clone())));
    let silent = joined.iter().chain(left.iter()).filter(|mid| !mids.contains(mid)).map(|mid| item(*mid, None));
    told.chain(silent).collect()
}
