//! What a start makes of files that are not as they were left.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it only in #[test] functions, not in their helpers")]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Collector, append, open, small};
use perseid_log::{EmbeddedLog, EventLog, LogError, Start};

const HEADER_BYTES: usize = 4096;
/// Framing and the key "key".
const AROUND_BYTES: usize = 27 + 3;

/// A closed log of `records` records of `value_bytes`, each written on its own.
fn log_of(records: u64, value_bytes: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    for n in 1..=records {
        assert_eq!(append(&log, vec![n as u8; value_bytes]), Ok(n));
    }
    log.close();
    dir
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    paths.sort();
    paths
}

fn try_open(dir: &Path) -> Result<EmbeddedLog, LogError> {
    EmbeddedLog::open(dir, small())
}

#[test]
fn a_tail_torn_at_every_byte_of_the_last_record_is_cut() {
    const VALUE_BYTES: usize = 60;
    let dir = log_of(3, VALUE_BYTES);
    let path = &segments(dir.path())[0];
    let whole = fs::read(path).unwrap();
    let last = HEADER_BYTES + 2 * (AROUND_BYTES + VALUE_BYTES);
    for kept in 0..AROUND_BYTES + VALUE_BYTES {
        let mut zeroed = whole.clone();
        zeroed[last + kept..].fill(0);
        for bytes in [&zeroed[..], &whole[..last + kept]] {
            fs::write(path, bytes).unwrap();
            let log = open(dir.path(), small());
            let status = log.status();
            assert_eq!(status.end, 2, "{kept} bytes kept");
            assert!(status.counters.torn_bytes <= kept as u64);
            assert!(kept == 0 || status.counters.torn_bytes > 0, "{kept} bytes kept, none cut");
            log.close();
            drop(log);
            let after = fs::read(path).unwrap();
            assert!(after[last..].iter().all(|&byte| byte == 0), "{kept}: zeroed, so that no old bytes come back");
        }
    }
    let log = open(dir.path(), small());
    assert_eq!(append(&log, "in its place"), Ok(3));
    let seen = Collector::default();
    log.subscribe("check", Start::Earliest, seen.boxed()).unwrap();
    assert_eq!(seen.wait_len(3)[2].value, "in its place");
}

#[test]
fn a_flipped_bit_in_the_middle_refuses_the_start_and_says_where() {
    const VALUE_BYTES: usize = 40;
    let dir = log_of(5, VALUE_BYTES);
    let path = &segments(dir.path())[0];
    let whole = fs::read(path).unwrap();
    let record_bytes = AROUND_BYTES + VALUE_BYTES;
    for byte in (HEADER_BYTES..HEADER_BYTES + 4 * record_bytes).step_by(3) {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(path, &flipped).unwrap();
        let index = (byte - HEADER_BYTES) / record_bytes;
        match try_open(dir.path()) {
            Err(LogError::Damaged { segment, position, expected, advice, .. }) => {
                assert_eq!(segment, *path);
                assert_eq!(position, (HEADER_BYTES + index * record_bytes) as u64, "byte {byte}");
                assert_eq!(expected, index as u64 + 1);
                assert!(advice.contains(&format!("truncate -s {position}")), "{advice}");
            }
            other => panic!("byte {byte}: {:?}", other.map(|log| log.status())),
        }
        assert_eq!(fs::read(path).unwrap(), flipped, "nothing is changed");
    }
    // The advice works.
    fs::write(path, &whole[..HEADER_BYTES + record_bytes]).unwrap();
    assert_eq!(append(&open(dir.path(), small()), "v"), Ok(2));
}

/// A consumer's stored offset proves what was durable, also where the file alone could not tell.
#[test]
fn a_bad_last_record_that_was_consumed_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    log.subscribe("job", Start::Earliest, Collector::default().boxed()).unwrap();
    append(&log, "one").unwrap();
    append(&log, "two").unwrap();
    log.close();
    drop(log);
    let path = &segments(dir.path())[0];
    let whole = fs::read(path).unwrap();
    let second = HEADER_BYTES + AROUND_BYTES + 3;
    let mut bytes = whole.clone();
    bytes[second + 20] ^= 1;
    fs::write(path, &bytes).unwrap();
    assert!(matches!(try_open(dir.path()), Err(LogError::Damaged { expected: 2, .. })));
    bytes[second..].fill(0);
    fs::write(path, &bytes).unwrap();
    assert!(matches!(try_open(dir.path()), Err(LogError::ConsumerAhead { stored: 2, end: 1, .. })));
    fs::remove_file(path).unwrap();
    assert!(matches!(try_open(dir.path()), Err(LogError::ConsumerAhead { stored: 2, end: 0, .. })));
    fs::write(path, &whole).unwrap();
    assert_eq!(open(dir.path(), small()).status().end, 2);
}

#[test]
fn a_missing_segment_and_a_bad_header_refuse_the_start() {
    let dir = log_of(12, 4000);
    let paths = segments(dir.path());
    assert!(paths.len() >= 4, "{paths:?}");
    let middle = fs::read(&paths[1]).unwrap();
    fs::remove_file(&paths[1]).unwrap();
    match try_open(dir.path()) {
        Err(error @ LogError::Damaged { .. }) => {
            let text = error.to_string();
            assert!(text.contains("missing") && text.contains("offset 4"), "{text}");
        }
        other => panic!("{:?}", other.map(|log| log.status())),
    }
    for damaged in [&middle[..10], &[&[0; 44], &middle[44..]].concat()] {
        fs::write(&paths[1], damaged).unwrap();
        assert!(matches!(try_open(dir.path()), Err(LogError::Damaged { segment, .. }) if segment == paths[1]));
    }
    fs::write(&paths[1], middle).unwrap();
    assert_eq!(open(dir.path(), small()).status().end, 12);
}

/// Closed segments are not read at the start; whoever reads them stops at the place.
#[test]
fn damage_in_a_closed_segment_stops_the_reader_there() {
    let dir = log_of(12, 4000);
    let file = OpenOptions::new().write(true).open(&segments(dir.path())[1]).unwrap();
    file.write_at(b"?", (HEADER_BYTES + AROUND_BYTES + 4000 + 100) as u64).unwrap();
    let log = open(dir.path(), small());
    let seen = Collector::default();
    log.subscribe("job", Start::Earliest, seen.boxed()).unwrap();
    common::wait_until(
        "it stops",
        || matches!(&log.status().consumers[0].state, perseid_log::ConsumerState::Stopped(why) if why.contains("offset 5")),
    );
    assert!(seen.offsets().iter().all(|&offset| offset < 5));
    assert_eq!(append(&log, "appends go on"), Ok(13));
}

#[test]
fn one_directory_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small());
    match try_open(dir.path()) {
        Err(LogError::InUse { dir: named }) => assert_eq!(named, dir.path()),
        other => panic!("{:?}", other.map(|log| log.status())),
    }
    log.close();
    let again = open(dir.path(), small());
    drop(again);
    assert!(try_open(dir.path()).is_ok(), "dropping the last handle closes");
}

#[test]
fn leftovers_of_zeroing_are_cleaned_up() {
    let dir = log_of(1, 10);
    fs::write(dir.path().join("next.zeros"), b"half a step").unwrap();
    let log = open(dir.path(), small());
    for n in 2..=10 {
        assert_eq!(append(&log, vec![0; 4000]), Ok(n));
    }
}
