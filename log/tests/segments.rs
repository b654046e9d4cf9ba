//! Rolling, retention, and consumers that catch up meanwhile.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it only in #[test] functions, not in their helpers")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use bytes::Bytes;
use common::{Collector, Each, HANG, Random, append, open, small, start_append, wait_until};
use perseid_log::{AppendError, EmbeddedConfig, EventLog, LogError, Record, Start, Topic};

#[test]
fn rolls_under_load_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    let answers: Vec<_> = (0..400u32).map(|n| start_append(&log, vec![n as u8; 1000 + n as usize])).collect();
    for (answer, offset) in answers.into_iter().zip(1..) {
        assert_eq!(answer.recv_timeout(HANG).unwrap(), Ok(offset));
    }
    assert!(log.status().counters.rolls > 20);
    log.close();
    drop(log);
    let log = open(dir.path(), small());
    let from_disk = Collector::default();
    log.subscribe("check", Start::Earliest, from_disk.boxed()).unwrap();
    assert_eq!(from_disk.wait_len(400), seen.records());
}

#[test]
fn retention_deletes_what_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { retention_bytes: 5 * (16 << 10), ..small() };
    let log = open(dir.path(), config.clone());
    for _ in 0..60 {
        append(&log, vec![0; 4000]).unwrap();
    }
    wait_until("old segments go", || log.status().first > 30);
    let status = log.status();
    assert!(status.counters.segments_deleted > 0 && status.end == 60, "{status:?}");
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    let records = seen.wait_len((60 - status.first + 1) as usize);
    assert_eq!(records[0].offset, status.first);
    log.close();
    drop(log);
    assert_eq!(append(&open(dir.path(), config), "v"), Ok(61));
}

#[test]
fn retention_waits_for_consumers_and_guards() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let config = {
        let clock = Arc::clone(&clock);
        let clock = Arc::new(move || clock.load(SeqCst));
        EmbeddedConfig { retention_ms: 1000, held_by: vec!["one", "other"], clock, ..small() }
    };
    let log = open(dir.path(), config.clone());
    log.subscribe("absent", Start::Earliest, Collector::default().boxed()).unwrap();
    log.close();
    drop(log);

    let log = open(dir.path(), config);
    log.keep_from("one", 8);
    let roll = || {
        for _ in 0..6 {
            append(&log, vec![0; 4000]).unwrap();
        }
    };
    roll();
    clock.fetch_add(1_000_000, SeqCst);
    roll();
    roll();
    assert_eq!(log.status().first, 1, "a stored offset of 0 holds back all of it");
    log.forget_consumer("absent").unwrap();
    clock.fetch_add(1_000_000, SeqCst);
    roll();
    roll();
    assert_eq!(log.status().first, 1, "somebody has not said yet what he needs");
    log.keep_from("other", 30);
    roll();
    wait_until("segments below the guard go", || log.status().first == 7);
    clock.fetch_add(1_000_000, SeqCst);
    log.keep_from("one", u64::MAX);
    log.keep_from("other", u64::MAX);
    wait_until("the others follow at once", || log.status().first > 7);
    log.subscribe("here", Start::Latest, Collector::default().boxed()).unwrap();
    assert!(matches!(log.forget_consumer("here"), Err(LogError::AlreadySubscribed { .. })));
}

/// Subscribes consumers at random moments of an append load; each must see every record once and in order,
/// whatever part of it comes from disk.
#[test]
fn catching_up_under_load_has_no_gap_and_no_repeat() {
    let mut random = Random::seeded("catch-up");
    for round in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), EmbeddedConfig { rest_us: random.below(3) * 300, ..small() });
        let total = 4000 + random.below(4000);
        let pause_every = 1 + random.below(200);
        let sizes: Vec<usize> = (0..64).map(|_| random.below(600) as usize).collect();
        let joins: Vec<u64> = (0..8).map(|_| random.below(total)).collect();
        let accepted = AtomicU64::new(0);
        let consumers: Vec<Collector> = thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..total {
                    let value = Bytes::from(vec![n as u8; sizes[n as usize % sizes.len()]]);
                    log.append(Topic::Push, b"k", value, Box::new(|result| assert!(result.is_ok())));
                    accepted.store(n, SeqCst);
                    if n % pause_every == 0 {
                        thread::yield_now();
                    }
                }
            });
            let subscribing = joins.iter().enumerate().map(|(index, &join)| {
                let (log, accepted) = (&log, &accepted);
                scope.spawn(move || {
                    wait_until("the moment", || accepted.load(SeqCst) >= join);
                    let collector = Collector::default();
                    log.subscribe(&format!("c{index}"), Start::Earliest, collector.boxed()).unwrap();
                    collector
                })
            });
            let subscribing: Vec<_> = subscribing.collect();
            subscribing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let expected: Vec<u64> = (1..=total).collect();
        for (index, consumer) in consumers.iter().enumerate() {
            consumer.wait_len(total as usize);
            assert_eq!(consumer.offsets(), expected, "round {round}, consumer {index}");
        }
        let first = consumers[0].records();
        assert!(first.iter().all(|r| r.value.iter().all(|&byte| byte == (r.offset - 1) as u8)));
        log.close();
        assert!(log.status().consumers.iter().all(|consumer| consumer.offset == total));
    }
}

/// Lengths with zero bytes in them, and records of all sizes at all places of a block.
#[test]
fn large_records_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { segment_bytes: 8 << 20, ..EmbeddedConfig::default() };
    let log = open(dir.path(), config);
    let sizes = [65_536 - 22, 1, 131_072, 0, 2 << 20, 65_536 - 22, 200, 1 << 20, 131_000, 45, 2 << 20, 3];
    for (size, offset) in sizes.into_iter().zip(1..) {
        assert_eq!(append(&log, vec![offset as u8; size]), Ok(offset));
    }
    assert!(matches!(append(&log, vec![0; (2 << 20) + 1]), Err(AppendError::TooLarge { .. })));
    // Many at once: more than one write, more than one segment.
    let answers: Vec<_> = (0..20).map(|_| start_append(&log, vec![9; 1 << 20])).collect();
    for (answer, offset) in answers.into_iter().zip(sizes.len() as u64 + 1..) {
        assert_eq!(answer.recv_timeout(HANG).unwrap(), Ok(offset));
    }
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    let records = seen.wait_len(sizes.len() + 20);
    for (record, size) in records.iter().zip(sizes) {
        assert_eq!(record.value.len(), size);
        assert!(record.value.iter().all(|&byte| byte == record.offset as u8));
    }
    assert!(log.status().counters.rolls >= 2);
}

/// Every position of a record boundary relative to the end of a read block.
#[test]
fn block_boundaries_anywhere_in_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), EmbeddedConfig { segment_bytes: 8 << 20, ..EmbeddedConfig::default() });
    let mut answers = Vec::new();
    for n in 0..90u32 {
        // A length of 65,536 starts with two zero bytes.
        answers.push(start_append(&log, vec![1; 65_536 - 22]));
        answers.push(start_append(&log, vec![2; n as usize % 7]));
    }
    answers.into_iter().for_each(|answer| assert!(answer.recv_timeout(HANG).unwrap().is_ok()));
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    seen.wait_len(180);
}

#[test]
fn closing_while_a_consumer_catches_up_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    for _ in 0..2000 {
        start_append(&log, "value");
    }
    append(&log, "last").unwrap();
    let mut seen: Vec<u64> = Vec::new();
    while seen.len() < 2001 {
        let collector = Collector::default();
        let mut inner = collector.clone();
        let slow = Each(move |records: &[Record]| {
            thread::sleep(std::time::Duration::from_millis(2));
            perseid_log::Consumer::on_records(&mut inner, records);
        });
        let log = if seen.is_empty() { log.clone() } else { open(dir.path(), small()) };
        log.subscribe("job", Start::Earliest, Box::new(slow)).unwrap();
        collector.wait_len(1);
        log.close();
        seen.extend(collector.offsets());
    }
    assert_eq!(seen, (1..=2001).collect::<Vec<_>>());
}
