//! A disk that fails, a folder that can't be read, too much that is not committed.

mod cold;
mod torn;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{Condition, DiskUse, EmbeddedConfig, EmbeddedStore, OpenError};
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

/// The answer, however long it takes.
fn now<T>(verdict: Verdict<T>) -> T {
    verdict.wait()
}

fn prepare(store: &EmbeddedStore) {
    let loaded = now(store.load(0)).unwrap();
    let renewed = loaded.buckets.iter().filter(|state| state.epoch.is_none()).map(|state| (state.bucket, 7)).collect();
    now(store.prepare(Prepare { partition: 0, boot: loaded.boot, shown: 0, renewed })).unwrap();
}

/// A message at this offset, from 1 to 2.
fn say(store: &EmbeddedStore, offset: u64) -> Result<u64, StepError> {
    say_with(store, offset, Bytes::from(vec![b'x'; 1_000]))
}

fn say_with(store: &EmbeddedStore, offset: u64, body: Bytes) -> Result<u64, StepError> {
    let (id, ts_ms, from, idem, hash) = (offset, 1_000, 1, offset, 1);
    let change = Change::Message { op: 4, quiet: false, body };
    let op = ConvOp { offset, conv: CHAT, id, ts_ms, from, idem, hash, expires_at_ms: 0, change };
    let boot = now(store.load(0)).unwrap().boot;
    let step = Step { partition: 0, bucket: 0, boot, prev: offset - 1, last: offset, items: vec![op] };
    let done = now(store.conv(step))?;
    let ConvOutcome::Row { pos: conv_pos, .. } = done[0].outcome else { panic!("{done:?}") };
    let (conv, expires_at_ms) = (Some(CHAT), 0);
    let entry = Entry { id, ts_ms, from, cid: idem, kind: 1, op: 4, flags: 0, conv, conv_pos, inline: None, expires_at_ms };
    let item = UserItem { offset, mid: 2, entry: Some(Arc::new(entry)), effect: Effect::Has(CHAT) };
    let done = now(store.user(Step { partition: 0, bucket: 0, boot, prev: offset - 1, last: offset, items: vec![item] }, false))?;
    Ok(done[0].pos)
}

fn wait_until(mut is_there: impl FnMut() -> bool) {
    while !is_there() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What can be read of the inbox.
fn page(store: &EmbeddedStore) -> Vec<u64> {
    let bound = PageBound { messages_max: 100, bytes_max: usize::MAX };
    now(store.sync(2, 0, bound)).unwrap().unwrap().messages.iter().map(|message| message.pos).collect()
}

/// A disk that can be made to fail.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<(DiskUse, i32)>>>);

impl Faults {
    /// From now on this use of the disk fails, with this error of the operating system.
    fn begin(&self, what: DiskUse, code: i32) {
        self.0.lock().unwrap().push((what, code));
    }

    fn end(&self) {
        self.0.lock().unwrap().clear();
    }

    fn config(&self, folder: &Path) -> EmbeddedConfig {
        let faults = self.0.clone();
        let fault = move |what| {
            let code = faults.lock().unwrap().iter().find(|(failing, _)| *failing == what).map(|(_, code)| *code);
            code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
        };
        EmbeddedConfig { disk_fault: Arc::new(fault), ..config(folder) }
    }
}

const NO_SPACE: i32 = 28;
const BROKEN_DISK: i32 = 5;
const FILE_TOO_LARGE: i32 = 27;

#[test]
fn a_store_outlives_a_disk_that_fails() {
    for what in [DiskUse::Commit, DiskUse::Sync] {
        outlives(what);
    }
}

fn outlives(what: DiskUse) {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let told: Arc<Mutex<Vec<Condition>>> = Arc::default();
    let on_condition = {
        let told = told.clone();
        Arc::new(move |condition: &Condition| told.lock().unwrap().push(condition.clone()))
    };
    let store = EmbeddedStore::open(EmbeddedConfig { on_condition, ..faults.config(folder.path()) }).unwrap();
    prepare(&store);
    assert_eq!((say(&store, 1), say(&store, 2)), (Ok(1), Ok(2)));
    wait_until(|| store.durable(0) == 2);
    faults.begin(DiskUse::Open, NO_SPACE);
    faults.begin(what, NO_SPACE);
    assert_eq!(say(&store, 3), Ok(3));
    wait_until(|| store.trouble().is_some());
    // It says so, and what was shown can still be read.
    assert!(matches!(say(&store, 4), Err(StepError::Down(_))));
    assert_eq!(page(&store), [1, 2, 3]);
    assert!(now(store.ack(2, "web", 1, 5)).is_err());
    assert_eq!((store.durable(0), store.counters().reopened), (2, 0), "what is not synced is not called durable");
    faults.end();
    wait_until(|| store.counters().reopened == 1);
    if what == DiskUse::Sync {
        // It was written, and is synced now.
        wait_until(|| store.durable(0) == 3);
        assert_eq!(page(&store), [1, 2, 3]);
        assert_eq!(told.lock().unwrap().last(), Some(&Condition::Works));
        return;
    }
    // It stands lower than it had shown: it says nothing until the log was applied again.
    assert_eq!(now(store.load(0)).unwrap().buckets.iter().map(|state| state.guard).collect::<Vec<_>>(), [2, 2]);
    assert!(now(store.inbox(2)).is_err() && !store.is_warm(&[CHAT], &[2]));
    let ask = Reserve { conv: CHAT, from: 1, idem: 3, hash: 1, id: 9, hold: true, now_ms: 1_000 };
    assert_eq!(now(store.reserve(ask)), Ok(Reserved::Rebuilding));
    assert_eq!(say(&store, 4), Err(StepError::Gap { guard: 2 }));
    assert_eq!(say(&store, 3), Ok(3), "at the same position");
    assert_eq!(page(&store), [1, 2, 3]);
    assert!(matches!(now(store.reserve(ask)), Ok(Reserved::Duplicate { id: 3, .. })));
    wait_until(|| store.durable(0) == 3);
    let told = told.lock().unwrap();
    assert!(matches!(&told[..], [Condition::Fails(_), Condition::Behind, Condition::Works]), "{told:?}");
}

#[test]
fn what_was_closed_is_on_the_disk_and_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let slow = EmbeddedConfig { persist_ms: 3_600_000, commit_bytes: usize::MAX, ..config(folder.path()) };
    let store = EmbeddedStore::open(slow.clone()).unwrap();
    prepare(&store);
    assert_eq!((say(&store, 1), store.durable(0)), (Ok(1), 0));
    store.close();
    assert_eq!((store.durable(0), page(&store)), (1, vec![1]));
    assert!(matches!(say(&store, 2), Err(StepError::Down(_))));
    assert!(now(store.ack(2, "web", 1, 5)).is_err());
    store.close();
    drop(store);
    let store = EmbeddedStore::open(slow).unwrap();
    assert_eq!(now(store.load(0)).unwrap().buckets.iter().map(|state| state.guard).collect::<Vec<_>>(), [1, 1]);
}

/// Whoever was told an epoch is not told another one after a kill in the first moment.
#[test]
fn an_epoch_is_on_the_disk_before_anybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let slow = EmbeddedConfig { persist_ms: 3_600_000, commit_bytes: usize::MAX, ..config(folder.path()) };
    let store = EmbeddedStore::open(slow).unwrap();
    prepare(&store);
    assert_eq!(store.counters().persists.counts.iter().sum::<u64>(), 1);
    let copy = tempfile::tempdir().unwrap();
    copy_all(folder.path(), copy.path());
    let killed = EmbeddedStore::open(config(copy.path())).unwrap();
    assert_eq!(now(killed.load(0)).unwrap().buckets.iter().map(|state| state.epoch).collect::<Vec<_>>(), [Some(7); 2]);
}

/// The folder as a kill would leave it.
fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The folder may hold what the log no longer has: a disk that fails is no reason to begin a new one.
#[test]
fn a_disk_that_fails_moves_nothing_aside() {
    for code in [NO_SPACE, BROKEN_DISK, FILE_TOO_LARGE] {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("store");
        let faults = Faults::default();
        drop(EmbeddedStore::open(faults.config(&folder)).unwrap());
        faults.begin(DiskUse::Open, code);
        assert!(matches!(EmbeddedStore::open(faults.config(&folder)), Err(OpenError::Disk { .. })), "{code}");
        faults.end();
        assert_eq!(EmbeddedStore::open(faults.config(&folder)).unwrap().moved_to(), None);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "{code}");
    }
}

/// A folder that was used a moment ago is not moved aside, even if nothing in it can be read any more.
#[test]
fn a_store_that_runs_is_never_moved_aside() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let faults = Faults::default();
    let store = EmbeddedStore::open(faults.config(&folder)).unwrap();
    prepare(&store);
    assert_eq!(say(&store, 1), Ok(1));
    wait_until(|| store.durable(0) == 1);
    faults.begin(DiskUse::Open, NO_SPACE);
    faults.begin(DiskUse::Commit, NO_SPACE);
    assert_eq!(say(&store, 2), Ok(2));
    wait_until(|| store.trouble().is_some());
    let whole = std::fs::read(folder.join("version")).unwrap();
    damage(&folder);
    faults.end();
    wait_until(|| store.trouble().is_some_and(|why| why.contains("delete the folder")));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    std::fs::write(folder.join("version"), whole).unwrap();
    wait_until(|| store.counters().reopened == 1);
    assert_eq!((say(&store, 2), page(&store)), (Ok(2), vec![1, 2]));
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
