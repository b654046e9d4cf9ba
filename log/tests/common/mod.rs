//! Shared by the tests of the log.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "only tests use it")]

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use perseid_log::{
    AppendError, Consumer, Disk, EmbeddedConfig, EmbeddedLog, EventLog, Offset, Purpose, Record, SystemDisk, Topic,
};

/// So long that only a hang exceeds it.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Small segments and values.
pub(crate) fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 16 << 10, value_bytes_max: 4 << 10, zero_ahead_bytes: 0, ..EmbeddedConfig::default() }
}

pub(crate) fn open(dir: &Path, config: EmbeddedConfig) -> EmbeddedLog {
    EmbeddedLog::open(dir, config).expect("open")
}

pub(crate) fn start_append(log: &dyn EventLog, value: impl Into<Bytes>) -> Receiver<Result<Offset, AppendError>> {
    let (sender, receiver) = channel();
    log.append(Topic::Log, b"key", value.into(), Box::new(move |result| sender.send(result).unwrap_or_default()));
    receiver
}

pub(crate) fn append(log: &dyn EventLog, value: impl Into<Bytes>) -> Result<Offset, AppendError> {
    start_append(log, value).recv_timeout(HANG).expect("an answer")
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Keeps what a consumer got; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    inner: Arc<(Mutex<Vec<Record>>, Condvar)>,
}

impl Collector {
    pub(crate) fn records(&self) -> Vec<Record> {
        self.inner.0.lock().unwrap().clone()
    }

    pub(crate) fn offsets(&self) -> Vec<Offset> {
        self.records().iter().map(|record| record.offset).collect()
    }

    pub(crate) fn wait_len(&self, len: usize) -> Vec<Record> {
        let guard = self.inner.0.lock().unwrap();
        let (guard, timeout) = self.inner.1.wait_timeout_while(guard, HANG, |records| records.len() < len).unwrap();
        assert!(!timeout.timed_out(), "only {} of {len} records", guard.len());
        guard.clone()
    }

    pub(crate) fn boxed(&self) -> Box<dyn Consumer> {
        Box::new(self.clone())
    }
}

impl Consumer for Collector {
    fn on_records(&mut self, records: &[Record]) {
        assert!(!records.is_empty());
        self.inner.0.lock().unwrap().extend_from_slice(records);
        self.inner.1.notify_all();
    }
}

/// A consumer from a closure.
pub(crate) struct Each<F>(pub(crate) F);

impl<F: FnMut(&[Record]) + Send + 'static> Consumer for Each<F> {
    fn on_records(&mut self, records: &[Record]) {
        (self.0)(records);
    }
}

/// A disk that fails when told to.
#[derive(Default)]
pub(crate) struct FaultyDisk {
    pub(crate) failing_writes: Mutex<HashSet<Purpose>>,
    pub(crate) failing_syncs: Mutex<HashSet<Purpose>>,
    /// Writes at most this many bytes at a time; 0 = as many as there are.
    pub(crate) write_bytes_max: AtomicUsize,
    /// Syncs of records wait while this is set.
    pub(crate) hold_syncs: AtomicBool,
    pub(crate) syncs_held: AtomicUsize,
}

impl FaultyDisk {
    pub(crate) fn fail_writes(&self, purpose: Purpose) {
        self.failing_writes.lock().unwrap().insert(purpose);
    }

    pub(crate) fn fail_syncs(&self, purpose: Purpose) {
        self.failing_syncs.lock().unwrap().insert(purpose);
    }

    pub(crate) fn heal(&self) {
        self.failing_writes.lock().unwrap().clear();
        self.failing_syncs.lock().unwrap().clear();
    }
}

impl Disk for FaultyDisk {
    fn write_at(&self, purpose: Purpose, file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
        if self.failing_writes.lock().unwrap().contains(&purpose) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = match self.write_bytes_max.load(SeqCst) {
            0 => bytes,
            max => &bytes[..bytes.len().min(max)],
        };
        SystemDisk.write_at(purpose, file, bytes, position)
    }

    fn sync(&self, purpose: Purpose, file: &File) -> io::Result<()> {
        if purpose == Purpose::Records && self.hold_syncs.load(SeqCst) {
            self.syncs_held.fetch_add(1, SeqCst);
            let begun = Instant::now();
            // Not for ever: a test that failed meanwhile must be able to close the log.
            while self.hold_syncs.load(SeqCst) && begun.elapsed() < 2 * HANG {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if self.failing_syncs.lock().unwrap().contains(&purpose) {
            return Err(io::Error::other("injected"));
        }
        SystemDisk.sync(purpose, file)
    }
}

/// xorshift64*; the seed is printed, and can be given as PERSEID_SEED.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(what: &str) -> Self {
        let seed = std::env::var("PERSEID_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64);
        println!("{what}: PERSEID_SEED={seed}");
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
