//! The job of stored messages between a real log and a store in memory: on the log's thread, on its own one, and behind.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // helpers of tests

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use perseid_job::inbox::{CatchUpError, Inbox, InboxJob, InboxMetrics, Ports, RoomKeep};
use perseid_job::{Lane, Lanes, Metrics};
use perseid_log::{EmbeddedConfig, EmbeddedLog, EventLog, Topic};
use perseid_protocol::operation::op;
use perseid_protocol::push::Target;
use perseid_rpc::log_record::Body;
use perseid_rpc::{DirectMessage, GroupChange, GroupChangeKind, GroupMessage, LogRecord, RoomMessage};
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{Reserve, Reserved};
use perseid_store::stored::testing::{Call, Fate};
use perseid_store::stored::{MemoryConfig, MemoryStore, Store, StoredConfig};
use support::{Hands, Kept, Online, addr};

/// No test waits longer for something that has to come.
const HANG: Duration = Duration::from_secs(30);

struct World {
    dir: tempfile::TempDir,
    log: EmbeddedLog,
    store: Arc<MemoryStore>,
    lane: Arc<Kept>,
    hands: Hands,
    metrics: Arc<InboxMetrics>,
    woken: Arc<AtomicU64>,
    next_id: AtomicU64,
}

fn memory_store() -> Arc<MemoryStore> {
    let (stored, clock) = (StoredConfig::default(), Arc::new(|| 5));
    Arc::new(MemoryStore::new(MemoryConfig { conv_buckets: 1, user_buckets: 1, boot: 1, stored, clock }))
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), small()).unwrap();
        let (metrics, woken) = (Arc::default(), Arc::default());
        let hands = Hands::at(1_000);
        Self { dir, log, store: memory_store(), lane: Kept::new(0), hands, metrics, woken, next_id: AtomicU64::new(1) }
    }

    fn ports(&self) -> Ports {
        let online = Online::of(&[("a", 1, addr(0, 1)), ("b", 2, addr(0, 2)), ("b'", 2, addr(0, 3))]);
        let lanes = Lanes::from(vec![Arc::clone(&self.lane) as Arc<dyn Lane>]);
        let woken = Arc::clone(&self.woken);
        Ports {
            inbox_metrics: Arc::clone(&self.metrics),
            wake: Arc::new(move || _ = woken.fetch_add(1, SeqCst)),
            ..Ports::new(self.store.clone(), online, lanes, Arc::new(Metrics::default()), self.hands.clock())
        }
    }

    fn catch_up(&self) -> Result<Inbox, CatchUpError> {
        Inbox::catch_up(Arc::new(self.log.clone()), self.ports(), RoomKeep::new([("live".into(), 3)]))
    }

    /// A job that runs, and is idle.
    fn start(&self) -> InboxJob {
        let job = self.catch_up().unwrap().start().unwrap();
        // The own thread looks once whether something came before it was told of it.
        self.settle();
        job
    }

    fn record(&self, from: u64, body: Body) -> LogRecord {
        let id = self.next_id.fetch_add(1, SeqCst);
        LogRecord { id, ts_ms: 1_000, from, idem: id, hash: 1, body: Some(body), ..LogRecord::default() }
    }

    fn direct(&self, from: u64, peer: u64) -> LogRecord {
        self.record(from, Body::Direct(DirectMessage { peer, body: "hi".into(), quiet: false }))
    }

    /// Appends, and waits for the answer.
    fn append(&self, value: Bytes) -> u64 {
        let (sender, receiver) = channel();
        self.log.append(Topic::Log, b"k", value, Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv_timeout(HANG).unwrap().unwrap()
    }

    fn send(&self, from: u64, peer: u64) -> u64 {
        self.append(self.direct(from, peer).to_value())
    }

    /// Waits until all that the log has is applied.
    fn settle(&self) {
        wait_for("everything is applied", || self.metrics.snapshot().offset >= self.log.status().end);
    }

    /// (slot, position, id or head) of each delivery to an inbox.
    fn delivered(&self) -> Vec<(u32, u64, u64)> {
        let shown = self.lane.all().into_iter().filter_map(|delivery| match delivery.target {
            Target::Inbox { session, pos, .. } => Some((session.slot, pos, delivery.push.id)),
            _ => None,
        });
        shown.collect()
    }

    /// Waits for so many deliveries to inboxes.
    fn wait_delivered(&self, count: usize) -> Vec<(u32, u64, u64)> {
        wait_for("deliveries", || self.delivered().len() >= count);
        self.delivered()
    }
}

fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 4 << 20, zero_ahead_bytes: 1 << 20, ..EmbeddedConfig::default() }
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < until, "{what} did not come");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_warm_is_handed_over_with_the_answers() {
    let world = World::new();
    let _job = world.start();
    world.send(1, 2);
    assert_eq!(world.wait_delivered(3), [(1, 1, 1), (2, 1, 1), (3, 1, 1)], "the first one of a chat goes to the own thread");
    wait_for("it is idle", || world.metrics.snapshot().cold == 1);
    let lane = Arc::clone(&world.lane);
    let (sender, receiver) = channel();
    // Nothing but the own thread is to be waited for: from here on it is idle.
    wait_for("the log's thread applies", || {
        world.send(2, 1);
        world.metrics.snapshot().inline > 0
    });
    let before = 3 * (world.next_id.load(SeqCst) as usize - 1);
    world.wait_delivered(before);
    let woken = world.woken.load(SeqCst);
    let value = world.direct(1, 2).to_value();
    let at_answer = Box::new(move |_: Result<u64, _>| sender.send(lane.all().len()).unwrap());
    world.log.append(Topic::Log, b"k", value, at_answer);
    let at_answer = receiver.recv_timeout(HANG).unwrap();
    world.wait_delivered(before + 3);
    assert!(at_answer < before + 3, "the answer is written before its echo");
    wait_for("comets are woken", || world.woken.load(SeqCst) > woken);
}

#[test]
fn what_is_cold_keeps_its_order() {
    let world = World::new();
    let _job = world.start();
    let (first, count) = (world.next_id.load(SeqCst), 200);
    for index in 0..count {
        // Always another chat, and one that is known: on the log's thread or on the own one, as it comes.
        let value = if index % 2 == 0 { world.direct(2, 2) } else { world.direct(100 + index, 2) }.to_value();
        world.log.append(Topic::Log, b"k", value, Box::new(|_| ()));
    }
    let delivered = world.wait_delivered(2 * count as usize);
    let of_2: Vec<_> = delivered.iter().filter(|(slot, ..)| *slot == 2).map(|(_, pos, id)| (*pos, *id)).collect();
    let wanted: Vec<_> = (0..count).map(|index| (index + 1, first + index)).collect();
    assert_eq!(of_2, wanted);
}

#[test]
fn a_store_that_is_down_delays_and_loses_nothing() {
    let world = World::new();
    let _job = world.start();
    let down = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&down);
    world.store.set_faults(move |_| if fails.load(SeqCst) { Fate::Fail } else { Fate::Work });
    for _ in 0..20 {
        world.send(1, 2);
    }
    wait_for("it tries again", || world.metrics.snapshot().retries > 1);
    assert_eq!(world.delivered(), [], "and every append was answered");
    down.store(false, SeqCst);
    let delivered = world.wait_delivered(60);
    assert!(delivered.iter().map(|(_, pos, _)| *pos).is_sorted());
    assert_eq!(world.metrics.snapshot().lag_records(), 0);
}

#[test]
fn what_does_not_fit_the_queue_is_read_from_the_log() {
    let world = World::new();
    let _job = world.start();
    let down = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&down);
    world.store.set_faults(move |_| if fails.load(SeqCst) { Fate::Fail } else { Fate::Work });
    let count = 400;
    let body = Bytes::from(vec![b'x'; 60 << 10]);
    for _ in 0..count {
        world.append(world.record(1, Body::Direct(DirectMessage { peer: 1, body: body.clone(), quiet: false })).to_value());
    }
    wait_for("the queue is full", || world.metrics.snapshot().overflows > 0);
    down.store(false, SeqCst);
    world.settle();
    let positions: Vec<_> = world.wait_delivered(count).into_iter().map(|(_, pos, _)| pos).collect();
    assert_eq!(positions, (1..=count as u64).collect::<Vec<_>>());
    // And it comes back to the log's thread.
    let inline = world.metrics.snapshot().inline;
    wait_for("the log's thread applies again", || {
        world.send(1, 1);
        world.metrics.snapshot().inline > inline
    });
}

#[test]
fn the_start_applies_everything_and_tells_nobody() {
    let world = World::new();
    for _ in 0..600 {
        world.log.append(Topic::Log, b"k", world.direct(1, 2).to_value(), Box::new(|_| ()));
    }
    world.append(Bytes::from_static(b"no record"));
    // What comes last concerns no conversation: the guards go up to it all the same.
    world.log.append(Topic::Push, b"k", Bytes::new(), Box::new(|_| ()));
    wait_for("the log has it", || world.log.status().end == 602);
    world.catch_up().unwrap();
    assert_eq!(world.lane.all(), []);
    let view = world.store.inbox(2).now().unwrap().unwrap();
    assert_eq!((view.head, world.metrics.snapshot().dead, world.metrics.snapshot().offset), (600, 1, 602));
    let reserve = Reserve { conv: Conv::direct(1, 2), from: 1, idem: 1, hash: 1, id: 9_999, hold: true, now_ms: 1_000 };
    let reserved = world.store.reserve(reserve).now().unwrap().unwrap();
    assert!(matches!(reserved, Reserved::Duplicate { id: 1, .. }), "{reserved:?}");
}

#[test]
fn a_store_of_another_log_stops_the_start() {
    let world = World::new();
    world.send(1, 2);
    world.send(1, 2);
    drop(world.catch_up().unwrap());
    let other = World { store: world.store.clone(), ..World::new() };
    let error = other.catch_up().err().unwrap();
    assert!(matches!(error, CatchUpError::Stopped(_)), "{error}");
    assert!(error.to_string().contains("remove the store"), "{error}");
}

#[test]
fn a_job_goes_on_where_the_last_one_stopped() {
    let world = World::new();
    let mut job = world.start();
    world.send(1, 2);
    world.wait_delivered(3);
    job.stop();
    let between = world.send(1, 2);
    world.log.close();
    let log = EmbeddedLog::open(world.dir.path(), small()).unwrap();
    let again = World { log, store: world.store.clone(), ..World::new() };
    let _job = again.start();
    assert_eq!(again.lane.all(), [], "who was not online then sees it when he comes");
    assert_eq!(again.store.inbox(2).now().unwrap().unwrap().head, 2);
    assert_eq!(again.send(2, 2), between + 1);
    again.wait_delivered(2);
}

#[test]
fn members_of_a_channel_get_hints() {
    let world = World::new();
    let _job = world.start();
    let put = GroupChange { group: 7, channel: true, add: vec![1, 2, 3], ..GroupChange::default() };
    world.append(world.record(0, Body::Change(put)).to_value());
    let hint = |delivery: &perseid_protocol::push::Delivery| (delivery.push.op, delivery.push.conv_pos, delivery.push.conv);
    wait_for("the first hint", || world.lane.all().len() >= 3);
    assert!(world.lane.all().iter().all(|delivery| hint(delivery) == (op::HEAD, 1, 7)));
    for _ in 0..3 {
        let message = GroupMessage { group: 7, body: "news".into(), ..GroupMessage::default() };
        world.append(world.record(1, Body::Group(message)).to_value());
    }
    world.settle();
    assert_eq!(world.lane.all().len(), 3, "not more than one a second");
    world.hands.put(3_000);
    wait_for("the last hint", || {
        // Its clock stands still, so it has to be made to look.
        world.send(50, 51);
        world.lane.all().len() >= 6
    });
    assert_eq!(world.lane.all()[3..].iter().map(hint).collect::<Vec<_>>(), [(op::HEAD, 4, 7); 3]);
}

#[test]
fn changes_of_large_groups_are_not_for_the_logs_thread() {
    let world = World::new();
    let _job = world.start();
    let change = |group, kind: GroupChangeKind, channel, add: Vec<u64>| GroupChange {
        group,
        kind: kind.into(),
        channel,
        add,
        ..GroupChange::default()
    };
    let (group, channel) = (7, 8);
    let put = |channel_too, to, members| change(to, GroupChangeKind::Put, channel_too, members);
    for put in [put(false, group, vec![1, 2]), put(true, channel, (1..300).collect())] {
        world.append(world.record(0, Body::Change(put)).to_value());
    }
    // Nobody of them is there.
    let many = GroupChange { remove: (1_000..1_300).collect(), ..change(group, GroupChangeKind::Members, false, vec![]) };
    let changes = [
        (change(group, GroupChangeKind::Members, false, vec![3]), false),
        (many, true),
        (put(false, group, vec![1]), false),
        (change(group, GroupChangeKind::Delete, false, vec![]), false),
        (change(channel, GroupChangeKind::Members, false, vec![1_000]), false),
        (change(channel, GroupChangeKind::Convert, false, vec![]), true),
        (put(true, channel, vec![1]), true),
        (put(true, channel, (1..300).collect()), true),
        (change(channel, GroupChangeKind::Delete, false, vec![]), true),
    ];
    for (change, is_large) in changes {
        // Whatever was cold is warm, and the own thread is idle.
        let inline = world.metrics.snapshot().inline;
        wait_for("the log's thread applies", || {
            let message = GroupMessage { group: change.group, body: "so".into(), ..GroupMessage::default() };
            world.append(world.record(1, Body::Group(message)).to_value());
            world.metrics.snapshot().inline > inline
        });
        let threads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&threads);
        world.store.set_faults(move |call| {
            if call == Call::Conv {
                seen.lock().unwrap().push(thread::current().name().unwrap_or_default().to_owned());
            }
            Fate::Work
        });
        world.append(world.record(0, Body::Change(change.clone())).to_value());
        world.settle();
        assert_eq!(*threads.lock().unwrap() == ["inbox"], is_large, "{change:?} on {threads:?}");
    }
}

#[test]
fn a_room_gets_its_frames_with_positions_until_they_expire() {
    let world = World::new();
    let _job = world.start();
    for expire_at_ms in [0, 999, 1_001] {
        let message = RoomMessage { room: "live://1".into(), op: 1_000, body: "r".into(), expire_at_ms };
        world.append(world.record(0, Body::Room(message)).to_value());
    }
    wait_for("two frames", || world.lane.all().len() >= 2);
    world.settle();
    let frames: Vec<_> = world.lane.all().into_iter().map(|delivery| (delivery.target, delivery.push.pos)).collect();
    let room = || Target::Room("live://1".into());
    assert_eq!(frames, [(room(), 1 << 20), (room(), (1 << 20) + 2)]);
}

/// Everything at once, from several threads: each user's positions come in their order, without a hole.
#[test]
fn under_load_every_position_comes_once() {
    let world = World::new();
    let _job = world.start();
    let calls = Mutex::new(0_u64);
    world.store.set_faults(move |_| {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        if calls.is_multiple_of(50) { Fate::LoseAnswer } else { Fate::Work }
    });
    thread::scope(|scope| {
        for sender in 1..=2 {
            let world = &world;
            scope.spawn(move || {
                for peer in 0..400 {
                    let value = world.direct(sender, 1 + (peer % 7)).to_value();
                    world.log.append(Topic::Log, b"k", value, Box::new(|_| ()));
                }
            });
        }
    });
    wait_for("the log has all", || world.log.status().end == 800);
    world.settle();
    let head = world.store.inbox(2).now().unwrap().unwrap().head;
    wait_for("the last one", || world.delivered().iter().any(|(slot, pos, _)| (*slot, *pos) == (2, head)));
    // Answers that were lost make hints of frames: of those the last position counts.
    let frames = world.lane.all().into_iter().filter(|delivery| delivery.push.op != op::HEAD);
    let positions: Vec<_> = frames
        .filter_map(|delivery| match delivery.target {
            Target::Inbox { session, pos, .. } if session.slot == 2 => Some(pos),
            _ => None,
        })
        .collect();
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
}
