//! What needs the store's disk while that hangs: it holds up nobody else, neither the session's own heartbeats nor others.
//!
//! The server runs in this process, on one worker, so that a test decides when a read of the disk goes on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[path = "stored/person.rs"]
mod person;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use perseid::config::{self, Sources};
use perseid::standalone::{Disks, Standalone};
use perseid::telemetry::{self, LogLevel};
use perseid_store::stored::DiskUse;
use person::{Person, SEND, SYNC};
use serde_json::json;
use support::frame::{self, Extended};
use support::{Serves, Transport, until};
use tokio::runtime::Runtime;

const ANN: u64 = 1;
const BOB: u64 = 2;
const CYD: u64 = 3;
const DAN: u64 = 4;
/// Nobody has written to him.
const EVE: u64 = 9;

/// What every read of the disk passes.
#[derive(Default)]
struct Gate {
    state: Mutex<Passing>,
    changed: Condvar,
}

#[derive(Default)]
struct Passing {
    is_closed: bool,
    /// Reads that came since it was closed.
    came: usize,
    /// The names of the threads that read since somebody came in.
    threads: Vec<String>,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.came += 1;
        state.threads.push(std::thread::current().name().unwrap_or_default().to_owned());
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.is_closed).unwrap());
    }

    fn close(&self) {
        let mut state = self.state.lock().unwrap();
        (state.is_closed, state.came) = (true, 0);
    }

    fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
        self.changed.notify_all();
    }

    /// Waits until so many reads hang.
    fn hang(&self, reads: usize) {
        until("the reads hang", || (self.state.lock().unwrap().came >= reads).then_some(()));
    }
}

/// A standalone in this process.
struct World {
    runtime: Runtime,
    standalone: Standalone,
    gate: Arc<Gate>,
    tcp: SocketAddr,
}

impl Serves for World {
    fn addr(&self, _: Transport) -> SocketAddr {
        self.tcp
    }
}

fn level() -> LogLevel {
    static LEVEL: OnceLock<LogLevel> = OnceLock::new();
    LEVEL.get_or_init(|| telemetry::init(&config::load(&Sources::default()).unwrap().settings.telemetry).unwrap()).clone()
}

impl World {
    fn start(data: &Path) -> Self {
        let options =
            ["--tcp", "--ws", "--http", "--comet-grpc", "--logic-grpc"].map(|name| (name, vec!["127.0.0.1:0".to_owned()]));
        let data_dir = format!("node.data_dir={}", data.display());
        let set = vec![data_dir, "comet.workers=1".to_owned(), "node.shutdown_ms=5000".to_owned()];
        let sources = Sources { set, options: options.to_vec(), ..Sources::default() };
        let settings = config::load(&sources).unwrap().settings;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let gate = Arc::new(Gate::default());
        let passed = gate.clone();
        let store = move |what| {
            if what == DiskUse::Read {
                passed.pass();
            }
            Ok(())
        };
        let disks = Disks { store: Arc::new(store), ..Disks::default() };
        let standalone = runtime.block_on(async { Standalone::start_on(settings, level(), &disks) }).unwrap();
        gate.state.lock().unwrap().threads.clear();
        let tcp = standalone.parts().comet.tcp()[0];
        Self { runtime, standalone, gate, tcp }
    }

    fn stop(self) {
        self.runtime.block_on(self.standalone.shut_down());
    }

    /// A user who has not read anything.
    fn enter(&self, mid: u64) -> Person {
        Person::enter_with(self, Transport::Tcp, mid, json!({}))
    }

    /// A user who is live.
    fn live(&self, mid: u64) -> Person {
        let mut person = self.enter(mid);
        person.sync_all();
        person
    }

    fn sessions(&self) -> u64 {
        self.standalone.parts().comet.sessions()
    }

    /// A server whose disk has messages for Dan, and whose memory has nothing but what Ann and Bob need to talk.
    fn cold(data: &Path) -> (Self, Person, Person) {
        let before = Self::start(data);
        let mut ann = before.live(ANN);
        for cid in 1..=3 {
            ann.send(1, DAN, cid, &format!("for dan {cid}"));
        }
        let mut bob = before.live(BOB);
        ann.send(1, BOB, 1, "before");
        pushed(&mut bob, "before");
        drop((ann, bob));
        before.stop();
        let world = Self::start(data);
        let (mut ann, mut bob) = (world.live(ANN), world.live(BOB));
        for (cid, body) in [(2, "so that it is"), (3, "in memory")] {
            talk(&mut ann, &mut bob, cid, body);
        }
        (world, ann, bob)
    }

    /// Neither a worker nor the log waited for the disk.
    fn assert_nobody_waited(&self) {
        let state = self.gate.state.lock().unwrap();
        let may_wait = |name: &String| name.starts_with("store-read") || name == "inbox";
        assert!(state.threads.iter().all(may_wait), "{:?}", state.threads);
    }
}

fn pushed(person: &mut Person, body: &str) {
    person.pushed_where(body, |frame| frame.body == body.as_bytes());
}

/// A message is acknowledged, and arrives on both sides.
fn talk(from: &mut Person, to: &mut Person, cid: u64, body: &str) {
    from.send(1, to.mid, cid, body);
    pushed(to, body);
    pushed(from, body);
}

fn beat(person: &mut Person) {
    let seq = person.begin(frame::HEARTBEAT, Extended::default(), b"");
    let reply = person.client.next();
    assert_eq!((reply.op, reply.seq), (frame::HEARTBEAT + 1, seq), "a heartbeat is answered at once");
}

#[test]
fn a_read_that_hangs_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut ann, mut bob) = World::cold(dir.path());
    let (mut cyd, mut dan) = (world.live(CYD), world.enter(DAN));
    world.gate.close();
    let page = dan.begin(SYNC, Extended::default(), b"");
    world.gate.hang(1);
    let to_eve = |cid| Extended { kind: 1, conv: EVE, cid, ..Extended::default() };
    let sent: Vec<i32> = (1..=5).map(|cid| cyd.begin(SEND, to_eve(cid), cid.to_string().as_bytes())).collect();
    world.gate.hang(2);
    for cid in 10..20 {
        beat(&mut dan);
        beat(&mut cyd);
        talk(&mut ann, &mut bob, cid, &format!("meanwhile {cid}"));
    }
    world.gate.open();
    let rows = frame::all(&dan.answer(page).body);
    let bodies: Vec<&[u8]> = rows.iter().map(|row| &row.body[..]).collect();
    assert_eq!(bodies, [b"for dan 1", b"for dan 2", b"for dan 3"]);
    // Answered in the order in which they were sent, and written in it.
    let mut answers = Vec::new();
    while answers.len() < sent.len() {
        let frame = cyd.client.next();
        if frame.op == SEND + 1 {
            answers.push(frame.seq);
        }
    }
    assert_eq!(answers, sent);
    let (_, rows) = until("all of them show", || Some(cyd.pull(1, EVE, 0, 0, 100)).filter(|(_, rows)| rows.len() == sent.len()));
    let bodies: Vec<&[u8]> = rows.iter().map(|row| &row.body[..]).collect();
    assert_eq!(bodies, [b"1", b"2", b"3", b"4", b"5"]);
    world.assert_nobody_waited();
    drop((ann, bob, cyd, dan));
    world.stop();
}

#[test]
fn what_is_refused_for_good_takes_nothing_behind_it_along() {
    let dir = tempfile::tempdir().unwrap();
    let (world, ann, bob) = World::cold(dir.path());
    let mut cyd = world.live(CYD);
    world.gate.close();
    let to_strangers = Extended { kind: 2, conv: 5, cid: 1, ..Extended::default() };
    let refused = cyd.begin(SEND, to_strangers, b"who are you");
    world.gate.hang(1);
    let to_eve = |cid| Extended { kind: 1, conv: EVE, cid, ..Extended::default() };
    let sent: Vec<i32> = (1..=3).map(|cid| cyd.begin(SEND, to_eve(cid), b"hello")).collect();
    beat(&mut cyd);
    world.gate.open();
    assert_eq!(cyd.answer(refused).json()["reason"], "NOT_MEMBER");
    for seq in sent {
        assert_eq!(cyd.answer(seq).op, SEND + 1);
    }
    drop((ann, bob, cyd));
    world.stop();
}

#[test]
fn a_session_that_leaves_while_it_waits_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut ann, mut bob) = World::cold(dir.path());
    let mut dan = world.enter(DAN);
    let sessions = world.sessions();
    world.gate.close();
    dan.begin(SYNC, Extended::default(), b"");
    world.gate.hang(1);
    drop(dan);
    until("it has left", || (world.sessions() < sessions).then_some(()));
    talk(&mut ann, &mut bob, 10, "still there");
    world.gate.open();
    talk(&mut ann, &mut bob, 11, "and now");
    assert_eq!(world.live(DAN).sync_all().len(), 3);
    world.assert_nobody_waited();
    drop((ann, bob));
    world.stop();
}

#[test]
fn a_server_leaves_while_a_read_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut ann, mut bob) = World::cold(dir.path());
    let mut dan = world.enter(DAN);
    world.gate.close();
    dan.begin(SYNC, Extended::default(), b"");
    world.gate.hang(1);
    talk(&mut ann, &mut bob, 10, "the last");
    let gate = world.gate.clone();
    drop((ann, bob));
    world.stop();
    gate.open();
    drop(dan);
    let again = until("the store is free", || std::panic::catch_unwind(|| World::start(dir.path())).ok());
    let bodies: Vec<_> = again.live(BOB).sync_all().into_iter().map(|row| row.body).collect();
    assert_eq!(bodies.last().map(Vec::as_slice), Some(&b"the last"[..]));
    assert_eq!(again.live(DAN).sync_all().len(), 3);
    again.stop();
}
