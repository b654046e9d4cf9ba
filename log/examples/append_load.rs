//! Appends at a given rate for a given time and prints what it cost, as one line of JSON.
//!
//! `cargo run --release -p perseid-log --example append_load -- <records/s> <seconds> <value bytes> [directory]`
#![allow(clippy::print_stdout, reason = "it is a tool")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use perseid_log::{Consumer, EmbeddedConfig, EmbeddedLog, EventLog, Record, Start, Topic};

/// Takes records and does nothing, as the cheapest consumer.
struct Sink;

impl Consumer for Sink {
    fn on_records(&mut self, _: &[Record]) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let mut number = |default: u64| args.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (rate, seconds, value_bytes) = (number(1000)?.max(1), number(10)?.max(1), number(200)?);
    let dir = args.next().map_or_else(|| env::temp_dir().join("perseid-append-load"), PathBuf::from);
    let begun = Instant::now();
    let log = EmbeddedLog::open(&dir, EmbeddedConfig::default())?;
    let open_ms = begun.elapsed().as_secs_f64() * 1e3;
    log.subscribe("sink", Start::Latest, Box::new(Sink))?;
    // Let it zero its space first.
    thread::sleep(Duration::from_secs(1));

    let (before, cpu_before) = (log.status(), cpu_ns());
    let mut latencies = load(&log, rate, seconds, &Bytes::from(vec![b'x'; usize::try_from(value_bytes)?]));
    let (after, cpu_after) = (log.status(), cpu_ns());
    log.close();

    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(0.0, |&us| f64::from(us) / 1e3)
    };
    let records = latencies.len().max(1) as f64;
    let syncs = (after.counters.syncs - before.counters.syncs) as f64 / seconds as f64;
    let us = |name: &str| {
        let sum = |threads: &[(String, u64)]| -> u64 {
            threads.iter().filter(|(thread, _)| thread.starts_with(name)).map(|(_, ns)| ns).sum()
        };
        (sum(&cpu_after) - sum(&cpu_before)) as f64 / 1e3 / records
    };
    println!(
        "{{\"offered_per_s\":{rate},\"records\":{},\"errors\":{},\"open_ms\":{open_ms:.1},\"ack_ms\":{{\"p50\":{:.3},\"p90\":{:.3},\
         \"p99\":{:.3},\"p999\":{:.3},\"max\":{:.3}}},\"syncs_per_s\":{syncs:.0},\"records_per_sync\":{:.1},\
         \"cpu_us_per_record\":{{\"all\":{:.2},\"writer\":{:.2},\"keeper\":{:.2},\"generator\":{:.2}}},\
         \"space_waits\":{}}}",
        latencies.len(),
        rate * seconds - latencies.len() as u64,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        records / (syncs * seconds as f64).max(1.0),
        us(""),
        us("log-writer"),
        us("log-keeper"),
        us("append_load"),
        after.counters.space_waits - before.counters.space_waits,
    );
    Ok(())
}

/// Open-loop: every millisecond the records that are due. Returns the ack latencies in µs.
fn load(log: &EmbeddedLog, rate: u64, seconds: u64, value: &Bytes) -> Vec<u32> {
    let (sender, receiver) = channel();
    let begun = Instant::now();
    let mut sent = 0;
    while sent < rate * seconds {
        let due = (begun.elapsed().as_micros() as u64 * rate / 1_000_000 + 1).min(rate * seconds);
        for _ in sent..due {
            let (sender, at) = (sender.clone(), Instant::now());
            let done = move |result: Result<u64, _>| {
                if result.is_ok() {
                    // The receiver lives until all senders are gone.
                    let _ = sender.send(u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
            };
            log.append(Topic::Push, b"u1", value.clone(), Box::new(done));
        }
        sent = due;
        let next = Duration::from_micros((sent * 1_000_000) / rate).max(begun.elapsed() + Duration::from_millis(1));
        thread::sleep((begun + next).saturating_duration_since(Instant::now()));
    }
    drop(sender);
    receiver.iter().collect()
}

/// CPU of each thread of this process in ns, by the scheduler's count.
fn cpu_ns() -> Vec<(String, u64)> {
    let thread = |dir: &Path| {
        let name = fs::read_to_string(dir.join("comm")).ok()?;
        let schedstat = fs::read_to_string(dir.join("schedstat")).ok()?;
        Some((name.trim().to_owned(), schedstat.split(' ').next()?.parse().ok()?))
    };
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    entries.flatten().filter_map(|entry| thread(&entry.path())).collect()
}
