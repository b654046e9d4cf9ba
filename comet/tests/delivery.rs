//! Order and loss: whatever sockets do, a session gets its pushes in order, whole, once; and each one that it does not get
//! is counted.
//!
//! One thread delivers numbered pushes to keys, rooms and all, moves sessions between rooms, and reads from each socket as
//! much as chance will have it, so that frames are torn at any place while everything else goes on. Before each move it
//! waits until the workers have taken what was delivered: so it knows exactly who was to get what.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use perseid_comet::{Config, RoomConfig};
use perseid_protocol::op;
use perseid_protocol::push::{Drop, Priority, Push};
use support::logic::auth_in;
use support::*;

const OP: i32 = 1000;
const FILTERED_OP: i32 = 1001;
const FENCE_OP: i32 = 1002;

/// Shape of one run.
#[derive(Clone, Copy)]
struct Run {
    workers: usize,
    sessions: usize,
    steps: usize,
    body_bytes_max: usize,
    ring_bytes_max: usize,
    session_bytes_max: usize,
    node_bytes_max: usize,
    pace_ms: u64,
    /// Some pushes replace others, and some matter more.
    with_terms: bool,
}

const ROOMY: Run = Run {
    workers: 1,
    sessions: 14,
    steps: 500,
    body_bytes_max: 30_000,
    ring_bytes_max: 1 << 30,
    session_bytes_max: 1 << 30,
    node_bytes_max: 1 << 40,
    pace_ms: 0,
    with_terms: false,
};

impl Run {
    fn is_roomy(&self) -> bool {
        let bounds = |run: &Self| (run.ring_bytes_max, run.session_bytes_max, run.node_bytes_max);
        bounds(self) == bounds(&ROOMY)
    }
}

/// How a session reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Always,
    Little,
    Never,
}

struct Member {
    key: String,
    client: Client,
    room: usize,
    /// Never slow: it is to get everything.
    steady: bool,
    pace: Pace,
    /// What it was to get, if nothing is dropped.
    addressed: BTreeSet<u64>,
    got: Vec<u64>,
}

impl Member {
    /// Takes note of frames, each of which has to be whole and newer than all before.
    fn take(&mut self, frames: Vec<Got>) {
        for got in frames {
            assert_eq!(got.header.op, OP);
            let number = number_of(&got.body);
            assert!(self.got.last().is_none_or(|last| *last < number), "{}: {number} after {:?}", self.key, self.got.last());
            assert!(self.addressed.contains(&number), "{}: {number} was not for it", self.key);
            self.got.push(number);
        }
    }
}

fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend((0..len).map(|at| (number as usize * 31 + at) as u8));
    body
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_be_bytes(*bytes.first_chunk().unwrap());
    assert!(bytes == body(number, bytes.len() - 8), "the body of {number} is damaged");
    number
}

fn room_name(room: usize) -> String {
    if room == 0 { String::new() } else { format!("live://{room}") }
}

struct World {
    test: TestComet,
    random: Random,
    members: Vec<Member>,
    /// One session for each worker, to see that it has taken what was delivered.
    fences: Vec<Client>,
    number: u64,
    fence_number: u64,
    /// (session, push) pairs that have to be accounted for.
    addressed: u64,
    with_terms: bool,
    /// By which way each push went (0 direct, 1 all, 2 and more a room), and what it collapses by.
    kinds: BTreeMap<u64, (usize, u64)>,
}

impl World {
    fn new(run: Run, seed: u64) -> Self {
        let config = Config {
            workers: run.workers,
            session_bytes_max: run.session_bytes_max,
            node_bytes_max: run.node_bytes_max,
            write_stall_ms: 600_000,
            room: RoomConfig { ring_bytes_max: run.ring_bytes_max, pace_ms: run.pace_ms, ..RoomConfig::default() },
            ..config()
        };
        let test = TestComet::start_narrow(config);
        let mut random = Random(seed);
        let mut fences = Vec::new();
        // Which worker a connection comes to is the kernel's choice.
        for worker in 0..run.workers {
            loop {
                let key = format!("fence {worker}");
                let client = test.login(TCP, &auth_in(&key, "", &[FENCE_OP]));
                if usize::from(test.addr(&key).worker) == worker {
                    break fences.push(client);
                }
            }
        }
        eventually("only fences", || test.comet.connections() == run.workers as u64);
        let members = (0..run.sessions)
            .map(|nth| {
                let room = random.below(3);
                let key = format!("s{nth}");
                let auth = auth_in(&key, &room_name(room), &[OP]);
                let steady = nth < 4;
                let wire = WIRES[nth % 4];
                let client = if steady { test.login(wire, &auth) } else { test.login_narrow(wire, &auth) };
                Member { key, client, room, steady, pace: Pace::Always, addressed: BTreeSet::new(), got: Vec::new() }
            })
            .collect();
        let with_terms = run.with_terms;
        Self { test, random, members, fences, number: 0, fence_number: 0, addressed: 0, with_terms, kinds: BTreeMap::new() }
    }

    /// Waits until each worker has taken all that was delivered.
    fn fence(&mut self) {
        self.fence_number += 1;
        for (worker, client) in self.fences.iter_mut().enumerate() {
            let number = self.fence_number;
            let body = format!("fence {number}");
            self.test.push_key(&format!("fence {worker}"), push(FENCE_OP, body.clone()));
            assert_eq!(client.next_frame().body, body.as_bytes());
        }
        self.addressed += self.fences.len() as u64;
    }

    fn deliver_some(&mut self, body_bytes_max: usize) {
        let mut batch = Vec::new();
        for _ in 0..1 + self.random.below(8) {
            self.number += 1;
            let number = self.number;
            let filtered = self.random.one_in(4);
            let op = if filtered { FILTERED_OP } else { OP };
            let big = self.random.one_in(4);
            let len = self.random.below(if big { body_bytes_max } else { 200 });
            let push = self.with_terms(push(op, body(number, len)));
            let collapse = push.collapse;
            let way = match self.random.below(8) {
                0 | 1 => {
                    let nth = self.random.below(self.members.len());
                    let member = &mut self.members[nth];
                    batch.push(to_session(self.test.addr(&member.key), push));
                    if !filtered {
                        member.addressed.insert(number);
                    }
                    self.addressed += 1;
                    0
                }
                2 => {
                    let speed = [0, 0, 500, 5000][self.random.below(4)];
                    batch.push(to_all(speed, push));
                    if !filtered {
                        for member in &mut self.members {
                            member.addressed.insert(number);
                        }
                    }
                    self.addressed += (self.members.len() + self.fences.len()) as u64;
                    1
                }
                _ => {
                    let room = 1 + self.random.below(2);
                    let push = Push { op: OP, ..push };
                    batch.push(to_room(&room_name(room), push));
                    for member in self.members.iter_mut().filter(|member| member.room == room) {
                        member.addressed.insert(number);
                        self.addressed += 1;
                    }
                    1 + room
                }
            };
            self.kinds.insert(number, (way, collapse));
        }
        self.test.deliver(batch);
    }

    fn with_terms(&mut self, push: Push) -> Push {
        if !self.with_terms {
            return push;
        }
        let collapse = [0, 0, 1, 2][self.random.below(4)];
        Push { collapse, priority: Priority::ALL[self.random.below(3)], ..push }
    }

    /// What a session did not get was replaced by a later one of its kind, or was of a room that it has left.
    fn assert_replaced_by_later_ones(&self) {
        for member in &self.members {
            let mut newest = BTreeMap::new();
            let got: BTreeSet<_> = member.got.iter().collect();
            for number in member.addressed.iter().rev() {
                let kind = self.kinds[number];
                let replaced = kind.1 != 0 && newest.contains_key(&kind);
                assert!(got.contains(number) || replaced || kind.0 > 1, "{} went without {number}, {kind:?}", member.key);
                newest.entry(kind).or_insert(number);
            }
        }
    }

    /// Moves a session. It may be slow: that it has moved is seen at the rooms.
    fn move_one(&mut self) {
        let nth = self.random.below(self.members.len());
        let room = self.random.below(3);
        let member = &self.members[nth];
        if member.steady || member.room == room {
            return;
        }
        self.fence();
        let online = |test: &TestComet, room| test.comet.room_online(&room_name(room));
        let member = &mut self.members[nth];
        let before = (online(&self.test, member.room), online(&self.test, room));
        let old = member.room;
        let (_, frame) = member.client.frame(op::CHANGE_ROOM, room_name(room).as_bytes());
        member.client.send(&frame);
        member.room = room;
        // While much waits for it, it is not read: then it has to read.
        let test = &self.test;
        eventually("moved", || {
            let moved = (old == 0 || online(test, old) + 1 == before.0) && (room == 0 || online(test, room) == before.1 + 1);
            if !moved || room == 0 && old == 0 {
                let frames = member.client.read_now(100_000);
                take_pushes(member, frames);
            }
            moved
        });
    }

    /// Replies come between pushes, wherever those are torn.
    fn request_some(&mut self) {
        for _ in 0..3 {
            let nth = self.random.below(self.members.len());
            let client = &mut self.members[nth].client;
            let (_, frame) = client.frame(op::HEARTBEAT, b"");
            client.send(&frame);
        }
    }

    fn read_some(&mut self) {
        for nth in 0..self.members.len() {
            let bytes_max = 1 + self.random.below(20_000);
            let pace = match self.random.below(12) {
                0 => Pace::Never,
                1 => Pace::Little,
                2 => Pace::Always,
                _ => self.members[nth].pace,
            };
            let member = &mut self.members[nth];
            member.pace = if member.steady { Pace::Always } else { pace };
            match member.pace {
                Pace::Always => read_with_replies(member, usize::MAX),
                Pace::Little => read_with_replies(member, bytes_max),
                Pace::Never => {}
            }
        }
    }

    /// All read until every push is accounted for.
    fn settle(&mut self) {
        self.fence();
        let addressed = self.addressed;
        let (test, members) = (&self.test, &mut self.members);
        eventually("every push is accounted for", || {
            members.iter_mut().for_each(|member| read_with_replies(member, usize::MAX));
            let accounted = test.accounted();
            assert!(accounted <= addressed, "{accounted} accounted for, {addressed} addressed");
            accounted == addressed && test.comet.queued_bytes() == 0 && test.sum(|metrics| &metrics.blocked) == 0
        });
        // What is delivered is on its way at least.
        eventually("what is delivered has come", || {
            members.iter_mut().for_each(|member| read_with_replies(member, usize::MAX));
            let missing: u64 = members.iter().map(|member| (member.addressed.len() - member.got.len()) as u64).sum();
            let dropped = [Drop::Slow, Drop::Closing, Drop::Collapsed].map(|reason| test.dropped(reason)).iter().sum::<u64>();
            assert!(missing >= dropped, "{missing} missing, {dropped} dropped");
            missing == dropped
        });
    }
}

/// Takes pushes and passes over replies.
fn take_pushes(member: &mut Member, mut frames: Vec<Got>) {
    frames.retain(|got| ![op::CHANGE_ROOM_REPLY, op::HEARTBEAT_REPLY].contains(&got.header.op));
    member.take(frames);
}

fn read_with_replies(member: &mut Member, bytes_max: usize) {
    let frames = member.client.read_now(bytes_max);
    take_pushes(member, frames);
}

fn run(run: Run, seed: u64) -> BTreeMap<&'static str, u64> {
    println!("COMET_SEED={seed}");
    let mut world = World::new(run, seed);
    for _ in 0..run.steps {
        match world.random.below(10) {
            0 => world.move_one(),
            1 => world.request_some(),
            2..=5 => world.deliver_some(run.body_bytes_max),
            _ => world.read_some(),
        }
    }
    world.settle();
    if run.with_terms && run.is_roomy() {
        world.assert_replaced_by_later_ones();
    }
    for member in &world.members {
        if member.steady && run.is_roomy() && !run.with_terms {
            assert!(member.addressed.iter().eq(&member.got), "{} was never slow and did not get everything", member.key);
        }
    }
    let drops = Drop::ALL.into_iter().map(|reason| (reason.word(), world.test.dropped(reason))).collect();
    let World { test, members, fences, .. } = world;
    drop((members, fences));
    test.assert_empty();
    drops
}

#[test]
fn order_holds_and_nothing_is_lost_where_there_is_room() {
    for seed in seeds(3) {
        for workers in [1, 2] {
            let drops = run(Run { workers, ..ROOMY }, seed);
            assert_eq!((drops["slow"], drops["offline"], drops["expired"]), (0, 0, 0), "{drops:?}");
        }
    }
}

#[test]
fn order_holds_when_rooms_are_paced() {
    for seed in seeds(2) {
        let drops = run(Run { pace_ms: 20, steps: 300, ..ROOMY }, seed);
        assert_eq!(drops["slow"], 0, "{drops:?}");
    }
}

#[test]
fn order_holds_when_some_replace_others() {
    let mut collapsed = 0;
    for seed in seeds(3) {
        for run_of in [ROOMY, Run { workers: 2, ..ROOMY }, Run { pace_ms: 20, steps: 300, ..ROOMY }] {
            let drops = run(Run { with_terms: true, ..run_of }, seed);
            assert_eq!((drops["slow"], drops["offline"], drops["expired"]), (0, 0, 0), "{drops:?}");
            collapsed += drops["collapsed"];
        }
    }
    assert!(collapsed > 0, "nothing was replaced: the test is too kind");
}

#[test]
fn what_no_longer_fits_is_dropped_whole_and_counted() {
    let tiny = Run { ring_bytes_max: 60_000, session_bytes_max: 40_000, ..ROOMY };
    let mut dropped = 0;
    for seed in seeds(3) {
        dropped += run(tiny, seed)["slow"];
        dropped += run(Run { ring_bytes_max: 1 << 30, ..tiny }, seed)["slow"];
        dropped += run(Run { with_terms: true, ..tiny }, seed)["slow"];
        dropped += run(Run { with_terms: true, ring_bytes_max: 1 << 30, ..tiny }, seed)["slow"];
        dropped +=
            run(Run { node_bytes_max: 200_000, ring_bytes_max: 1 << 30, session_bytes_max: 1 << 30, ..tiny }, seed)["slow"];
    }
    assert!(dropped > 0, "nothing was dropped: the test is too kind");
}

#[test]
fn what_a_full_mailbox_refuses_is_counted() {
    let test = TestComet::start(Config { mailbox_bytes_max: 4096, ..config() });
    let mut clients = WIRES.map(|wire| test.login(wire, &auth_in(&format!("{wire:?}"), "live://1", &[OP])));
    let addrs = WIRES.map(|wire| test.addr(&format!("{wire:?}")));
    for number in 0..4000 {
        test.deliver(vec![to_session(addrs[number as usize % 4], push(OP, body(number, 1000)))]);
    }
    eventually("every push is accounted for", || test.accounted() == 4000);
    let mut got = 0;
    for client in &mut clients {
        let mut last = None;
        for frame in client.read_now(usize::MAX) {
            let number = number_of(&frame.body);
            assert!(last.is_none_or(|last| last < number));
            last = Some(number);
            got += 1;
        }
    }
    assert_eq!(got + test.dropped(Drop::Slow), 4000);
    drop(clients);
    test.assert_empty();
}
