//! What stored direct messages cost in a folder: CPU by thread, commits, stalls, pages.
//!
//! `cargo run --release -p perseid-store --example stored_load -- FOLDER MESSAGES RATE BATCH USERS`, for example
//! messages 400000 at rate 20000 in batches of 8 to 20000 users. Rate 0: as fast as it goes. The folder is to be empty or absent.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use perseid_store::Verdict;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::PageBound;
use perseid_store::stored::step::{Change, ConvOp, ConvOutcome, Effect, Entry, Prepare, Recipients, Step, StepError, UserItem};
use perseid_store::stored::{EmbeddedConfig, EmbeddedStore, Store, StoredConfig};

const BODY_BYTES: usize = 200;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn now<T>(verdict: Verdict<T>) -> T {
    verdict.wait()
}

/// Nanoseconds of CPU by name of thread.
fn cpu_by_thread() -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ns: u64 = read("schedstat").split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        *all.entry(read("comm").trim().to_owned()).or_default() += ns;
    }
    all
}

struct Load {
    store: EmbeddedStore,
    boot: u64,
    users: u64,
    random: u64,
    offset: u64,
    conv: Duration,
    user: Duration,
    conv_max: Duration,
    user_max: Duration,
    busy: u64,
}

impl Load {
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn op(&mut self) -> ConvOp {
        self.offset += 1;
        // Half of the messages between few people; everybody writes to twenty others.
        let busy = self.users / 20 + 2;
        let range = if self.below(2) == 0 { busy } else { self.users };
        let from = self.below(range);
        let peer = (from + 1 + self.below(20)) % self.users;
        let (from, peer) = (from + 1, peer + 1);
        let mut body = vec![b'x'; BODY_BYTES];
        body[..8].copy_from_slice(&self.random.to_be_bytes());
        let change = Change::Message { op: 4, quiet: false, body: Bytes::from(body) };
        let (offset, ts_ms) = (self.offset, now_ms());
        let (conv, id, idem) = (Conv::direct(from, peer), offset << 22, self.random | 1);
        ConvOp { offset, conv, id, ts_ms, from, idem, hash: 1, expires_at_ms: 0, change }
    }

    fn patiently<T>(&mut self, mut step: impl FnMut(&Self) -> Result<T, StepError>) -> T {
        loop {
            match step(self) {
                Err(StepError::Busy) => {
                    self.busy += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                done => return done.unwrap(),
            }
        }
    }

    fn batch(&mut self, len: u64) {
        let ops: Vec<ConvOp> = (0..len).map(|_| self.op()).collect();
        let (prev, last, boot) = (ops[0].offset - 1, self.offset, self.boot);
        let step = Step { partition: 0, bucket: 0, boot, prev, last, items: ops };
        let began = Instant::now();
        let done = self.patiently(|load| now(load.store.conv(step.clone())));
        let took = began.elapsed();
        (self.conv, self.conv_max) = (self.conv + took, self.conv_max.max(took));
        let items = step.items.iter().zip(&done).flat_map(|(op, done)| items(op, &done.outcome)).collect();
        let step = Step { partition: 0, bucket: 0, boot, prev, last, items };
        let began = Instant::now();
        self.patiently(|load| now(load.store.user(step.clone(), false)));
        let took = began.elapsed();
        (self.user, self.user_max) = (self.user + took, self.user_max.max(took));
    }
}

fn items(op: &ConvOp, outcome: &ConvOutcome) -> Vec<UserItem> {
    let ConvOutcome::Row { pos, recipients: Recipients::Pair(lo, hi), .. } = outcome else { return Vec::new() };
    let entry = Arc::new(Entry {
        id: op.id,
        ts_ms: op.ts_ms,
        from: op.from,
        cid: op.idem,
        kind: 1,
        op: 4,
        flags: 0,
        conv: Some(op.conv),
        conv_pos: *pos,
        inline: None,
        expires_at_ms: 0,
    });
    let item = |mid| UserItem { offset: op.offset, mid, entry: Some(entry.clone()), effect: Effect::Has(op.conv) };
    if lo == hi { vec![item(*lo)] } else { vec![item(*lo), item(*hi)] }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, messages, rate, batch, users] = &arguments[..] else {
        println!("what it needs: FOLDER MESSAGES RATE BATCH USERS");
        return;
    };
    let number = |text: &str| text.parse::<u64>().unwrap();
    let (messages, rate, batch, users) = (number(messages), number(rate), number(batch).max(1), number(users).max(2));
    let config = EmbeddedConfig::new(PathBuf::from(folder), StoredConfig::default(), Arc::new(now_ms));
    let store = EmbeddedStore::open(config).unwrap();
    let boot = now(store.load(0)).unwrap().boot;
    let renewed = now(store.load(0)).unwrap().buckets.iter().map(|state| (state.bucket, now_ms())).collect();
    now(store.prepare(Prepare { partition: 0, boot, shown: 0, renewed })).unwrap();
    let zero = Duration::ZERO;
    let mut load =
        Load { store, boot, users, random: 1, offset: 0, conv: zero, user: zero, conv_max: zero, user_max: zero, busy: 0 };
    let before = cpu_by_thread();
    let began = Instant::now();
    while load.offset < messages {
        load.batch(batch);
        if let Some(due) = (load.offset * 1_000_000_000).checked_div(rate) {
            std::thread::sleep((began + Duration::from_nanos(due)).saturating_duration_since(Instant::now()));
        }
    }
    report(&load, messages, began.elapsed(), &before);
}

fn report(load: &Load, messages: u64, took: Duration, before: &BTreeMap<String, u64>) {
    let each = |duration: Duration| duration.as_nanos() as f64 / 1_000.0 / messages as f64;
    println!("{messages} messages in {:.1} s: {:.0}/s", took.as_secs_f64(), messages as f64 / took.as_secs_f64());
    println!("calls, µs a message: conv {:.2}, user {:.2}", each(load.conv), each(load.user));
    println!("slowest call, ms: conv {:.1}, user {:.1}; busy {}", ms(load.conv_max), ms(load.user_max), load.busy);
    let mut all = 0.0;
    for (name, ns) in cpu_by_thread() {
        let each = (ns - before.get(&name).copied().unwrap_or(0)) as f64 / 1_000.0 / messages as f64;
        all += each;
        println!("CPU, µs a message: {each:6.2} {name}");
    }
    println!("CPU, µs a message: {all:6.2} all, the generator too");
    println!("{:?}", load.store.counters());
    let bound = PageBound { messages_max: 100, bytes_max: 1 << 20 };
    let began = Instant::now();
    let mut read = 0;
    for mid in 1..=100 {
        let head = now(load.store.inbox(mid)).unwrap().head;
        read += now(load.store.sync(mid, head.saturating_sub(100), bound)).unwrap().unwrap().messages.len();
    }
    println!("pages: {:.2} µs a message ({read} messages)", began.elapsed().as_micros() as f64 / read.max(1) as f64);
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
