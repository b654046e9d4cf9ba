//! A process that appends is killed at random moments: what it was told is durable must be there, and its
//! consumer must go on where its stored offset says.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it only in #[test] functions, not in their helpers")]

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use common::{Collector, Each, Random, open, wait_until};
use perseid_log::{EmbeddedConfig, EventLog, Record, Start, Topic};

const CHILD_DIR: &str = "PERSEID_LOG_CHILD_DIR";
const PRODUCERS: u64 = 4;
const IN_FLIGHT_MAX: u64 = 500;
/// Kills by default; more with PERSEID_KILLS.
const KILLS: u64 = 8;

fn config() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 256 << 10, value_bytes_max: 4096, ..EmbeddedConfig::default() }
}

fn append_only(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// The process that is killed: not a test of its own.
#[test]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let log = open(&dir.join("log"), config());
    let mut seen = append_only(&dir.join("seen"));
    // One write a batch, so that a kill can't leave half a batch in this file.
    let consumer = Each(move |records: &[Record]| {
        let lines: String = records.iter().map(|record| format!("{}\n", record.offset)).collect();
        seen.write_all(lines.as_bytes()).unwrap();
    });
    log.subscribe("job", Start::Earliest, Box::new(consumer)).unwrap();
    let acked = Arc::new(Mutex::new(append_only(&dir.join("acked"))));
    let in_flight = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (log, acked, in_flight) = (&log, &acked, &in_flight);
            scope.spawn(move || {
                for n in 0u64.. {
                    while in_flight.load(SeqCst) >= IN_FLIGHT_MAX {
                        thread::sleep(Duration::from_micros(200));
                    }
                    in_flight.fetch_add(1, SeqCst);
                    let value = format!("{} {producer} {n} {}", std::process::id(), "x".repeat((n % 300) as usize));
                    let line = value.clone();
                    let (acked, in_flight) = (Arc::clone(acked), Arc::clone(in_flight));
                    let done = move |result: Result<u64, _>| {
                        let line = format!("{} {}\n", result.unwrap(), line);
                        acked.lock().unwrap().write_all(line.as_bytes()).unwrap();
                        in_flight.fetch_sub(1, SeqCst);
                    };
                    log.append(Topic::Log, b"k", Bytes::from(value), Box::new(done));
                }
            });
        }
    });
}

#[test]
fn acknowledged_records_survive_kill_9_and_the_consumer_goes_on() {
    if env::var_os(CHILD_DIR).is_some() {
        return;
    }
    let mut random = Random::seeded("kill");
    let dir = tempfile::tempdir().unwrap();
    let mut acked: BTreeMap<u64, String> = BTreeMap::new();
    let mut shown = 0;
    let kills = env::var("PERSEID_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    for round in 0..kills {
        run_and_kill(dir.path(), 1 + random.below(200_000));
        for line in fs::read_to_string(dir.path().join("acked")).unwrap().split_inclusive('\n') {
            // The kill may have cut the last line.
            if let Some((offset, value)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) {
                acked.insert(offset.parse().unwrap(), value.to_owned());
            }
        }
        fs::remove_file(dir.path().join("acked")).unwrap();

        let log = open(&dir.path().join("log"), config());
        let status = log.status();
        let job = status.consumers.iter().find(|consumer| consumer.name == "job").unwrap();
        shown = check_seen(dir.path(), shown, job.offset, round);
        let everything = Collector::default();
        log.subscribe(&format!("check{round}"), Start::Earliest, everything.boxed()).unwrap();
        let records = everything.wait_len(status.end as usize);
        log.close();
        log.forget_consumer("none").unwrap();
        check_records(&records, &acked, round);
    }
    println!("{kills} kills, {} acknowledged records", acked.len());
}

fn run_and_kill(dir: &Path, acked_bytes: u64) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let size = || fs::metadata(dir.join("acked")).map_or(0, |metadata| metadata.len());
    wait_until("the child has acknowledged enough", || {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        size() >= acked_bytes
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The child's consumer began after `stored_before` and saw each record once, up to its stored offset or one batch
/// further (killed between the two). Returns the new stored offset.
fn check_seen(dir: &Path, stored_before: u64, stored: u64, round: u64) -> u64 {
    let seen = fs::read_to_string(dir.join("seen")).unwrap();
    fs::remove_file(dir.join("seen")).unwrap();
    let seen: Vec<u64> = seen.lines().map(|line| line.parse().unwrap()).collect();
    let expected: Vec<u64> = (stored_before + 1..).take(seen.len()).collect();
    assert!(seen == expected, "round {round}: after {stored_before} came {:?}…", &seen[..seen.len().min(5)]);
    let last = stored_before + seen.len() as u64;
    assert!(stored <= last && last - stored <= 2 * IN_FLIGHT_MAX, "round {round}: saw {last}, stored {stored}");
    stored
}

fn check_records(records: &[Record], acked: &BTreeMap<u64, String>, round: u64) {
    let mut next: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (record, offset) in records.iter().zip(1..) {
        assert_eq!(record.offset, offset, "round {round}");
        let value = std::str::from_utf8(&record.value).unwrap();
        let mut words = value.split(' ');
        let mut word = || words.next().unwrap().to_owned();
        let (producer, n) = ((word(), word()), word().parse::<u64>().unwrap());
        let next = next.entry(producer).or_default();
        assert_eq!(n, *next, "round {round}, offset {offset}: a producer's order");
        *next += 1;
    }
    for (&offset, value) in acked {
        let found = records.get(offset as usize - 1).unwrap_or_else(|| panic!("round {round}: {offset} is lost"));
        assert_eq!(found.value, value.as_bytes(), "round {round}, offset {offset}");
    }
}
