//! Nothing of an inbox is silently missing, whatever sockets, answers and bounds do.
//!
//! One thread plays logic, job and some clients, each a user's only device: it sends, answers in any order, delivers positions,
//! lets clients read as much as chance will have it. A client follows the rules of the protocol and knows only what it was sent.
//! In the end each has everything: by a push, or because something told it to read. Nobody sends heartbeats, which would tell, too.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::{BTreeMap, VecDeque};

use perseid_comet::Config;
use perseid_comet::link::StoredOutcome;
use perseid_protocol::frame::{Extension, flag, kind};
use perseid_protocol::push::{Push, SessionAddr};
use perseid_protocol::{Refusal, op};
use support::logic::auth;
use support::stored::{Asked, behind_at, done, page, refused};
use support::*;

struct Device {
    key: String,
    client: Client,
    addr: SessionAddr,
    /// What was delivered, or withheld: the truth.
    head: u64,
    /// What it has.
    cursor: u64,
    /// Something told it that there is more.
    must_sync: bool,
    syncing: bool,
    /// Sends and SYNCs that are not answered, oldest first.
    unanswered: VecDeque<i32>,
    cid: i32,
}

impl Device {
    fn request(&mut self, op: i32) {
        self.cid += 1;
        self.unanswered.push_back(self.cid);
        let ext = Extension { kind: kind::DIRECT, conv: 7, cid: self.cid as u64, ..Extension::default() };
        let frame = self.client.frame_with(op, self.cid, ext, b"body");
        self.client.send(&frame);
    }

    fn sync(&mut self) {
        if !self.syncing {
            (self.syncing, self.must_sync) = (true, false);
            self.request(op::SYNC);
        }
    }

    fn take(&mut self, got: &Got) {
        let Extension { pos, flags, .. } = got.header.ext;
        match got.header.op {
            op::SEND_MSG => {
                assert!(flags & flag::STORED != 0 && pos <= self.head);
                if pos == self.cursor + 1 {
                    self.cursor = pos;
                } else if pos > self.cursor {
                    self.must_sync = true;
                }
            }
            op::HEAD => self.must_sync |= pos > self.cursor,
            op::SEND_MSG_REPLY | op::SYNC_REPLY | op::ERROR => {
                assert_eq!(Some(got.header.seq), self.unanswered.pop_front(), "{}: out of order", self.key);
                if got.header.op == op::SYNC_REPLY {
                    self.syncing = false;
                    self.cursor = self.cursor.max(pos);
                    self.must_sync |= flags & flag::MORE != 0;
                }
            }
            other => panic!("{}: op {other}", self.key),
        }
    }
}

struct World {
    test: TestComet,
    random: Random,
    devices: Vec<Device>,
    /// Requests that logic was asked and has not answered, each with the head as it was then.
    open: Vec<(usize, u64)>,
    asked: usize,
    /// Sends as they came to logic, by user.
    sent: BTreeMap<u64, Vec<u64>>,
}

impl World {
    fn new(seed: u64, session_bytes_max: usize, mailbox_bytes_max: usize) -> Self {
        let config = Config { workers: 2, write_stall_ms: 600_000, session_bytes_max, mailbox_bytes_max, ..config() };
        let test = TestComet::start_narrow(config);
        let devices = (0..8)
            .map(|nth| {
                let (mid, key) = (1 + nth as i64, format!("d{nth}"));
                test.logic.store.greet(mid, behind_at(0));
                let client = test.login_narrow(EXTENDED[nth % 2], &Auth { mid, ..auth(&key) });
                let addr = test.addr(&key);
                let (unanswered, cid) = (VecDeque::new(), 0);
                Device { key, client, addr, head: 0, cursor: 0, must_sync: true, syncing: false, unanswered, cid }
            })
            .collect();
        Self { test, random: Random(seed), devices, open: Vec::new(), asked: 0, sent: BTreeMap::new() }
    }

    fn deliver(&mut self) {
        let mut batch = Vec::new();
        for _ in 0..1 + self.random.below(20) {
            let nth = self.random.below(self.devices.len());
            let bytes_max = if self.random.one_in(5) { 20_000 } else { 300 };
            let len = self.random.below(bytes_max);
            let device = &mut self.devices[nth];
            device.head += 1;
            self.test.logic.store.set_head(1 + nth as i64, device.head);
            let push = Push { kind: kind::DIRECT, from: 7, flags: flag::STORED, ..push(op::SEND_MSG, vec![0; len]) };
            batch.push(to_inbox(device.addr, device.head, 7, push));
        }
        self.test.deliver(batch);
    }

    /// Answers one of the open requests, or all of them.
    fn answer(&mut self, all: bool) {
        let asked = self.test.logic.store.asked();
        for (nth, request) in asked.iter().enumerate().skip(self.asked) {
            self.open.push((nth, self.devices[request.mid as usize - 1].head));
            if request.header.op == op::SEND_MSG {
                self.sent.entry(request.mid).or_default().push(request.header.ext.cid);
            }
        }
        self.asked = asked.len();
        while !self.open.is_empty() {
            let (nth, head) = self.open.swap_remove(self.random.below(self.open.len()));
            let outcome = self.outcome_of(&asked[nth], head);
            let ticket = self.test.logic.store.ticket(nth);
            if self.random.one_in(2) {
                ticket.answer(outcome);
            } else {
                ticket.answer_quietly(outcome);
                self.test.comet.wake();
            }
            if !all {
                break;
            }
        }
    }

    fn outcome_of(&mut self, request: &Asked, head: u64) -> StoredOutcome {
        match request.header.op {
            op::SYNC if self.random.one_in(4) => page(head.saturating_sub(1), flag::MORE, vec![0; self.random.below(30_000)]),
            op::SYNC => page(head, 0, vec![0; self.random.below(3000)]),
            _ if self.random.one_in(12) => {
                refused([Refusal::Unavailable, Refusal::Unknown, Refusal::Blocked][self.random.below(3)])
            }
            _ => done(request.header.ext),
        }
    }

    fn step(&mut self) {
        let nth = self.random.below(self.devices.len());
        match self.random.below(10) {
            0 | 1 => self.deliver(),
            2 | 3 => self.answer(false),
            4 if self.devices[nth].unanswered.len() < 100 => {
                for _ in 0..1 + self.random.below(6) {
                    self.devices[nth].request(op::SEND_MSG);
                }
            }
            5 if self.devices[nth].must_sync => self.devices[nth].sync(),
            _ => {
                let bytes = self.random.below(60_000);
                self.read(nth, bytes);
            }
        }
    }

    fn read(&mut self, nth: usize, bytes: usize) {
        let device = &mut self.devices[nth];
        for got in device.client.read_now(bytes) {
            device.take(&got);
        }
    }

    /// Everything is read and answered, and each client knows of all that there is.
    fn catch_up(&mut self) {
        eventually("each has everything", || {
            self.answer(true);
            for nth in 0..self.devices.len() {
                self.read(nth, usize::MAX);
                if self.devices[nth].must_sync {
                    self.devices[nth].sync();
                }
            }
            self.devices.iter().all(|device| device.cursor == device.head && device.unanswered.is_empty() && !device.must_sync)
        });
    }

    fn finish(&mut self) {
        self.catch_up();
        // Nothing follows the last of these that could show a gap.
        for _ in 0..100 {
            self.deliver();
        }
        self.catch_up();
        // In the order in which they were sent.
        for (mid, cids) in &self.sent {
            assert!(cids.windows(2).all(|pair| pair[0] < pair[1]), "sends of {mid}: {cids:?}");
        }
        assert_eq!(self.test.sum(|metrics| &metrics.sends_in_flight), 0);
        self.devices.clear();
        self.test.assert_empty();
    }
}

fn run(steps: usize, session_bytes_max: usize, mailbox_bytes_max: usize) {
    for seed in seeds(3) {
        println!("COMET_SEED={seed}");
        let mut world = World::new(seed, session_bytes_max, mailbox_bytes_max);
        for _ in 0..steps {
            world.step();
        }
        world.finish();
    }
}

#[test]
fn nothing_is_missing_where_all_fits() {
    run(3000, 1 << 30, 64 << 20);
}

#[test]
fn nothing_is_missing_where_outboxes_lose() {
    run(3000, 50_000, 64 << 20);
}

#[test]
fn nothing_is_missing_where_mailboxes_refuse() {
    run(3000, 200_000, 4000);
}
