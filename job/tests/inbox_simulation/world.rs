//! The world of a seed: a log, a store, two jobs, people; and what happens to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use perseid_log::{Record, Topic};
use perseid_rpc::log_record::Body;
use perseid_rpc::{
    BlockMark, DirectMessage, GroupChange, GroupChangeKind, GroupMessage, LogRecord, Notice, ReadMark, RecallMessage, RoomMessage,
};
use perseid_store::stored::Store;
use perseid_store::stored::conv::Conv;
use perseid_store::stored::read::{Reserve, Reserved};
use perseid_store::stored::step::Bucket;
use perseid_store::stored::testing::Snapshot;
use perseid_store::stored::{MemoryConfig, MemoryStore, StoredConfig};

use super::dice::Dice;
use super::jobs::Job;
use super::people::{Mail, People};

pub(crate) const MIDS: [u64; 5] = [1, 2, 3, 4, 5];
const GROUPS: [u64; 3] = [101, 102, 103];
const ROOM: &str = "live://1";
pub(crate) const ROOM_KEEP: u32 = 4;
const START_MS: u64 = 1_700_000_000_000;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything. At the end hearts beat.
    Wild,
    /// Jobs die, and the store holds: everybody is told without a heartbeat.
    Told,
    /// The store loses what it likes, and jobs hand over what they have applied: no session lives on in a lost epoch.
    Calm,
}

/// Something done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Steps do not say what they build upon.
    NoPrev,
    /// Who gets a message is asked when it is applied again.
    MembersNow,
    /// Positions given anew do not change the epoch.
    NoEpochBump,
    /// The guard is written before what it guards.
    GuardFirst,
    /// What a repetition is known by is not written, now and then.
    DedupeDropped,
    /// What was applied before is told to nobody.
    HeadDropped,
    /// Whose positions were lost is not told to begin anew.
    EndDropped,
    /// One member is left out, now and then.
    MemberSkipped,
    /// A call that failed is passed over.
    PassedOver,
    /// Guards of idle buckets are moved whatever they have lost.
    RaisedUnchecked,
}

/// What a client sent, and knows of it.
#[derive(Clone)]
struct Sent {
    conv: Conv,
    record: LogRecord,
    /// The id that it was acknowledged with.
    acked: Option<u64>,
    /// It was put into the log past the store, as a request that was on its way for long.
    astray: bool,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) mode: Mode,
    pub(crate) mutation: Option<Mutation>,
    /// The store does not look whose life a step is from: the chain of guards alone protects it. With one partition, where
    /// positions are the same however often they are given.
    pub(crate) hidden_boot: bool,
    /// The store may take a bucket for whole that is not: it does not look at lives, or a bucket was lost with everything in it
    /// that came from several partitions, and it can't know which of them have filled it again.
    pub(crate) whole_unknown: bool,
    now_ms: Arc<AtomicU64>,
    pub(crate) logs: Vec<Vec<Record>>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) boot: u64,
    pub(crate) store_failed: bool,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) snapshots: Vec<(Bucket, Snapshot)>,
    pub(crate) jobs: Vec<Vec<Job>>,
    pub(crate) people: People,
    pub(crate) rooms_shown: Vec<(Conv, u64, u64)>,
    /// What came to pass, so that it can be seen that it does.
    pub(crate) met: BTreeSet<&'static str>,
    next_id: u64,
    sent: Vec<Sent>,
}

impl World {
    pub(crate) fn new(seed: u64, mode: Mode, mutation: Option<Mutation>) -> Self {
        let mut dice = Dice::new(seed);
        let partitions = if mode == Mode::Told { 1 } else { 1 + dice.index(3) };
        let hidden_boot = partitions == 1 && mode == Mode::Wild && dice.once_in(2);
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let clock = Arc::clone(&now_ms);
        let (conv_buckets, user_buckets) = (1 + dice.below(3) as u32, 1 + dice.below(3) as u32);
        let store = Arc::new(MemoryStore::new(MemoryConfig {
            conv_buckets,
            user_buckets,
            boot: 1,
            stored: StoredConfig::default(),
            clock: Arc::new(move || clock.load(Relaxed)),
        }));
        let buckets = (0..conv_buckets).map(Bucket::Conv).chain((0..user_buckets).map(Bucket::User)).collect();
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let jobs = (0..2).map(|_| (0..partitions).map(|partition| Job::new(partition, &shared)).collect()).collect();
        let mids: Vec<u64> = MIDS.iter().copied().chain([1, 2]).collect();
        let mut world = Self {
            dice,
            mode,
            mutation,
            hidden_boot,
            whole_unknown: hidden_boot,
            now_ms,
            logs: vec![Vec::new(); partitions],
            store,
            boot: 1,
            store_failed: false,
            buckets,
            snapshots: Vec::new(),
            jobs,
            people: People::new(&mids),
            rooms_shown: Vec::new(),
            met: BTreeSet::new(),
            next_id: 1_000,
            sent: Vec::new(),
        };
        // Before anybody sends anything the store was made ready.
        world.rest();
        world
    }

    pub(crate) fn met(&mut self, what: &'static str) {
        self.met.insert(what);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    fn any_mid(&mut self) -> u64 {
        MIDS[self.dice.index(MIDS.len())]
    }

    fn any_group(&mut self) -> u64 {
        GROUPS[self.dice.index(GROUPS.len())]
    }

    /// One thing happens.
    pub(crate) fn happen(&mut self) {
        self.now_ms.fetch_add(1 + self.dice.below(400), Relaxed);
        match self.dice.below(100) {
            0..16 => self.send(),
            16..20 => self.retry(),
            20..28 => self.other_record(),
            28..70 => self.any_job(),
            70..92 => self.anybody(),
            92..95 => {
                let at = (self.dice.index(2), self.dice.index(self.logs.len()));
                self.crash(at);
            }
            95..98 => {
                let bucket = self.buckets[self.dice.index(self.buckets.len())];
                self.remember(bucket);
            }
            _ if self.mode != Mode::Told && !self.snapshots.is_empty() && self.dice.once_in(2) => self.fail_over(),
            _ => {}
        }
    }

    fn any_job(&mut self) {
        let at = (self.dice.index(2), self.dice.index(self.logs.len()));
        if self.dice.once_in(4) {
            self.hand_over(at);
        } else {
            self.step_job(at.0, at.1, false);
        }
    }

    fn anybody(&mut self) {
        let at = self.dice.index(self.people.devices.len());
        let (store, now_ms) = (Arc::clone(&self.store), self.now_ms());
        match self.people.devices[at].session {
            None => self.people.connect(at, &*store, now_ms),
            Some(slot) => match self.dice.below(20) {
                0 => self.people.end(slot),
                1 if self.mode == Mode::Wild => self.people.post(slot, Mail::Touch),
                2..6 if self.people.devices[at].wants_sync => {
                    let messages_max = 1 + self.dice.index(6);
                    self.people.sync(slot, &*store, messages_max);
                }
                _ => self.people.deliver(slot, &*store),
            },
        }
    }

    fn append(&mut self, conv_key: u64, record: &LogRecord) {
        let partition = (conv_key % self.logs.len() as u64) as usize;
        let log = &mut self.logs[partition];
        let (offset, ts_ms) = (log.len() as u64 + 1, record.ts_ms);
        log.push(Record { offset, topic: Topic::Log, ts_ms, value: record.to_value() });
    }

    fn key_of(conv: Conv) -> u64 {
        match conv {
            Conv::Direct { lo, hi } => lo * 31 + hi,
            Conv::Group(id) | Conv::Room(id) => id,
        }
    }

    fn record(&mut self, from: u64, idem: u64, body: Body) -> LogRecord {
        self.next_id += 1;
        let (id, ts_ms) = (self.next_id, self.now_ms());
        LogRecord { id, ts_ms, from, idem, hash: idem * 7, body: Some(body), ..LogRecord::default() }
    }

    /// A client sends.
    fn send(&mut self) {
        let from = self.any_mid();
        let cid = self.next_id + 500_000;
        let text = format!("{from} says {cid}");
        let quiet = self.dice.once_in(5);
        let (conv, body) = if self.dice.once_in(2) {
            let peer = self.any_mid();
            (Conv::direct(from, peer), Body::Direct(DirectMessage { peer, body: text.into(), quiet }))
        } else {
            let group = self.any_group();
            (Conv::Group(group), Body::Group(GroupMessage { group, body: text.into(), quiet, op: 0 }))
        };
        let record = self.record(from, cid, body);
        self.sent.push(Sent { conv, record, acked: None, astray: false });
        self.try_to_send(self.sent.len() - 1);
    }

    /// A client does not know what became of its message, and sends it again.
    fn retry(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.sent.len() - 1 - self.dice.index(self.sent.len().min(8));
        if self.dice.once_in(4) {
            let Sent { conv, record, .. } = self.sent[at].clone();
            self.sent[at].astray = true;
            self.append(Self::key_of(conv), &LogRecord { ts_ms: self.now_ms(), ..record });
        } else {
            self.try_to_send(at);
        }
    }

    fn try_to_send(&mut self, at: usize) {
        let Sent { conv, record, acked, astray } = self.sent[at].clone();
        self.next_id += 1;
        let (id, now_ms) = (self.next_id, self.now_ms());
        let LogRecord { from, idem, hash, .. } = record;
        let reserved = self.store.reserve(Reserve { conv, from, idem, hash, id, hold: true, now_ms }).now().unwrap().unwrap();
        let id = match reserved {
            Reserved::New { .. } | Reserved::Retry { .. } => {
                let id = if let Reserved::Retry { id, .. } = reserved { id } else { id };
                self.append(Self::key_of(conv), &LogRecord { id, ts_ms: now_ms, ..record });
                id
            }
            Reserved::Duplicate { id, .. } => id,
            Reserved::Conflict => return self.people.wrong(format!("{from}'s own {idem} is a conflict")),
            Reserved::NotMember | Reserved::NotOwner | Reserved::Blocked | Reserved::Rebuilding => return,
        };
        if let Some(before) = acked
            && before != id
            && !self.whole_unknown
            && !astray
        {
            self.people.wrong(format!("{from}'s {idem} was acknowledged as {before} and as {id}"));
        }
        // The answer may be lost.
        if !self.dice.once_in(4) {
            self.sent[at].acked.get_or_insert(id);
        }
    }

    fn other_record(&mut self) {
        let from = self.any_mid();
        let (key, idem, from, body) = match self.dice.below(10) {
            0..4 => {
                let (group, body) = self.change();
                (group, 0, if self.dice.once_in(2) { 0 } else { from }, body)
            }
            4 => {
                let peer = self.any_mid();
                let blocked = self.dice.once_in(2);
                (Self::key_of(Conv::direct(from, peer)), 0, from, Body::Block(BlockMark { peer, blocked }))
            }
            5 => {
                let mids = self.dice.some(&MIDS, 3);
                (self.dice.below(9), 0, 0, Body::Notice(Notice { mids, op: 1_000, body: "notice".into() }))
            }
            6 => {
                let hash = perseid_protocol::room::room_hash(ROOM);
                let message = RoomMessage { room: ROOM.into(), op: 1_000, body: "room".into(), expire_at_ms: 0 };
                (hash, self.dice.below(4), 0, Body::Room(message))
            }
            place => {
                let Some(body) = self.about_a_message(from, place == 7) else { return };
                body
            }
        };
        let record = self.record(from, idem, body);
        self.append(key, &record);
        if self.dice.once_in(6) {
            self.append(key, &record);
        }
    }

    fn change(&mut self) -> (u64, Body) {
        let group = self.any_group();
        let kind = match self.dice.below(12) {
            0..4 => GroupChangeKind::Put,
            4..10 => GroupChangeKind::Members,
            10 => GroupChangeKind::Convert,
            _ => GroupChangeKind::Delete,
        };
        let add = self.dice.some(&MIDS, 4);
        let remove = if kind == GroupChangeKind::Members { self.dice.some(&MIDS, 2) } else { Vec::new() };
        let channel = kind == GroupChangeKind::Put && self.dice.once_in(4);
        let name = "a group".into();
        (group, Body::Change(GroupChange { group, kind: kind as i32, channel, owner: 0, name, add, remove }))
    }

    /// A recall or a read mark, of something that was sent.
    fn about_a_message(&mut self, from: u64, recall: bool) -> Option<(u64, u64, u64, Body)> {
        if self.sent.is_empty() {
            return None;
        }
        let Sent { conv, record, .. } = self.sent[self.dice.index(self.sent.len())].clone();
        let from = match conv {
            Conv::Direct { lo, hi } => {
                if self.dice.once_in(2) {
                    lo
                } else {
                    hi
                }
            }
            _ => from,
        };
        let kind = if matches!(conv, Conv::Direct { .. }) { 1 } else { 2 };
        let seen = conv.seen_by(from);
        let head = self.store.head(conv).now()?.ok()?;
        let conv_pos = 1 + self.dice.below(head.max(1));
        let body = if recall {
            let found = self.store.row(conv, conv_pos).now()?.ok()?;
            let id = found.map_or(record.id, |row| row.id);
            Body::Recall(RecallMessage { kind, conv: seen, conv_pos, id })
        } else {
            let silent = self.dice.once_in(3);
            Body::Read(ReadMark { kind, conv: seen, conv_pos, silent })
        };
        Some((Self::key_of(conv), 0, from, body))
    }

    /// Everything that can go on without help goes on; nothing fails any more.
    pub(crate) fn rest(&mut self) {
        // What happens every thirty seconds: a partition without new records learns what the store has lost.
        for _ in 0..2 {
            for job in 0..2 {
                (0..self.logs.len()).for_each(|partition| _ = self.raise((job, partition)));
            }
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        for _ in 0..2_000 {
            let mut busy = false;
            self.now_ms.fetch_add(1, Relaxed);
            for job in 0..2 {
                for partition in 0..self.logs.len() {
                    busy |= self.step_job(job, partition, true);
                    busy |= self.hand_over((job, partition));
                }
            }
            let store = Arc::clone(&self.store);
            for slot in 0..self.people.sessions.len() {
                while !self.people.sessions[slot].mailbox.is_empty() {
                    busy = true;
                    self.people.deliver(slot, &*store);
                }
                let session = &self.people.sessions[slot];
                if session.open && self.people.devices[session.device].wants_sync {
                    busy = true;
                    self.people.sync(slot, &*store, 3);
                }
            }
            if !busy || self.people.wrong.is_some() {
                return;
            }
        }
        self.people.wrong("it does not come to rest".into());
    }

    /// Everybody is online, and hearts beat.
    pub(crate) fn heal(&mut self) {
        let (store, now_ms) = (Arc::clone(&self.store), self.now_ms());
        for _ in 0..3 {
            for at in 0..self.people.devices.len() {
                match self.people.devices[at].session {
                    None => self.people.connect(at, &*store, now_ms),
                    Some(slot) => self.people.post(slot, Mail::Touch),
                }
            }
            self.rest();
        }
    }
}
