//! Killed at any moment, reopened, filled again from the log.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::OpenInbox;
use perseid_store::stored::step::ConvOutcome;
use perseid_store::stored::{Store, StoredConfig};

use crate::bench::{EPOCH, Feed, embedded, now};
use crate::dice::{Dice, Seed};
use crate::folded::{Fold, compare, prepare, tight};
use crate::history::{MIDS, Record, history};

const FOLDER: &str = "PERSEID_TEST_STORE_FOLDER";
const SEED: &str = "PERSEID_TEST_STORE_SEED";
const RECORDS: usize = 1_500;

/// Half of the stores have their dedupe in memory and packed on disk, half of them in rows.
fn settings(seed: u64) -> StoredConfig {
    let dedupe_bytes_max = if seed.is_multiple_of(2) { 1 << 20 } else { 600 };
    StoredConfig { dedupe_bytes_max, ..tight().0 }
}

/// The other process: applies its history, and says what it has shown and what devices have had acknowledged.
#[test]
#[ignore = "started by the tests that kill it"]
fn child() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else { return };
    let seed = seed.parse().unwrap();
    let mut dice = Dice::new(seed);
    let history = history(&mut dice, RECORDS);
    let store = embedded(Path::new(&folder), settings(seed));
    prepare(&store);
    let mut fold = Fold::new(tight().1);
    let mut done = 0;
    let mut say = std::io::stdout().lock();
    while done < history.len() {
        let end = (done + 1 + dice.below(10) as usize).min(history.len());
        fold.apply(&store, &history[done..end]);
        done = end;
        writeln!(say, "shown {done}").unwrap();
        let mid = dice.pick(&MIDS);
        let head = now(store.inbox(mid)).unwrap().head;
        // By an acknowledgement, or by what a session says it has.
        let open = OpenInbox { mid, device: "web".into(), has: Some((EPOCH, head)), now_ms: 5 };
        let acked = match dice.one_in(2) {
            true => now(store.ack(mid, "web", head, 5)).unwrap().unwrap(),
            false => now(store.open_inbox(open)).unwrap().cursor,
        };
        assert_eq!(acked, head);
        writeln!(say, "acked {mid} {acked}").unwrap();
    }
}

/// What a process had said before it was killed.
struct Killed {
    shown: usize,
    acked: Vec<(u64, u64)>,
}

fn run_and_kill(folder: &Path, seed: u64, lines: usize) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kills::child", "--ignored", "--nocapture", "--quiet"]);
    let mut child = command.env(FOLDER, folder).env(SEED, seed.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut killed = Killed { shown: 0, acked: Vec::new() };
    let said = BufReader::new(child.stdout.take().unwrap());
    for (index, line) in said.lines().map_while(Result::ok).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [.., "shown", done] => killed.shown = done.parse().unwrap(),
            ["acked", mid, pos] => killed.acked.push((mid.parse().unwrap(), pos.parse().unwrap())),
            _ => {}
        }
        // It goes on while what it said is still being read: killed in the middle of something.
        if index == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    killed
}

/// The guards of both buckets.
fn guards(store: &impl Store) -> Vec<u64> {
    now(store.load(0)).unwrap().buckets.iter().map(|state| state.guard).collect()
}

/// Applies what the store does not have.
fn replay(store: &impl Store, fold: &mut Fold, records: &[Record]) {
    let guard = guards(store).into_iter().min().unwrap();
    let rest: Vec<Record> = records.iter().filter(|record| record.offset() > guard).cloned().collect();
    rest.chunks(37).for_each(|records| fold.apply(store, records));
}

fn killed_and_compared(seed: u64) {
    let _seed = Seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(seed + 1_000);
    let killed = run_and_kill(folder.path(), seed, 20 + dice.below(250) as usize);
    assert!(killed.shown > 0);
    let records = history(&mut Dice::new(seed), RECORDS);
    let mut fold = Fold::new(tight().1);
    fold.fold(&records[..killed.shown]);
    let store = embedded(folder.path(), settings(seed));
    let loaded = now(store.load(0)).unwrap();
    for state in &loaded.buckets {
        assert_eq!(state.epoch, Some(EPOCH), "it was told");
        assert_eq!(state.boot, loaded.boot);
    }
    prepare(&store);
    replay(&store, &mut fold, &records[..killed.shown]);
    compare(&store, &fold.model, &mut dice);
    for (mid, pos) in killed.acked {
        let open = OpenInbox { mid, device: "web".into(), has: None, now_ms: 6 };
        assert!(now(store.open_inbox(open)).unwrap().cursor >= pos, "{mid} had {pos} acknowledged");
    }
    // It goes on from there, is closed, and is opened again with everything in it.
    fold.apply(&store, &records[killed.shown..]);
    drop(store);
    let store = embedded(folder.path(), settings(seed));
    let last = records.last().unwrap().offset();
    assert_eq!((guards(&store), store.durable(0) <= last), (vec![last, last], true));
    compare(&store, &fold.model, &mut dice);
}

#[test]
fn a_store_that_is_killed_goes_on_where_its_guards_are() {
    (200..206).for_each(killed_and_compared);
}

#[test]
fn a_repetition_is_known_after_a_restart() {
    for seed in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let store = embedded(folder.path(), settings(seed));
        let mut feed = Feed::new(&store);
        (1..100).for_each(|idem| drop(feed.say(Conv::direct(1, 2), 1, idem, "x")));
        let offset = feed.offset;
        drop(store);
        let store = embedded(folder.path(), settings(seed));
        let mut feed = Feed { store: &store, offset };
        for idem in 1..100 {
            assert_eq!(feed.say(Conv::direct(1, 2), 1, idem, "x"), ConvOutcome::Duplicate { id: idem + 1_000, pos: idem });
        }
    }
}

#[test]
fn a_store_that_is_deleted_is_filled_again() {
    let seed = 300;
    let _seed = Seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let records = history(&mut Dice::new(seed), RECORDS);
    let mut fold = Fold::new(tight().1);
    for _ in 0..2 {
        let store = embedded(&path, tight().0);
        prepare(&store);
        records.chunks(100).for_each(|records| fold.apply(&store, records));
        compare(&store, &fold.model, &mut Dice::new(1));
        drop(store);
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn what_is_durable_is_below_what_was_applied_and_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = embedded(folder.path(), tight().0);
    prepare(&store);
    let records = history(&mut Dice::new(1), 100);
    let mut fold = Fold::new(tight().1);
    fold.apply(&store, &records[..50]);
    let reached = records[49].offset();
    while store.durable(0) < reached {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(store.durable(0), reached);
    assert_eq!(store.durable(1), 0, "nothing came from there");
}
