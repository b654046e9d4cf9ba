//! A disk that fails, a folder that can't be read, too much that is not committed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::{EmbeddedConfig, EmbeddedStore, OpenError};
use crate::Verdict;
use crate::stored::conv::Conv;
use crate::stored::read::{PageBound, Reserve, Reserved};
use crate::stored::step::{Change, ConvOp, ConvOutcome, Effect, Entry, Prepare, Step, StepError, UserItem};
use crate::stored::{Store, StoredConfig};

const CHAT: Conv = Conv::direct(1, 2);

fn config(folder: &Path) -> EmbeddedConfig {
    let config = EmbeddedConfig::new(folder.to_owned(), StoredConfig::default(), Arc::new(|| 5_000));
    EmbeddedConfig { rest_ms: 0, persist_ms: 20, ..config }
}

fn now<T>(verdict: Verdict<T>) -> T {
    verdict.now().unwrap()
}

fn prepare(store: &EmbeddedStore) {
    let loaded = now(store.load(0)).unwrap();
    let renewed = loaded.buckets.iter().filter(|state| state.epoch.is_none()).map(|state| (state.bucket, 7)).collect();
    now(store.prepare(Prepare { partition: 0, boot: loaded.boot, shown: 0, renewed })).unwrap();
}

/// A message at this offset, from 1 to 2.
fn say(store: &EmbeddedStore, offset: u64) -> Result<u64, StepError> {
    let (id, ts_ms, from, idem, hash) = (offset, 1_000, 1, offset, 1);
    let change = Change::Message { op: 4, quiet: false, body: Bytes::from(vec![b'x'; 1_000]) };
    let op = ConvOp { offset, conv: CHAT, id, ts_ms, from, idem, hash, change };
    let boot = now(store.load(0)).unwrap().boot;
    let step = Step { partition: 0, bucket: 0, boot, prev: offset - 1, last: offset, items: vec![op] };
    let done = now(store.conv(step))?;
    let ConvOutcome::Row { pos: conv_pos, .. } = done[0].outcome else { panic!("{done:?}") };
    let entry = Entry { id, ts_ms, from, cid: idem, kind: 1, op: 4, flags: 0, conv: Some(CHAT), conv_pos, inline: None };
    let item = UserItem { offset, mid: 2, entry: Some(Arc::new(entry)), effect: Effect::Has(CHAT) };
    let done = now(store.user(Step { partition: 0, bucket: 0, boot, prev: offset - 1, last: offset, items: vec![item] }, false))?;
    Ok(done[0].pos)
}

fn wait_until(mut is_there: impl FnMut() -> bool) {
    while !is_there() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn page(store: &EmbeddedStore) -> Vec<u64> {
    let bound = PageBound { messages_max: 100, bytes_max: usize::MAX };
    now(store.sync(2, 0, bound)).unwrap().unwrap().messages.iter().map(|message| message.pos).collect()
}

#[test]
fn a_store_outlives_a_disk_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(folder.path())).unwrap();
    prepare(&store);
    assert_eq!((say(&store, 1), say(&store, 2)), (Ok(1), Ok(2)));
    wait_until(|| store.durable(0) == 2);
    store.shared.disk().unwrap().fails.store(true, Ordering::SeqCst);
    assert_eq!(say(&store, 3), Ok(3));
    wait_until(|| !store.shared.is_well());
    // It says so, and what was shown can still be read.
    if matches!(say(&store, 4), Err(StepError::Down(_))) && store.counters().reopened == 0 {
        assert_eq!(now(store.inbox(2)).map_or(3, |inbox| inbox.head), 3);
    }
    assert!(now(store.ack(2, "web", 1, 5)).is_err() || store.counters().reopened > 0);
    wait_until(|| store.counters().reopened == 1);
    // It stands lower than it had shown: it says nothing until the log was applied again.
    assert_eq!(now(store.load(0)).unwrap().buckets.iter().map(|state| state.guard).collect::<Vec<_>>(), [2, 2]);
    assert!(now(store.inbox(2)).is_err() && !store.is_warm(&[CHAT], &[2]));
    let ask = Reserve { conv: CHAT, from: 1, idem: 3, hash: 1, id: 9, now_ms: 1_000 };
    assert_eq!(now(store.reserve(ask)), Ok(Reserved::Rebuilding));
    assert_eq!(say(&store, 4), Err(StepError::Gap { guard: 2 }));
    assert_eq!(say(&store, 3), Ok(3), "at the same position");
    assert_eq!(page(&store), [1, 2, 3]);
    assert!(matches!(now(store.reserve(ask)), Ok(Reserved::Duplicate { id: 3, .. })));
    wait_until(|| store.durable(0) == 3);
}

#[test]
fn what_is_not_committed_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedConfig {
        uncommitted_bytes_max: 50_000,
        commit_bytes: usize::MAX,
        persist_ms: 3_600_000,
        ..config(folder.path())
    });
    let store = store.unwrap();
    prepare(&store);
    let mut offset = 1;
    while say(&store, offset) != Err(StepError::Busy) {
        offset += 1;
        assert!(offset < 200, "no bound");
    }
    assert!(store.counters().uncommitted_bytes < 60_000);
    assert!(!store.is_warm(&[CHAT], &[2]), "a step would have to wait");
    assert_eq!(page(&store).len() as u64, offset - 1, "reads see what is not committed");
}

#[test]
fn a_folder_has_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(folder.path())).unwrap();
    assert!(matches!(EmbeddedStore::open(config(folder.path())), Err(OpenError::Locked(_))));
    drop(store);
    assert!(EmbeddedStore::open(config(folder.path())).is_ok());
}

#[test]
fn a_folder_that_cannot_be_read_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let fill = |store: EmbeddedStore| {
        prepare(&store);
        assert_eq!(say(&store, 1), Ok(1));
    };
    fill(EmbeddedStore::open(config(&path)).unwrap());
    damage(&path);
    let strict = EmbeddedConfig { move_aside: false, ..config(&path) };
    let Err(OpenError::Broken { why, .. }) = EmbeddedStore::open(strict) else { panic!("it was opened") };
    assert!(!why.is_empty());
    let store = EmbeddedStore::open(config(&path)).unwrap();
    assert!(store.moved_to().is_some_and(|moved| moved.is_dir()));
    assert_eq!(now(store.load(0)).unwrap().buckets[0].epoch, None, "to be filled again");
    fill(store);
}

/// Overwrites the file without which nothing can be read.
fn damage(folder: &Path) {
    std::fs::write(folder.join("version"), b"no version of ours").unwrap();
}
