//! Disks that fail: nothing is acknowledged that is not durable, and what can go on goes on.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it only in #[test] functions, not in their helpers")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use common::{Collector, Each, FaultyDisk, HANG, append, open, small, start_append, wait_until};
use perseid_log::{AppendError, ConsumerState, EmbeddedConfig, EmbeddedLog, EventLog, LogError, Purpose, Record, Start};

fn faulty() -> (Arc<FaultyDisk>, EmbeddedConfig) {
    let disk = Arc::new(FaultyDisk::default());
    let config = EmbeddedConfig { disk: Arc::<FaultyDisk>::clone(&disk), ..small() };
    (disk, config)
}

#[test]
fn a_failed_sync_poisons_and_readers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    let live = Collector::default();
    log.subscribe("live", Start::Earliest, live.boxed()).unwrap();
    append(&log, "good").unwrap();

    disk.fail_syncs(Purpose::Records);
    disk.hold_syncs.store(true, SeqCst);
    let failing = start_append(&log, "in the failing write");
    wait_until("the write is under way", || disk.syncs_held.load(SeqCst) == 1);
    let behind = start_append(&log, "queued behind it");
    disk.hold_syncs.store(false, SeqCst);
    assert!(matches!(failing.recv_timeout(HANG).unwrap(), Err(AppendError::Unknown(_))));
    assert!(matches!(behind.recv_timeout(HANG).unwrap(), Err(AppendError::Unavailable(_))));

    // Never again, even if the disk behaves.
    disk.heal();
    assert!(matches!(append(&log, "later"), Err(AppendError::Unavailable(_))));
    let status = log.status();
    assert!(status.poisoned.is_some_and(|reason| reason.contains("sync")));
    assert_eq!((status.end, status.counters.unknown, status.counters.unavailable), (1, 1, 2));
    let late = Collector::default();
    log.subscribe("late", Start::Earliest, late.boxed()).unwrap();
    assert_eq!(late.wait_len(1)[0].value, "good");
    assert_eq!(live.offsets(), [1], "what is not durable is not shown");
    log.close();
    drop(log);

    // It reached the page cache, so it is there after a restart: "unknown" was the truth.
    let log = open(dir.path(), small());
    assert_eq!(log.status().end, 2);
    assert_eq!(append(&log, "goes on"), Ok(3));
}

#[test]
fn a_consumer_that_catches_up_does_not_see_what_is_not_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    append(&log, "durable").unwrap();
    disk.hold_syncs.store(true, SeqCst);
    let written = start_append(&log, "written, not synced");
    wait_until("it is written", || disk.syncs_held.load(SeqCst) == 1);
    let late = Collector::default();
    log.subscribe("late", Start::Earliest, late.boxed()).unwrap();
    late.wait_len(1);
    let seen = late.offsets();
    disk.hold_syncs.store(false, SeqCst);
    assert_eq!(seen, [1]);
    written.recv_timeout(HANG).unwrap().unwrap();
    late.wait_len(2);
}

/// What a killed process left may be in the page cache only; a start must not call it durable before it is.
#[test]
fn a_start_makes_durable_what_it_finds() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config.clone());
    log.subscribe("job", Start::Earliest, Collector::default().boxed()).unwrap();
    append(&log, "v").unwrap();
    log.close();
    drop(log);
    for purpose in [Purpose::Records, Purpose::Consumer] {
        disk.fail_syncs(purpose);
        let refused = EmbeddedLog::open(dir.path(), config.clone());
        assert!(matches!(refused, Err(LogError::Io { .. })), "{purpose:?}");
        disk.heal();
        disk.fail_writes(purpose);
        assert!(matches!(EmbeddedLog::open(dir.path(), config.clone()), Err(LogError::Io { .. })), "{purpose:?}");
        disk.heal();
    }
    assert_eq!(open(dir.path(), config).status().end, 1);
}

#[test]
fn a_failed_write_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    append(&log, "good").unwrap();
    disk.fail_writes(Purpose::Records);
    assert!(matches!(append(&log, "bad"), Err(AppendError::Unknown(_))));
    disk.heal();
    assert!(matches!(append(&log, "later"), Err(AppendError::Unavailable(_))));
    log.close();
    drop(log);
    let log = open(dir.path(), small());
    assert_eq!(append(&log, "goes on"), Ok(2), "nothing of it was written");
}

#[test]
fn a_failed_header_poisons_and_the_start_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    disk.fail_syncs(Purpose::Header);
    let mut good = 0;
    let error = loop {
        match append(&log, vec![1; 4000]) {
            Ok(offset) => good = offset,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Unavailable(_)), "surely not written: {error}");
    log.close();
    drop(log);
    assert_eq!(append(&open(dir.path(), small()), "goes on"), Ok(good + 1));
}

#[test]
fn no_space_refuses_and_goes_on_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    disk.fail_writes(Purpose::Zeros);
    let mut good = 0;
    let error = loop {
        match append(&log, vec![1; 4000]) {
            Ok(offset) => good = offset,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Unavailable(_)), "{error}");
    let status = log.status();
    assert!(status.poisoned.is_none() && status.refusing.is_some(), "{status:?}");
    assert!(matches!(append(&log, "still"), Err(AppendError::Unavailable(_))));

    disk.heal();
    wait_until("space is back", || log.status().refusing.is_none());
    assert_eq!(append(&log, "again"), Ok(good + 1), "offsets stay dense");
    assert_eq!(seen.offsets(), (1..=good + 1).collect::<Vec<_>>());
    log.close();
    drop(log);
    assert_eq!(open(dir.path(), small()).status().end, good + 1);
}

/// A batch that needs more space than there is: its first part is acknowledged, the rest refused.
#[test]
fn no_space_in_the_middle_of_a_batch_keeps_offsets_dense() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    disk.fail_writes(Purpose::Zeros);
    disk.hold_syncs.store(true, SeqCst);
    let first = start_append(&log, "holds the writer");
    wait_until("it is held", || disk.syncs_held.load(SeqCst) == 1);
    let answers: Vec<_> = (0..20).map(|_| start_append(&log, vec![2; 3000])).collect();
    disk.hold_syncs.store(false, SeqCst);
    first.recv_timeout(HANG).unwrap().unwrap();
    let answers: Vec<_> = answers.iter().map(|answer| answer.recv_timeout(HANG).unwrap()).collect();
    let good = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!(good < 20 && answers[good..].iter().all(|a| matches!(a, Err(AppendError::Unavailable(_)))), "{answers:?}");
    disk.heal();
    wait_until("space is back", || log.status().refusing.is_none());
    assert_eq!(append(&log, "again"), Ok(good as u64 + 2));
}

#[test]
fn short_writes_are_completed() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    disk.write_bytes_max.store(1000, SeqCst);
    let log = open(dir.path(), config);
    for n in 0..30u8 {
        append(&log, vec![n; 3000]).unwrap();
    }
    log.close();
    drop(log);
    let log = open(dir.path(), small());
    let seen = Collector::default();
    log.subscribe("check", Start::Earliest, seen.boxed()).unwrap();
    let records = seen.wait_len(30);
    assert!(records.iter().zip(0u8..).all(|(record, n)| record.value == vec![n; 3000]));
}

#[test]
fn the_queue_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), EmbeddedConfig { queue_bytes_max: 20_000, ..config });
    disk.hold_syncs.store(true, SeqCst);
    let answers: Vec<_> = (0..10).map(|_| start_append(&log, vec![0; 3000])).collect();
    let refused = answers.iter().filter(|answer| matches!(answer.try_recv(), Ok(Err(AppendError::Overloaded)))).count();
    assert_eq!(refused, 4, "6 of 3,030 bytes fit into 20,000");
    assert!(log.status().queue_bytes <= 20_000);
    disk.hold_syncs.store(false, SeqCst);
    assert_eq!(answers.iter().filter(|answer| answer.recv_timeout(HANG).is_ok_and(|r| r.is_ok())).count(), 6);
    wait_until("the queue is empty", || log.status().queue_bytes == 0);
    assert_eq!(append(&log, "again"), Ok(7));
}

#[test]
fn a_consumer_that_panics_stops_the_log_and_sees_the_batch_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    let seen = Collector::default();
    let mut inner = seen.clone();
    let consumer = Each(move |records: &[Record]| {
        assert!(records[0].offset < 3, "no more");
        perseid_log::Consumer::on_records(&mut inner, records);
    });
    log.subscribe("job", Start::Earliest, Box::new(consumer)).unwrap();
    for n in 1..=3 {
        assert_eq!(append(&log, "v"), Ok(n), "the record itself is durable");
    }
    let Err(AppendError::Unavailable(reason)) = append(&log, "later") else { panic!("accepted") };
    assert!(reason.contains("job") && reason.contains("no more"), "{reason}");
    assert!(matches!(&log.status().consumers[0].state, ConsumerState::Stopped(_)));
    log.close();
    drop(log);
    let log = open(dir.path(), small());
    let again = Collector::default();
    log.subscribe("job", Start::Earliest, again.boxed()).unwrap();
    assert_eq!(again.wait_len(1)[0].offset, 3);
}

#[test]
fn an_answer_that_panics_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    log.append(perseid_log::Topic::Log, b"", "v".into(), Box::new(|_| panic!("a bug of the caller")));
    assert_eq!(append(&log, "v"), Ok(2));
    assert_eq!(log.status().counters.done_panics, 1);
}

#[test]
fn an_offset_that_cannot_be_stored_stops_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, config) = faulty();
    let log = open(dir.path(), config);
    log.subscribe("job", Start::Earliest, Collector::default().boxed()).unwrap();
    append(&log, "v").unwrap();
    disk.fail_writes(Purpose::Consumer);
    append(&log, "v").unwrap();
    assert!(matches!(append(&log, "v"), Err(AppendError::Unavailable(_))));
    assert!(log.status().poisoned.is_some_and(|reason| reason.contains("job")));
}
