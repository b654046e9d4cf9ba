//! Hooks over a real log, against a server that behaves badly.
#![allow(clippy::unwrap_used)]

#[path = "support/receiver.rs"]
mod receiver;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use perseid_hooks::{HookConfig, HookMetrics, HookSnapshot, Hooks, Prepared, Secrets, sign};
use perseid_log::{EmbeddedConfig, EmbeddedLog, EventLog, Offset, Topic};
use perseid_outbound::TargetPolicy;
use perseid_rpc::{Event, EventKind, Events};
use prost::Message;
use receiver::{Got, Receiver, Reply};
use serde_json::Value;
use tokio::sync::watch;

const SECRET: &str = "0123456789abcdef";

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn config(urls: &[String]) -> HookConfig {
    HookConfig {
        urls: urls.to_vec(),
        events: EventKind::PUBLIC.to_vec(),
        batch_events: 10,
        batch_bytes: 64 << 10,
        linger_ms: 1,
        deadline_ms: 5_000,
        retry_ms_max: 20,
        refusals_max: 3,
        keep_ms: 3_600_000,
        targets: TargetPolicy::for_node(&[], true),
        ca_file: None,
    }
}

/// A log, and hooks that read it.
struct World {
    log: Arc<dyn EventLog>,
    newest: watch::Sender<Offset>,
    hooks: Option<Hooks>,
    metrics: Vec<Arc<HookMetrics>>,
    next_id: AtomicU64,
}

fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 64 << 10, value_bytes_max: 32 << 10, zero_ahead_bytes: 0, ..EmbeddedConfig::default() }
}

impl World {
    fn start(dir: &Path, config: HookConfig) -> Self {
        Self::over(EmbeddedLog::open(dir, small()).unwrap(), config)
    }

    fn over(log: EmbeddedLog, config: HookConfig) -> Self {
        let log: Arc<dyn EventLog> = Arc::new(log);
        let secrets = Secrets::parse(SECRET).unwrap();
        let prepared = Prepared::new(config, secrets, &log, Arc::new(now_ms)).unwrap();
        let metrics = prepared.metrics();
        let newest = watch::Sender::new(log.status().end);
        let hooks = Some(prepared.start(&newest.subscribe()).unwrap());
        Self { log, newest, hooks, metrics, next_id: AtomicU64::new(1) }
    }

    fn append(&self, topic: Topic, value: Vec<u8>) {
        let (tell, told) = channel();
        self.log.append(topic, b"", Bytes::from(value), Box::new(move |result| tell.send(result).unwrap()));
        let offset = told.recv().unwrap().unwrap();
        if topic == Topic::Events {
            self.newest.send_replace(offset);
        }
    }

    fn event(&self, body: &str, ts_ms: u64) -> u64 {
        let id = self.next_id.fetch_add(1, SeqCst);
        let body = Bytes::copy_from_slice(body.as_bytes());
        let event = Event { id, kind: EventKind::Upstream.into(), ts_ms, body, mid: 7, ..Event::default() };
        self.append(Topic::Events, Events { events: vec![event] }.encode_to_vec());
        id
    }

    fn events(&self, count: usize) {
        for _ in 0..count {
            self.event("x", now_ms());
        }
    }

    /// What is counted; of reasons those that occurred.
    fn counted(&self) -> HookSnapshot {
        let mut counted = self.metrics[0].snapshot(now_ms());
        counted.failed.retain(|(_, count)| *count > 0);
        counted.dropped.retain(|(_, count)| *count > 0);
        counted
    }

    /// Ends the process, as far as hooks can see.
    fn end(mut self) {
        drop(self.hooks.take());
        self.log.close();
    }
}

fn ids(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["id"].as_str().unwrap().parse().unwrap()).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn in_order_in_batches_signed_and_once_where_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Receiver::taking(), Receiver::taking());
    let world = World::start(dir.path(), config(&[one.url(), other.url()]));
    for number in 0..100 {
        world.append(Topic::Push, vec![0; 100]);
        world.event(&format!("{number}"), now_ms());
    }
    for receiver in [&one, &other] {
        let events = receiver.wait_events(100);
        assert_eq!(ids(&events), (1..=100).collect::<Vec<_>>());
        assert_eq!(
            (&events[0]["type"], &events[0]["mid"], &events[0]["body_base64"]),
            (&"upstream".into(), &7.into(), &"MA==".into())
        );
        let got = receiver.got();
        assert_eq!(got.iter().map(|got| got.events().len()).sum::<usize>(), 100, "nothing twice");
        for Got { path, signature, body, .. } in &got {
            let time_s: u64 = signature[2..].split(',').next().unwrap().parse().unwrap();
            assert!(now_ms() / 1000 - time_s < 60 && path == "/hook");
            assert_eq!(*signature, sign(&Secrets::parse(SECRET).unwrap(), time_s, body.as_bytes()));
            assert!(serde_json::from_str::<Value>(body).unwrap()["events"].as_array().unwrap().len() <= 10);
        }
    }
    until("counted", || world.counted().delivered == 100);
    let counted = world.counted();
    assert_eq!((counted.failed.len(), counted.dropped.len(), counted.retried, counted.lag_ms), (0, 0, 0, 0));
    // Other secrets from now on.
    world.hooks.as_ref().unwrap().reload(Secrets::parse("another-secret-of-ours\nand-yet-another-one").unwrap());
    world.event("new", now_ms());
    let got = one.wait("the new one", |got| got.last().unwrap().body.contains("bmV3"));
    assert_eq!(got.last().unwrap().signature.matches("v1=").count(), 2);
    world.end();
}

#[test]
fn a_receiver_that_is_down_gets_everything_later_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let addr = Receiver::taking().addr;
    let url = format!("http://{addr}/hook");
    let world = World::start(dir.path(), config(std::slice::from_ref(&url)));
    world.events(25);
    until("some tries", || world.counted().retried > 8);
    let counted = world.counted();
    assert!(counted.breaker_open && counted.delivered == 0 && counted.failed[0].0 == "connect", "{counted:?}");
    world.events(25);
    world.end();

    let world = World::start(dir.path(), config(&[url]));
    world.next_id.store(51, SeqCst);
    world.events(10);
    let receiver = Receiver::start_at(addr, |_| Reply::Status(204));
    assert_eq!(ids(&receiver.wait_events(60)), (1..=60).collect::<Vec<_>>());
    until("closed again", || !world.counted().breaker_open && world.counted().lag_records == 0);
    world.end();
}

#[test]
fn what_a_receiver_may_do_wrong_and_nothing_is_lost() {
    let elsewhere = Receiver::taking();
    let there = elsewhere.url();
    for (reply, reason) in [
        (Reply::Status(500), "server_error"),
        (Reply::Status(503), "server_error"),
        (Reply::Status(429), "rate_limited"),
        (Reply::Status(408), "client_error"),
        (Reply::Status(401), "forbidden"),
        (Reply::Status(404), "not_found"),
        (Reply::Redirect(there), "redirect"),
        (Reply::Redirect("http://169.254.169.254/latest".to_owned()), "redirect"),
        (Reply::Hang, "deadline"),
        (Reply::Close, "broken"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bad = reply.clone();
        let receiver = Receiver::start(move |_| bad.clone());
        let deadline_ms = if matches!(reply, Reply::Hang) { 100 } else { 10_000 };
        let world = World::start(dir.path(), HookConfig { deadline_ms, ..config(&[receiver.url()]) });
        world.events(12);
        until(&format!("three failures of {reply:?}"), || {
            world.counted().failed.iter().any(|(word, count)| *word == reason && *count >= 3)
        });
        assert_eq!(world.counted().delivered, 0);
        receiver.set(|_| Reply::Status(200));
        assert_eq!(ids(&receiver.wait_events(12)), (1..=12).collect::<Vec<_>>(), "{reply:?}");
        until("counted", || world.counted().delivered == 12);
        assert!(world.counted().dropped.is_empty());
        world.end();
    }
    assert!(elsewhere.got().is_empty(), "a redirect is not followed");
}

#[test]
fn an_answer_of_10_megabytes_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Reply::Long(10 << 20));
    let world = World::start(dir.path(), config(&[receiver.url()]));
    world.events(30);
    assert_eq!(ids(&receiver.wait_events(30)), (1..=30).collect::<Vec<_>>());
    until("counted", || world.counted().delivered == 30);
    world.end();
}

#[test]
fn a_poisonous_event_is_found_and_given_up_and_its_neighbours_are_not() {
    let dir = tempfile::tempdir().unwrap();
    // "poison" in base64.
    let receiver = Receiver::start(|got| Reply::Status(if got.body.contains("cG9pc29u") { 422 } else { 200 }));
    let world = World::start(dir.path(), config(&[receiver.url()]));
    let poisons: Vec<u64> = (0..40)
        .filter_map(|number| {
            let poison = matches!(number, 7 | 8 | 30);
            let id = world.event(if poison { "poison" } else { "fine" }, now_ms());
            poison.then_some(id)
        })
        .collect();
    let events = ids(&receiver.wait_events(37));
    assert_eq!(events, (1..=40).filter(|id| !poisons.contains(id)).collect::<Vec<_>>());
    until("given up", || world.counted().dropped == [("refused", 3)]);
    let alone = |id: u64| receiver.got().iter().filter(|got| ids(&got.events()) == [id]).count();
    assert!(poisons.iter().all(|id| alone(*id) == 3), "each was tried as often as it should");
    until("passed", || world.counted().lag_records == 0);
    world.end();
}

#[test]
fn what_is_too_old_is_given_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::taking();
    let world = World::start(dir.path(), HookConfig { keep_ms: 60_000, ..config(&[receiver.url()]) });
    world.event("old", now_ms() - 61_000);
    let new = world.event("new", now_ms());
    assert_eq!(ids(&receiver.wait_events(1)), [new]);
    assert_eq!(world.counted().dropped, [("expired", 1)]);
    world.end();
}

#[test]
fn what_the_log_deleted_is_counted_and_the_rest_comes() {
    let dir = tempfile::tempdir().unwrap();
    let addr = Receiver::taking().addr;
    let url = format!("http://{addr}/hook");
    let bounds = EmbeddedConfig { retention_bytes: 64 << 10, cursor_bytes_max: 256 << 10, ..small() };
    let world = World::over(EmbeddedLog::open(dir.path(), bounds.clone()).unwrap(), config(std::slice::from_ref(&url)));
    world.events(5);
    world.end();
    // Nobody delivers now, and the cursor is not open: it holds nothing.
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(dir.path(), bounds.clone()).unwrap());
    let (tell, told) = channel();
    for _ in 0..100 {
        let tell = tell.clone();
        log.append(Topic::Push, b"", Bytes::from(vec![0; 8 << 10]), Box::new(move |result| tell.send(result).unwrap()));
    }
    for _ in 0..100 {
        told.recv().unwrap().unwrap();
    }
    until("retention", || log.status().first > 6);
    log.close();
    drop(log);

    let receiver = Receiver::start_at(addr, |_| Reply::Status(200));
    let world = World::over(EmbeddedLog::open(dir.path(), bounds).unwrap(), config(&[url]));
    world.next_id.store(100, SeqCst);
    world.events(1);
    assert_eq!(ids(&receiver.wait_events(1)), [100]);
    let dropped = world.counted().dropped;
    assert!(dropped[0].0 == "deleted" && dropped[0].1 >= 5, "{dropped:?}");
    world.end();
}

/// The log keeps for a webhook that is behind what it would delete otherwise.
#[test]
fn an_open_place_holds_the_log_within_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let addr = Receiver::taking().addr;
    let bounds = EmbeddedConfig { retention_bytes: 64 << 10, cursor_bytes_max: 64 << 20, ..small() };
    let log = EmbeddedLog::open(dir.path(), bounds).unwrap();
    let world = World::over(log, config(&[format!("http://{addr}/hook")]));
    world.events(5);
    for _ in 0..100 {
        world.append(Topic::Push, vec![0; 8 << 10]);
    }
    assert_eq!(world.log.status().first, 1);
    let receiver = Receiver::start_at(addr, |_| Reply::Status(200));
    assert_eq!(ids(&receiver.wait_events(5)), [1, 2, 3, 4, 5]);
    world.end();
}

#[test]
fn the_end_waits_for_the_last_events_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::taking();
    let mut world = World::start(dir.path(), HookConfig { linger_ms: 60_000, ..config(&[receiver.url()]) });
    world.events(3);
    world.hooks.take().unwrap().finish(Duration::from_secs(30));
    assert_eq!(receiver.events().len(), 3);
    world.end();

    receiver.set(|_| Reply::Hang);
    let mut world = World::start(dir.path(), HookConfig { deadline_ms: 60_000, ..config(&[receiver.url()]) });
    world.events(3);
    receiver.wait("a request that hangs", |_| world.counted().requests > 0);
    let started = Instant::now();
    world.hooks.take().unwrap().finish(Duration::from_millis(50));
    assert!(started.elapsed() < Duration::from_secs(30), "it would hang for a minute");
    world.end();
}
